use bytes::Bytes;
use exchange::Error;
use http::StatusCode;

use super::*;
use crate::respond;
use crate::testing::{Bottom, get, record, request, response, text};

fn on(kinds: &[ErrorKind], statuses: &[RangeInclusive<u16>]) -> On {
    On { kinds: kinds.to_vec(), statuses: statuses.to_vec() }
}

fn upstream(on: On, bottom: &Bottom) -> Rule {
    Rule { on, with: With::Upstream(bottom.service()) }
}

fn fixed(on: On, body: &'static str) -> Rule {
    let params =
        respond::Params { status: StatusCode::OK, headers: Vec::new(), body: Bytes::from_static(body.as_bytes()) };
    Rule { on, with: With::Respond(respond::service(params)) }
}

fn with(rules: Vec<Rule>) -> impl Layer<ArcService, Service = ArcService> {
    layer(Params { rules, methods: vec![Method::GET, Method::PUT], body_limit: 8 })
}

fn failing(kind: ErrorKind, sent: Sent) -> Bottom {
    Bottom::default().fails(move || Error::new(kind).with_sent(sent))
}

/// A request with a body.
fn sending(method: Method, body: &'static str) -> Request<Body> {
    let from = request(method, "http://a.test/x?y");
    from.map(|_| Body::full(body))
}

#[tokio::test]
async fn the_first_rule_that_applies_answers() {
    let bottom = failing(ErrorKind::ConnectRefused, Sent::Nothing);
    let service = bottom.under(with(vec![
        fixed(on(&[ErrorKind::Reset], &[500..=599]), "no"),
        fixed(on(&[ErrorKind::ConnectRefused], &[]), "yes"),
        fixed(on(&[ErrorKind::ConnectRefused], &[]), "late"),
    ]));
    let request = get("http://a.test/");
    let exchange = record(&request);

    let response = service.call(request).await.expect("an answer");

    assert_eq!(response.headers()["proxy-status"], "attache; error=connection_refused; details=\"fallback: respond\"");
    assert_eq!(text(response).await, "yes");
    let noted = exchange.detour.fallback().expect("a fallback");
    assert_eq!((noted.by, noted.cause), (By::Respond, Err(ErrorKind::ConnectRefused)));
}

#[tokio::test]
async fn what_no_rule_names_stays_as_it_is() {
    let bottom = Bottom::default().status(200).status(404).fails(|| ErrorKind::Credential.into());
    let service = bottom.under(with(vec![fixed(on(&[ErrorKind::Reset], &[500..=599]), "no")]));
    for status in [200, 404] {
        let response = service.call(get("http://a.test/")).await.expect("a response");
        assert_eq!((response.status().as_u16(), response.headers().contains_key("proxy-status")), (status, false));
    }

    let request = get("http://a.test/");
    let exchange = record(&request);
    let error = service.call(request).await.expect_err("a failure");

    assert_eq!(error.kind, ErrorKind::Credential);
    assert!(exchange.detour.is_none());
}

#[tokio::test]
async fn another_upstream_gets_the_same_request() {
    let (bottom, other) = (failing(ErrorKind::Reset, Sent::Maybe), Bottom::default().status(201));
    let service = bottom.under(with(vec![upstream(on(&[ErrorKind::Reset], &[]), &other)]));
    let mut request = sending(Method::PUT, "8 bytes.");
    request.headers_mut().insert("x-own", "1".parse().expect("a value"));

    let response = service.call(request).await.expect("an answer");

    assert_eq!((response.status().as_u16(), bottom.calls()), (201, 1));
    let seen = other.seen().remove(0);
    assert_eq!((seen.method, seen.uri.as_str(), seen.body.as_str()), (Method::PUT, "http://a.test/x?y", "8 bytes."));
    assert_eq!(seen.headers["x-own"], "1");
}

#[tokio::test]
async fn what_may_have_been_acted_on_is_never_sent_elsewhere() {
    for (outcome, method, key, asked) in [
        (Err((ErrorKind::Reset, Sent::Maybe)), Method::POST, false, false),
        (Err((ErrorKind::AttemptTimeout, Sent::Complete)), Method::POST, false, false),
        (Err((ErrorKind::Reset, Sent::Nothing)), Method::POST, false, true),
        (Err((ErrorKind::ConnectRefused, Sent::Nothing)), Method::POST, false, true),
        (Err((ErrorKind::Reset, Sent::Maybe)), Method::POST, true, true),
        (Err((ErrorKind::Reset, Sent::Maybe)), Method::GET, false, true),
        (Ok(503), Method::POST, false, false),
        (Ok(503), Method::POST, true, true),
        (Ok(503), Method::PUT, false, true),
        (Ok(503), Method::DELETE, false, false),
    ] {
        let bottom = match outcome {
            Ok(status) => Bottom::default().status(status),
            Err((kind, sent)) => failing(kind, sent),
        };
        let other = Bottom::default();
        let kinds = [ErrorKind::Reset, ErrorKind::AttemptTimeout, ErrorKind::ConnectRefused];
        let service = bottom.under(with(vec![upstream(on(&kinds, &[500..=599]), &other)]));
        let mut request = sending(method.clone(), "body");
        if key {
            request.headers_mut().insert(IDEMPOTENCY_KEY, "\"k\"".parse().expect("a value"));
        }

        let result = service.call(request).await;

        assert_eq!(other.calls() == 1, asked, "{outcome:?} {method} {key}");
        assert_eq!(matches!(&result, Ok(response) if response.status() == StatusCode::OK), asked);
    }
}

#[tokio::test]
async fn a_body_that_outgrew_the_cap_goes_nowhere_else() {
    for (body, asked) in [("8 bytes.", 1), ("9 bytes..", 0)] {
        let (bottom, other) = (Bottom::default().status(500), Bottom::default());
        let service = bottom.under(with(vec![upstream(on(&[], &[500..=500]), &other)]));

        let response = service.call(sending(Method::PUT, body)).await.expect("a response");

        assert_eq!((other.calls(), response.status().as_u16()), (asked, if asked == 1 { 200 } else { 500 }), "{body}");
        assert_eq!(bottom.seen()[0].body, body);
    }
}

#[tokio::test]
async fn where_the_fallback_fails_too_the_first_cause_stands_and_the_next_rule_is_asked() {
    let all = || on(&[ErrorKind::ConnectRefused], &[500..=599]);
    for (other, last, expected) in [
        (failing(ErrorKind::Dns, Sent::Nothing), false, Err(ErrorKind::ConnectRefused)),
        (failing(ErrorKind::Dns, Sent::Nothing), true, Ok("fixed")),
        (Bottom::default().status(503), true, Ok("fixed")),
        (Bottom::default().status(200), true, Ok("")),
    ] {
        let bottom = failing(ErrorKind::ConnectRefused, Sent::Nothing);
        let mut rules = vec![upstream(all(), &other)];
        rules.extend(last.then(|| fixed(all(), "fixed")));
        let service = bottom.under(with(rules));

        match (service.call(get("http://a.test/")).await, expected) {
            (Ok(response), Ok(body)) => assert_eq!(text(response).await, body),
            (Err(error), Err(kind)) => assert_eq!(error.kind, kind),
            (result, _) => panic!("{result:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_broke_off_or_whose_time_is_over_is_answered_by_no_other_upstream() {
    for late in [false, true] {
        let (bottom, other) = (failing(ErrorKind::Reset, Sent::Maybe), Bottom::default());
        let service = bottom.under(with(vec![upstream(on(&[ErrorKind::Reset], &[]), &other)]));
        let request = get("http://a.test/");
        let exchange = record(&request);
        match late {
            true => exchange.shorten_deadline(exchange.head.started),
            false => exchange.set_upload(Upload::Broken),
        }

        assert!(service.call(request).await.is_err());

        assert_eq!(other.calls(), 0, "{late}");
    }
}

#[tokio::test]
async fn tunnels_and_upgrades_pass() {
    let rule = || vec![fixed(on(&[ErrorKind::ConnectRefused], &[]), "no")];
    let connect = request(Method::CONNECT, "a.test:443");
    let upgrade = crate::testing::request_with(Method::GET, "http://a.test/", |head| head.upgrade = true);
    for request in [connect, upgrade] {
        let service = failing(ErrorKind::ConnectRefused, Sent::Nothing).under(with(rule()));

        assert_eq!(service.call(request).await.expect_err("a failure").kind, ErrorKind::ConnectRefused);
    }
}

#[tokio::test]
async fn an_upstreams_own_proxy_status_stays() {
    let other = Bottom::default().then(|| {
        let mut answer = response(200);
        answer.headers_mut().insert(PROXY_STATUS, "far; received-status=200".parse().expect("a value"));
        Ok(answer)
    });
    let service = Bottom::default().status(502).under(with(vec![upstream(on(&[], &[502..=502]), &other)]));

    let response = service.call(get("http://a.test/")).await.expect("an answer");

    let all: Vec<_> = response.headers().get_all(PROXY_STATUS).iter().collect();
    assert_eq!(all, ["far; received-status=200", "attache; received-status=502; details=\"fallback: upstream\""]);
}
