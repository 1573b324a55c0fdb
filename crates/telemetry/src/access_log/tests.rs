use std::collections::BTreeSet;
use std::sync::mpsc;

use exchange::{Door, ErrorKind, Exchange};
use http::{Method, Version};
use serde_json::{Value, json};

use super::*;
use crate::fixture::{after, attempt, exchange, head};

const LONG: Duration = Duration::from_secs(30);

/// Collects what is written; waits for a go before each write.
struct Gated {
    go: mpsc::Receiver<()>,
    written: Arc<Mutex<Vec<u8>>>,
    fails: bool,
}

impl io::Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.go.recv();
        if self.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log, its gate (dropped: open) and what it wrote.
fn gated(format: Format, sample: f64, fails: bool) -> (AccessLog, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (gate, go) = mpsc::channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let output = Output::new(Box::new(Gated { go, written: written.clone(), fails }), None);
    let log = AccessLog::start(Some(output), format, sample, Arc::default()).expect("a thread");
    (log, gate, written)
}

/// What is written for these.
fn lines(sample: f64, exchanges: &[&Exchange]) -> Vec<Value> {
    let (log, gate, written) = gated(Format::Json, sample, false);
    drop(gate);
    let writer = log.writer().expect("on");
    exchanges.iter().for_each(|exchange| writer.write(exchange, "api", after(60)));
    assert!(log.close(LONG));
    let written = written.lock();
    let text = std::str::from_utf8(&written).expect("utf-8");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn a_line_has_exactly_the_fields_of_the_interface() {
    let exchange = exchange("/v1\"\\?q=1&api_key=s3cr3t");
    exchange.add_bytes_in(10);
    exchange.add_bytes_out(20);
    exchange.attempted(attempt(1, 10, Err(ErrorKind::ConnectRefused)));
    exchange.attempted(attempt(20, 5, Ok(502)));
    exchange.answered(502, Some(ErrorKind::Truncated), Some(after(26)));
    exchange.set_retry_denied("budget");
    exchange.set_breaker(1);

    let mut line = lines(1.0, &[&exchange]).remove(0);

    let ts = line["ts"].take();
    let ts = ts.as_str().expect("a text");
    assert!(ts.len() == 24 && ts.ends_with('Z'), "{ts}");
    assert_eq!(
        line,
        json!({
            "ts": null, "id": "00abcdef01234567", "route": "api", "method": "GET", "scheme": "https", "host": "api.test",
            "path": "/v1\"\\?q=1&api_key=REDACTED", "proto": "HTTP/1.1", "client": "10.0.0.9:4711", "status": 502,
            "reason": "truncated", "bytes_in": 10, "bytes_out": 20, "dur_ms": 60.0, "ttfb_ms": 26.0, "overhead_us": 11_000,
            "attempts": [
                { "endpoint": "192.0.2.1:443", "reason": "connect_refused", "dur_ms": 10.0, "reused": true },
                { "endpoint": "192.0.2.1:443", "status": 502, "dur_ms": 5.0, "reused": true },
            ],
            "retry_denied": "budget", "breaker": "half_open",
        })
    );
}

#[test]
fn what_is_not_known_has_no_key() {
    let mut head = head(Method::CONNECT, "/");
    head.door = Door::Connect;
    head.version = Version::HTTP_2;
    head.client.addr = None;

    let line = lines(1.0, &[&Exchange::new(head, None)]).remove(0);

    let keys: BTreeSet<_> = line.as_object().expect("an object").keys().map(|key| &**key).collect();
    let expected = "ts id route method host proto client bytes_in bytes_out dur_ms attempts";
    assert_eq!(keys, expected.split(' ').collect());
    assert_eq!((&line["proto"], &line["client"]), (&json!("HTTP/2"), &json!("unix")));
}

#[test]
fn sampling_spares_failures() {
    let (good, bad, refused) = (exchange("/good"), exchange("/bad"), exchange("/refused"));
    good.answered(204, None, Some(after(1)));
    bad.answered(500, None, Some(after(1)));
    refused.answered(200, Some(ErrorKind::Truncated), Some(after(1)));
    let paths = |sample| -> Vec<_> {
        lines(sample, &[&good, &bad, &refused]).into_iter().map(|line| line["path"].to_string()).collect()
    };

    // The id of these is 0.0026 of the range.
    assert_eq!(paths(0.0), ["\"/bad\"", "\"/refused\""]);
    assert_eq!(paths(0.0026).len(), 2);
    assert_eq!(paths(0.0027).len(), 3);
    assert_eq!(paths(1.0).len(), 3);
}

#[test]
fn a_stuck_sink_stops_nobody_and_what_is_lost_is_counted() {
    let (log, gate, written) = gated(Format::Json, 1.0, false);
    let writer = log.writer().expect("on");
    let exchange = exchange("/");
    let total = 40_000;

    (0..total).for_each(|_| writer.write(&exchange, "api", after(1)));

    let lost = log.events.log_lines_dropped();
    assert!(lost > 0 && lost < total, "{lost}");
    assert!(!log.close(Duration::ZERO));
    drop(gate);
    assert!(log.close(LONG));
    let lost = log.events.log_lines_dropped();
    let lines = written.lock().iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(lines + lost, total);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let (log, gate, _) = gated(Format::Json, 1.0, true);
    drop(gate);
    let writer = log.writer().expect("on");
    writer.write(&exchange("/"), "api", after(1));
    writer.write(&exchange("/"), "api", after(1));

    assert!(log.close(LONG));
    assert_eq!(log.events.log_lines_dropped(), 2);

    writer.write(&exchange("/"), "api", after(1));
    drop(writer);
    assert_eq!(log.events.log_lines_dropped(), 3);
}

#[test]
fn a_renamed_file_is_left_after_reopen() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    std::fs::write(&path, "before\n").expect("writable");
    let log = AccessLog::new(Sink::File(path.clone()), Format::Json, 1.0, Arc::default()).expect("opens");
    let writer = log.writer().expect("on");

    std::fs::rename(&path, &old).expect("renames");
    log.reopen();
    writer.write(&exchange("/"), "api", after(1));

    assert!(log.close(LONG));
    assert_eq!(std::fs::read_to_string(&old).expect("readable"), "before\n");
    assert_eq!(std::fs::read_to_string(&path).expect("readable").lines().count(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_once() {
    let dir = tempfile::tempdir().expect("a directory");

    assert!(AccessLog::new(Sink::File(dir.path().into()), Format::Json, 1.0, Arc::default()).is_err());
}

#[test]
fn off_has_no_writer() {
    let log = AccessLog::new(Sink::Off, Format::Json, 1.0, Arc::default()).expect("nothing to open");

    assert!(log.writer().is_none());
    assert!(log.close(Duration::ZERO));
}

#[test]
fn who_it_was_is_written_as_far_as_it_is_known() {
    use exchange::Peer;
    use exchange::identity::{Principal, Process, Proof};
    let of = |user: Option<&str>, unit: Option<&str>, principal: Option<&str>| {
        let mut head = head(Method::GET, "/");
        let process = Process {
            uid: 1000,
            user: user.map(Arc::from),
            pid: None,
            unit: unit.map(Arc::from),
            cgroup: None,
            container: None,
        };
        head.client.peer = Some(Arc::new(Peer { process: Some(process), ..Peer::default() }));
        let exchange = Exchange::new(head, None);
        if let Some(name) = principal {
            let claims = serde_json::Map::from_iter([("secret".to_owned(), json!("claim"))]);
            exchange.set_principal(Arc::new(Principal {
                proof: Proof::Jwt,
                by: "issuer".into(),
                name: name.into(),
                claims,
            }));
        }
        exchange.answered(200, None, Some(after(1)));
        exchange
    };
    let long = "\u{e9}".repeat(100);
    let all = [
        of(None, None, None),
        of(Some("al\"ice"), Some("a.service"), Some("app\n")),
        of(None, None, Some("")),
        of(None, None, Some(&long)),
    ];

    let lines = lines(1.0, &all.each_ref());

    assert_eq!((&lines[0]["user"], lines[0].get("unit"), lines[0].get("identity")), (&json!("1000"), None, None));
    assert_eq!(
        (&lines[1]["user"], &lines[1]["unit"], &lines[1]["identity"]),
        (&json!("al\"ice"), &json!("a.service"), &json!("app\n"))
    );
    assert_eq!(lines[2]["identity"], "issuer", "a token without a subject");
    assert_eq!(lines[3]["identity"], json!("\u{e9}".repeat(64)), "not more than fits");
    assert!(!lines[1].to_string().contains("claim"), "claims are not for the log");
}
