use exchange::Io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn at(host: &str, port: u16) -> Destination {
    Destination::new(Host::parse(host).expect("a host"), port, None).expect("a destination")
}

fn parent(host: &str) -> Parent {
    Parent::new(Params { at: at(host, 3128), auth: None })
}

fn authorized(source: &str, value: Option<&'static str>) -> Parent {
    let credential: Credential = Arc::new(move || value.map(HeaderValue::from_static));
    Parent::new(Params { at: at("corp.test", 3128), auth: Some((source.into(), credential)) })
}

fn rule(text: &str) -> Rule {
    Rule::new(match text.strip_prefix("*.") {
        _ if text == "*" => Pattern::Any,
        Some(suffix) => Pattern::Suffix(suffix.into()),
        None => text.parse().map(Pattern::Net).unwrap_or_else(|_| Pattern::Exact(text.into())),
    })
}

fn choice(host: &str, only: &[&str], except: &[&str]) -> Choice {
    let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect();
    Choice { parent: parent(host), only: rules(only), except: rules(except) }
}

fn way(parents: &Parents, host: &str) -> Option<String> {
    parents.of(&Host::parse(host).expect("a host"), 443).map(|parent| parent.at().host.to_string())
}

#[test]
fn the_first_that_may_be_taken_leads_there() {
    let parents = Parents::new(
        vec![
            choice("one.test", &["*.partner.test", "198.51.100.0/24"], &["no.partner.test"]),
            choice("two.test", &[], &["*.corp.test", "10.0.0.0/8", "203.0.113.7"]),
        ],
        ["fixed.test".into(), "192.0.2.9".into()].into(),
    );

    for (host, expected) in [
        ("a.partner.test", Some("one.test")),
        ("198.51.100.7", Some("one.test")),
        ("no.partner.test", Some("two.test")),
        ("partner.test", Some("two.test")),
        ("a.corp.test", None),
        ("10.1.2.3", None),
        ("[::ffff:10.1.2.3]", None),
        ("203.0.113.7", None),
        ("203.0.113.8", Some("two.test")),
        ("fixed.test", None),
        ("192.0.2.9", None),
    ] {
        assert_eq!(way(&parents, host).as_deref(), expected, "{host}");
    }
    assert_eq!(way(&Parents::default(), "a.test"), None);
}

#[test]
fn this_machine_is_not_behind_a_parent_unless_it_is_named() {
    let hosts = ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "[::1]"];

    for all in [choice("one.test", &[], &[]), choice("one.test", &["*"], &[])] {
        let parents = Parents::new(vec![all], HashSet::new());
        assert!(hosts.iter().all(|host| way(&parents, host).is_none()));
        assert!(way(&parents, "a.test").is_some());
    }
    let parents = Parents::new(
        vec![choice("one.test", &["localhost", "*.localhost", "127.0.0.0/8", "::1"], &[])],
        HashSet::new(),
    );
    assert!(hosts.iter().all(|host| way(&parents, host).is_some()));
}

#[test]
fn parents_are_told_apart_by_place_and_credential_and_not_by_the_secret() {
    assert_eq!(parent("one.test"), parent("one.test"));
    assert_ne!(parent("one.test"), parent("two.test"));
    assert_ne!(parent("corp.test"), authorized("file a", Some("Basic YQ==")));
    assert_eq!(authorized("file a", Some("Basic YQ==")), authorized("file a", Some("Basic Yg==")));
    assert_ne!(authorized("file a", Some("Basic YQ==")), authorized("file b", Some("Basic YQ==")));
    let shown = format!("{:?} {}", authorized("file a", Some("Basic YQ==")), parent("one.test"));
    assert_eq!(shown, "Parent(http://corp.test:3128) http://one.test:3128");
}

/// What a parent that says `answer` was asked, and what came of it.
async fn asked(parent: Parent, answer: &[u8], early: Early) -> (String, Result<Io, Error>, DuplexStream) {
    let (near, mut far) = duplex(64 * 1024);
    let asking = tokio::spawn(async move { ask(&parent, "a.test:443", Io::other(near), early).await });
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(far.read_buf(&mut head).await.expect("readable"), 0);
    }
    // It may have left in the middle of it.
    let _ = far.write_all(answer).await;
    if answer.ends_with(b"EOF") || answer.is_empty() {
        far.shutdown().await.expect("closed");
    }
    let outcome = asking.await.expect("no panic");
    (String::from_utf8(head).expect("text"), outcome, far)
}

#[tokio::test]
async fn what_is_asked_is_the_destination_and_the_credential_is_shown() {
    let granted = b"HTTP/1.1 200 Connection established\r\n\r\n";

    let (plain, io, _far) = asked(parent("corp.test"), granted, Early::Refused).await;
    let (shown, authorized_io, _far) = asked(authorized("x", Some("Basic YTpi")), granted, Early::Refused).await;

    assert!(io.is_ok() && authorized_io.is_ok());
    assert_eq!(plain, "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
    assert_eq!(shown, "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n");
}

#[tokio::test]
async fn a_2xx_is_consent_whatever_length_it_claims_and_interim_answers_are_none() {
    for answer in [
        &b"HTTP/1.0 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 204 No Content\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (_, io, mut far) = asked(parent("corp.test"), answer, Early::Refused).await;

        let mut io = io.expect("a tunnel");
        far.write_all(b"hello").await.expect("written");
        let mut heard = [0; 5];
        io.read_exact(&mut heard).await.expect("read");
        assert_eq!(&heard, b"hello");
    }
}

#[tokio::test]
async fn what_comes_behind_the_consent_is_the_tunnels_or_nobodys() {
    let answer = b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n";

    let (_, kept, _far) = asked(parent("corp.test"), answer, Early::Kept).await;
    let (_, refused, _far) = asked(parent("corp.test"), answer, Early::Refused).await;

    let mut heard = [0; 11];
    kept.expect("a tunnel").read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"SSH-2.0-x\r\n");
    let error = refused.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::ParentProxy);
    assert!(error.detail().is_some_and(|detail| detail.contains("sent 11 bytes")), "{error}");
}

#[tokio::test]
async fn what_is_no_consent_says_what_it_was_and_sends_nothing() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let waits = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20) + "HTTP/1.1 200 OK\r\n\r\n";
    for (answer, says) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "407 Proxy Authentication Required to CONNECT a.test:443: give it `auth`",
        ),
        ("HTTP/1.1 403 Nice Try\r\n\r\n<html>", "403 Forbidden"),
        ("HTTP/1.1 502 x\r\n\r\n", "502 Bad Gateway"),
        ("HTTP/1.1 302 x\r\nlocation: http://login.test/\r\n\r\n", "302 Found"),
        ("HTTP/1.1 101 x\r\n\r\n", "101 Switching Protocols"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "no valid answer"),
        ("HTTP/1.1 200\r\nnot a field\r\n\r\n", "no valid answer"),
        ("HTTP/1.1 200 OK\r\nx: EOF", "closed the connection instead of answering"),
        ("", "closed the connection instead of answering"),
        (&huge, "a head over 16384 bytes"),
        (&many, "no valid answer"),
        (&waits, "100 Continue"),
    ] {
        let (_, outcome, _far) = asked(parent("corp.test"), answer.as_bytes(), Early::Kept).await;

        let error = outcome.expect_err(says);
        assert_eq!((error.kind, error.sent), (ErrorKind::ParentProxy, exchange::Sent::Nothing));
        let detail = error.detail().expect("a detail");
        assert!(detail.starts_with("the parent proxy http://corp.test:3128 ") && detail.contains(says), "{detail}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_no_reason_to_go_without() {
    let (near, mut far) = duplex(1024);

    let error = ask(&authorized("x", None), "a.test:443", Io::other(near), Early::Kept).await.expect_err("refused");

    assert_eq!(error.kind, ErrorKind::Credential);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.expect("read");
    assert!(sent.is_empty());
}
