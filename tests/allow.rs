//! Who may: rules of a route, of tunnels, of hosts that no route names; and routes for some callers only.

use testkit::{Proxy, Reply, Upstream};

/// Nobody's number on any system.
const NOBODY: &str = "user: 4294967294";

async fn upstream() -> Upstream {
    Upstream::http(|_| Reply::ok("upstream")).await
}

#[tokio::test]
async fn once_there_is_a_rule_everybody_whom_none_fits_is_refused() {
    let upstream = upstream().await;
    let yaml = format!(
        "routes:\n  - match: api.test\n    to: {}\n    allow:\n      - {{ is: anyone_local, methods: [GET], paths: [/v1/] \
         }}\n      - {{ {NOBODY}, methods: [PUT] }}\n",
        upstream.url("")
    );
    let proxy = Proxy::start(&yaml);

    assert_eq!(proxy.get("http://api.test/v1/x").await.status, 200);
    for (method, path) in
        [("POST", "/v1/x"), ("PUT", "/v1/x"), ("GET", "/v2"), ("GET", "/v1/../v2"), ("GET", "/v1/%2e%2E/v2")]
    {
        let response = proxy.call(method, &format!("http://api.test{path}"), &[], "").await;
        assert_eq!((response.status, response.reason().as_str()), (403, "forbidden"), "{method} {path}");
        let text = response.text();
        assert!(text.contains("rule 1 fails at") && text.contains("rule 2 fails at `user`"), "{text}");
        assert!(!text.contains("4294967294"), "whom else a rule is for is nobody's business: {text}");
    }

    assert_eq!(upstream.count(), 1);
    let log = proxy.finish();
    let denied: Vec<_> = log.iter().map(|line| line["denied"].as_str()).collect();
    assert_eq!(denied, [None, Some("rule"), Some("rule"), Some("rule"), Some("rule"), Some("rule")]);
}

#[tokio::test]
async fn hosts_that_no_route_names_have_the_rules_of_the_default() {
    let upstream = upstream().await;
    let port = upstream.addr().port();
    let yaml = |allow: &str| {
        format!(
            "destinations: {{ connect_ports: [{port}] }}\nresolve: {{ api.test: {0}, b.test: {0} }}\ndefault: {{ allow: \
             {{ {allow} }} }}\nroutes:\n  - match: api.test\n    respond: 204\n",
            upstream.addr(),
        )
    };
    let (closed, open) = (Proxy::start(&yaml(NOBODY)), Proxy::start(&yaml("is: anyone_local")));

    for (proxy, status) in [(&closed, 403), (&open, 200)] {
        assert_eq!(proxy.get(&format!("http://b.test:{port}/")).await.status, status);
        assert_eq!(proxy.client().await.connect_to(&format!("b.test:{port}")).await.status, status);
        assert_eq!(proxy.get("http://api.test/").await.status, 204, "a route has its own");
        assert_eq!(proxy.client().await.connect_to(&format!("api.test:{port}")).await.status, 200);
    }
}

#[tokio::test]
async fn a_tunnel_needs_a_rule_that_holds_without_seeing_what_is_inside() {
    let upstream = upstream().await;
    let port = upstream.addr().port();
    for (allow, opaque, seen) in [
        ("{ is: anyone_local }", 200, 200),
        ("{ is: anyone_local, methods: [GET] }", 403, 200),
        ("{ is: anyone_local, paths: [/v1/] }", 403, 200),
        ("{ is: anyone_local, methods: [CONNECT] }", 200, 200),
        ("{ is: anyone_local, hosts: [other.test] }", 403, 403),
        ("{ user: 4294967294 }", 403, 403),
    ] {
        let yaml = format!(
            "destinations: {{ connect_ports: [80, {port}] }}\nresolve: {{ api.test: {} }}\nroutes:\n  - match: \
             api.test\n    allow: {allow}\n",
            upstream.addr(),
        );
        let proxy = Proxy::start(&yaml);

        assert_eq!(proxy.client().await.connect_to(&format!("api.test:{port}")).await.status, opaque, "{allow}");
        assert_eq!(proxy.client().await.connect_to("api.test:80").await.status, seen, "{allow}");
    }
}

#[tokio::test]
async fn what_is_not_seen_may_be_any_route_of_its_host() {
    let upstream = upstream().await;
    let port = upstream.addr().port();
    let open = "  - match: { host: api.test, path: /open/ }\n";
    for (routes, opaque) in [
        (format!("{open}  - match: api.test\n    allow: {{ {NOBODY} }}\n"), 403),
        (format!("{open}  - match: api.test\n    allow: {{ is: anyone_local }}\n"), 200),
    ] {
        let yaml = format!(
            "destinations: {{ connect_ports: [80, {port}] }}\nresolve: {{ api.test: {} }}\nroutes:\n{routes}",
            upstream.addr(),
        );
        let proxy = Proxy::start(&yaml);

        assert_eq!(proxy.client().await.connect_to(&format!("api.test:{port}")).await.status, opaque, "{routes}");
        assert_eq!(proxy.client().await.connect_to("api.test:80").await.status, 200, "asked again inside");
    }
}

#[tokio::test]
async fn inside_a_tunnel_each_request_is_asked_again_and_what_is_none_goes_nowhere() {
    let upstream = upstream().await;
    let yaml = format!(
        "resolve: {{ api.test: {} }}\nroutes:\n  - match: api.test\n    allow: {{ is: anyone_local, methods: [GET] }}\n",
        upstream.addr(),
    );
    let proxy = Proxy::start(&yaml);
    let mut client = proxy.client().await;
    assert_eq!(client.connect_to("api.test:80").await.status, 200);
    assert_eq!(client.call("GET", "/", &["Host: api.test"], "").await.status, 200);
    assert_eq!(client.call("POST", "/", &["Host: api.test"], "").await.status, 403);

    let mut client = proxy.client().await;
    assert_eq!(client.connect_to("api.test:80").await.status, 200);
    client.send("\u{1}\u{2} something else\n").await;
    assert!(client.rest().await.is_empty());

    assert_eq!(upstream.connections(), 1, "what is no HTTP was not dialed for");
}

#[tokio::test]
async fn a_host_with_routes_for_some_is_closed_to_others() {
    let upstream = upstream().await;
    let port = upstream.addr().port();
    let yaml = format!(
        "destinations: {{ connect_ports: [{port}] }}\nresolve: {{ api.test: {0}, b.test: {0} }}\nroutes:\n  - name: \
         kept\n    match: {{ host: api.test, path: /v1/, who: {{ {NOBODY} }} }}\n    to: http://{0}\n",
        upstream.addr(),
    );
    let proxy = Proxy::start(&yaml);

    for url in ["http://api.test/v1/x", "http://api.test/other"] {
        let response = proxy.get(url).await;
        assert_eq!((response.status, response.reason().as_str()), (403, "forbidden"), "{url}");
        assert!(response.text().contains("match: who"), "{response:?}");
    }
    assert_eq!(proxy.client().await.connect_to(&format!("api.test:{port}")).await.status, 403);
    assert_eq!(proxy.client().await.call("GET", "/r/kept/v1/x", &["Host: localhost"], "").await.status, 403);
    assert_eq!(proxy.get(&format!("http://b.test:{port}/")).await.status, 200, "other hosts are as they were");

    let log = proxy.finish();
    assert!(log[..4].iter().all(|line| line["denied"] == "route"), "{log:?}");
}

#[test]
fn explain_says_who_may_and_why_not() {
    let yaml = "routes:\n  - match: { host: api.test, who: user:alice }\n    respond: 200\n    allow: [{ user: alice, \
                methods: [GET] }, 'unit:backup.service', { name: app, claims: { org.id: 7 } }]\n";
    let model = config::parse(yaml, "test", config::Format::Yaml).expect("a model").model;
    let ask = |method: &str, caller: &[&str]| {
        let caller: Vec<String> = caller.iter().map(|one| (*one).to_owned()).collect();
        let question = proxy::Question { method, url: "http://api.test/", headers: &[], caller: &caller };
        proxy::answer(&model, &question).expect("explained").to_string()
    };

    let may = ask("GET", &["user:alice"]);
    assert!(may.contains("allow       user alice, GET") && may.contains("allow       unit backup.service"), "{may}");
    assert!(may.contains("allow       name app and claim org.id 7") && may.contains("this caller may"), "{may}");
    let not = ask("POST", &["user:alice", "name:app", "claim:org.id=8"]);
    assert!(not.contains("403: no rule") && not.contains("rule 3 fails at `claims`"), "{not}");
    assert!(ask("GET", &["user:bob"]).contains("for other callers"));
    assert!(ask("GET", &["user:alice", "unit:backup.service"]).contains("this caller may"));
}

#[tokio::test]
async fn somebody_else_decides_and_is_told_who_calls() {
    let decider = Upstream::http(|seen| {
        let input: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        let input = &input["input"];
        let may = input["method"] == "GET" && input["client"]["uid"].is_number();
        let role = format!("{}-role", input["headers"]["x-tenant"].as_str().unwrap_or("no"));
        let result = serde_json::json!({ "allow": may, "reason": "only to read", "headers": { "x-authz-role": role } });
        Reply::ok(serde_json::json!({ "result": result }).to_string())
    })
    .await;
    let upstream = Upstream::http(|seen| Reply::ok(seen.header("x-authz-role").unwrap_or("none").to_owned())).await;
    let yaml = format!(
        "routes:\n  - match: api.test\n    to: {}\n    authorize: {{ url: '{}', headers: [x-tenant], sets: x-authz-, timeout: \
         5s }}\n",
        upstream.url(""),
        decider.url("/v1/data/attache/allow"),
    );
    let proxy = Proxy::start(&yaml);

    let read = proxy.call("GET", "http://api.test/x", &["X-Tenant: a", "X-Authz-Role: root"], "").await;
    let write = proxy.call("POST", "http://api.test/x", &["X-Tenant: a"], "body").await;

    assert_eq!((read.status, read.text().as_str()), (200, "a-role"));
    assert_eq!((write.status, write.reason().as_str()), (403, "forbidden"));
    assert!(write.text().contains("only to read"), "{write:?}");
    assert_eq!(upstream.count(), 1);
    let questions = decider.requests();
    assert_eq!(
        (questions.len(), questions[0].target.as_str(), questions[0].method.as_str()),
        (2, "/v1/data/attache/allow", "POST")
    );
    assert_eq!(decider.connections(), 1, "pooled");
    let metrics = proxy.metrics().await;
    for result in ["allowed", "denied"] {
        assert_eq!(metrics.sum("attache_authorize_total", &[("result", result), ("route", "api.test")]), 1.0);
    }
    let log = proxy.finish();
    assert_eq!((log[0].get("denied"), &log[1]["denied"]), (None, &"decision".into()));
    assert!(log.iter().all(|line| line["attempts"].as_array().is_some_and(|all| all.len() <= 1)), "{log:?}");
}

#[tokio::test]
async fn without_whoever_decides_nothing_passes_unless_it_is_chosen() {
    let gone = testkit::Port::refused();
    let upstream = upstream().await;
    for (fail, status) in [("closed", 403), ("open", 200)] {
        let yaml = format!(
            "destinations: {{ connect_ports: [80, 443] }}\nresolve: {{ api.test: {} }}\nroutes:\n  - match: api.test\n    to: \
             {}\n    authorize: {{ url: 'http://{}/x', fail: {fail} }}\n",
            upstream.addr(),
            upstream.url(""),
            gone.addr(),
        );
        let proxy = Proxy::start(&yaml);

        assert_eq!(proxy.get("http://api.test/").await.status, status, "{fail}");
        let tunnel = proxy.client().await.connect_to("api.test:443").await;
        assert_eq!(tunnel.status, 403, "nobody can be asked about what is inside");
        let mut inside = proxy.client().await;
        assert_eq!(inside.connect_to("api.test:80").await.status, 200);
        assert_eq!(inside.call("GET", "/", &["Host: api.test"], "").await.status, status, "{fail}");
    }
}
