//! Rules of HTTP that bind a proxy, one by one, as they show on the wire.

use testkit::{Proxy, Reply, Upstream};

#[tokio::test]
async fn max_forwards_counts_this_proxy_for_options_and_trace_alone() {
    let upstream = Upstream::http(|_| Reply::ok("upstream")).await;
    let proxy = Proxy::start("");
    let url = upstream.url("/x");

    for method in ["OPTIONS", "TRACE", "GET"] {
        assert_eq!(proxy.call(method, &url, &["Max-Forwards: 3"], "").await.text(), "upstream");
    }
    let options = proxy.call("OPTIONS", &url, &["Max-Forwards: 0"], "").await;
    let trace = proxy.call("TRACE", &url, &["Max-Forwards: 0", "Cookie: secret"], "").await;
    let get = proxy.call("GET", &url, &["Max-Forwards: 0"], "").await;

    assert_eq!((options.status, options.header("content-length"), options.text().as_str()), (200, Some("0"), ""));
    assert!(options.header("allow").is_some_and(|allow| allow.contains("OPTIONS")), "{options:?}");
    assert_eq!((trace.status, trace.reason().as_str()), (501, "unsupported"));
    assert!(!trace.text().contains("secret"));
    assert_eq!(get.text(), "upstream");
    let left: Vec<_> = upstream.requests().iter().map(|seen| seen.header("max-forwards").map(str::to_owned)).collect();
    assert_eq!(left, [Some("2".to_owned()), Some("2".into()), Some("3".into()), Some("0".into())]);
}
