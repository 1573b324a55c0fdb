use exchange::Peer;
use exchange::identity::{Principal, Process, Proof};
use futures_util::FutureExt;
use http::Response;
use serde_json::{Value, json};
use telemetry::Metrics;

use super::*;
use crate::testing::{Bottom, record, request_with};

const TIMEOUT: Duration = Duration::from_millis(200);

fn params() -> Params {
    Params {
        url: "http://127.0.0.1:8181/v1/data/attache/allow".parse().expect("a URL"),
        timeout: TIMEOUT,
        fail_open: false,
        cache: Duration::ZERO,
        headers: vec![HeaderName::from_static("x-tenant")],
        sets: Some("x-authz-".into()),
        concurrency: 2,
    }
}

fn stats() -> Arc<RouteStats> {
    Metrics::new("test").shard().route(&"api".into())
}

fn says(answer: impl Into<String>) -> Bottom {
    let answer = answer.into();
    Bottom::default().then(move || Ok(Response::new(Body::full(answer))))
}

fn under(decider: &Bottom, params: Params, bottom: &Bottom) -> ArcService {
    bottom.under(layer(params, State { service: decider.service(), stats: stats() }))
}

fn asked(path: &str) -> Request<Body> {
    let mut request = request_with(Method::GET, &format!("https://api.test{path}"), |head| {
        head.tls = true;
        let process =
            Process { uid: 1000, user: Some("alice".into()), pid: Some(7), unit: None, cgroup: None, container: None };
        head.client.peer = Some(Arc::new(Peer { process: Some(process), ..Peer::default() }));
        head.client.addr = Some("127.0.0.1:5000".parse().expect("an address"));
    });
    for (name, value) in [("x-tenant", "a"), ("authorization", "Bearer secret"), ("x-authz-role", "forged")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

#[tokio::test]
async fn what_is_asked_is_the_head_and_the_caller_and_no_credential() {
    let decider = says(r#"{"result": true}"#);
    let request = asked("/v1//a?x=1");
    let claims = json!({"org": 7}).as_object().cloned().unwrap_or_default();
    record(&request).set_principal(Arc::new(Principal {
        proof: Proof::Jwt,
        by: "jwt".into(),
        name: "app".into(),
        claims,
    }));

    under(&decider, params(), &Bottom::default()).call(request).await.expect("allowed");

    let seen = decider.seen().remove(0);
    assert_eq!((seen.method, seen.uri.as_str()), (Method::POST, "http://127.0.0.1:8181/v1/data/attache/allow"));
    assert!(!seen.body.contains("secret") && !seen.headers.contains_key("authorization"), "{}", seen.body);
    let input: Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(
        input,
        json!({"input": {
            "method": "GET", "scheme": "https", "host": "api.test", "port": 443, "path": "/v1//a",
            "parsed_path": ["v1", "a"], "query": "x=1", "headers": {"x-tenant": "a"},
            "client": {
                "address": "127.0.0.1", "local": true, "uid": 1000, "user": "alice", "unit": null, "cgroup": null,
                "container": null, "spiffe": null, "dns": null,
            },
            "identity": {"proof": "jwt", "by": "jwt", "name": "app", "claims": {"org": 7}},
        }})
    );
}

#[tokio::test]
async fn only_a_clear_yes_passes() {
    for (answer, expected) in [
        (r#"{"result": true}"#, Ok(())),
        (r#"{"result": {"allow": true}}"#, Ok(())),
        (r#"{"result": false}"#, Err("it was decided so")),
        (r#"{"result": {"allow": false, "reason": "not on sundays"}}"#, Err("not on sundays")),
        (r#"{}"#, Err("undefined")),
        (r#"{"result": {}}"#, Err("no `allow`")),
        (r#"{"result": {"allow": "true"}}"#, Err("no `allow`")),
        (r#"{"result": "true"}"#, Err("neither")),
        (r#"{"result": null}"#, Err("neither")),
        (r#"{"result": [true]}"#, Err("neither")),
        ("true", Err("no decision")),
        ("", Err("no decision")),
    ] {
        let (decider, bottom) = (says(answer), Bottom::default());
        let request = asked("/");
        let exchange = record(&request);

        let outcome = under(&decider, params(), &bottom).call(request).await;

        match expected {
            Ok(()) => assert_eq!((outcome.is_ok(), bottom.calls()), (true, 1), "{answer}"),
            Err(why) => {
                let error = outcome.expect_err(answer);
                let detail = error.detail().unwrap_or_default();
                assert!(error.kind == ErrorKind::Forbidden && detail.contains(why), "{answer}: {detail}");
                assert_eq!(bottom.calls(), 0, "{answer}");
                let denied = (why != "no decision").then_some(Denied::Decision);
                assert_eq!(exchange.detour.denied(), denied, "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_sets_fields_of_its_prefix_and_a_client_none() {
    let answer = json!({"result": {"allow": true, "headers": {
        "X-Authz-User": "alice", "authorization": "Bearer x", "x-authz-bad": "a\nb", "x-authz-n": 7,
    }}});
    let bottom = Bottom::default();

    under(&says(answer.to_string()), params(), &bottom).call(asked("/")).await.expect("allowed");

    let headers = bottom.seen().remove(0).headers;
    assert_eq!(
        (&headers["x-authz-user"], &headers["authorization"]),
        (&"alice".parse().unwrap(), &"Bearer secret".parse().unwrap())
    );
    assert!(!headers.contains_key("x-authz-bad") && !headers.contains_key("x-authz-n"));
    assert!(!headers.contains_key("x-authz-role"), "the client's own");
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_a_refusal_unless_it_is_chosen_to_pass() {
    for fail_open in [false, true] {
        let silent = crate::testing::silent();
        let large = format!(r#"{{"result": true, "more": "{}"}}"#, "x".repeat(MOST_READ));
        let deciders = [
            silent,
            Bottom::default().status(500).service(),
            Bottom::default().fails(|| Error::new(ErrorKind::ConnectRefused)).service(),
            says(large).service(),
            says("{").service(),
        ];
        for (index, service) in deciders.into_iter().enumerate() {
            let (bottom, began) = (Bottom::default(), clock::now());
            let layer = layer(Params { fail_open, ..params() }, State { service, stats: stats() });

            let outcome = bottom.under(layer).call(asked("/")).await;

            assert_eq!((outcome.is_ok(), bottom.calls()), (fail_open, usize::from(fail_open)), "{index}");
            let waited = if index == 0 { TIMEOUT } else { Duration::ZERO };
            assert_eq!(clock::now().since(began), waited, "{index}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_for_the_same_question_and_not_longer() {
    let decider = says(r#"{"result": true}"#).then(|| Ok(Response::new(Body::full(r#"{"result": false}"#))));
    let decider = decider.then(|| Ok(Response::new(Body::full(r#"{"result": false}"#))));
    let service = under(&decider, Params { cache: Duration::from_secs(5), ..params() }, &Bottom::default());

    assert!(service.call(asked("/")).await.is_ok() && service.call(asked("/")).await.is_ok());
    assert_eq!(decider.calls(), 1, "kept");
    assert!(service.call(asked("/other")).await.is_err(), "another question");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(service.call(asked("/")).await.is_err(), "too old");
    assert_eq!(decider.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn beyond_so_many_questions_there_is_no_answer() {
    let layer = layer(params(), State { service: crate::testing::silent(), stats: stats() });
    let service = Bottom::default().under(layer);
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(service.call(asked("/")))).collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }

    let error = service.call(asked("/")).await.expect_err("refused");
    assert!(error.detail().is_some_and(|detail| detail.contains("too many")));

    waiting.pop();
    let mut next = Box::pin(service.call(asked("/")));
    assert!((&mut next).now_or_never().is_none(), "the place of who left is free");
}
