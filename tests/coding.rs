//! Compression and decompression through real sockets: what is coded, what is left alone, and what is never a clean end.

use async_compression::tokio::write::{
    BrotliDecoder, BrotliEncoder, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder,
};
use http::Request;
use http_body_util::Full;
use testkit::upstream::Then;
use testkit::wire::Wire;
use testkit::{Client, End, Gate, Proxy, Reply, Response, Upstream, within};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];
const URL: &str = "http://api.test/x";

/// A route to an upstream with these lines.
fn route(upstream: &Upstream, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("routes:\n  - match: api.test\n    to: http://{}\n{lines}", upstream.addr())
}

/// Text that compresses, of more than the smallest size.
fn text() -> Vec<u8> {
    (0..2000).flat_map(|number: u32| format!("line {number} of the text\n").into_bytes()).collect()
}

async fn coded(coding: &str, plain: &[u8]) -> Vec<u8> {
    async fn all<W: AsyncWrite + Unpin>(mut coder: W, plain: &[u8]) -> W {
        coder.write_all(plain).await.expect("coded");
        coder.shutdown().await.expect("coded");
        coder
    }
    match coding {
        "gzip" => all(GzipEncoder::new(Vec::new()), plain).await.into_inner(),
        "br" => all(BrotliEncoder::new(Vec::new()), plain).await.into_inner(),
        _ => all(ZstdEncoder::new(Vec::new()), plain).await.into_inner(),
    }
}

async fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    async fn all<W: AsyncWrite + Unpin>(mut coder: W, bytes: &[u8]) -> W {
        coder.write_all(bytes).await.expect("decoded");
        coder.shutdown().await.expect("a whole coding");
        coder
    }
    match coding {
        "gzip" => all(GzipDecoder::new(Vec::new()), bytes).await.into_inner(),
        "br" => all(BrotliDecoder::new(Vec::new()), bytes).await.into_inner(),
        _ => all(ZstdDecoder::new(Vec::new()), bytes).await.into_inner(),
    }
}

/// A compressible answer with what describes its content.
fn page() -> Reply {
    Reply::ok(text())
        .header("content-type", "text/plain; charset=utf-8")
        .header("etag", "\"v1\"")
        .header("accept-ranges", "bytes")
}

fn encoded(coding: &str, body: Vec<u8>) -> Reply {
    Reply::ok(body).header("content-type", "text/plain").header("content-encoding", coding)
}

/// The reason of the only request in the access log.
fn reason(proxy: Proxy) -> String {
    let log = proxy.finish();
    assert_eq!(log.len(), 1, "{log:?}");
    log[0]["reason"].as_str().unwrap_or_default().to_owned()
}

/// What came of a GET that must not look complete; hyper drops the head with what it has not yet written.
async fn cut(proxy: &Proxy) -> Vec<u8> {
    let Some(response) = proxy.client().await.try_get(URL).await else { return Vec::new() };
    assert_eq!((response.status, response.end), (200, End::Cut));
    response.body
}

fn names(response: &Response) -> Vec<String> {
    response.headers.iter().map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase())).collect()
}

// --- off ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn off_not_a_byte_is_touched() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: x\r\nDate: Sat, 01 Jan 2028 00:00:00 GMT\r\nETag: \"a\"\r\n\
        Content-Encoding: gzip\r\nVary: Origin\r\nAccept-Ranges: bytes\r\nContent-Type: text/html\r\n\
        Content-Length: 9\r\n\r\nno gzip\r\n";
    let upstream = Upstream::http(|_| Reply::raw(ANSWER)).await;
    let proxy = Proxy::start(&route(&upstream, &[]));

    for fields in [&[][..], &["Accept-Encoding: GZIP;q=0.5,br"]] {
        let response = proxy.call("GET", URL, fields, "").await;

        let sent: Vec<String> = ANSWER.split("\r\n").skip(1).take(8).map(|line| line.to_ascii_lowercase()).collect();
        let got: Vec<String> = names(&response).iter().map(|line| line.to_ascii_lowercase()).collect();
        assert_eq!(got, sent);
        assert_eq!(response.body, b"no gzip\r\n");
    }
    let asked: Vec<_> =
        upstream.requests().iter().map(|seen| seen.header("accept-encoding").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some("GZIP;q=0.5,br".to_owned())]);
}

#[tokio::test]
async fn a_layer_is_in_the_stack_only_where_it_is_configured() {
    let upstream = Upstream::fixed("x").await;
    for (lines, wanted) in [
        (&[][..], &[][..]),
        (&["compress: false", "decompress: false"], &[]),
        (&["compress: true"], &["compress"]),
        (&["decompress: { max_size: 1KiB }"], &["decompress"]),
        (&["compress: true", "decompress: true"], &["compress", "decompress"]),
    ] {
        let proxy = Proxy::start(&route(&upstream, lines));
        let told = proxy.admin(&format!("/api/v1/explain?method=GET&url={URL}")).await.json();
        let layers = told["layers"].as_array().expect("layers").iter().filter_map(|layer| layer.as_str());
        assert_eq!(layers.filter(|layer| layer.contains("compress")).collect::<Vec<_>>(), wanted, "{told}");
    }
}

// --- towards the client ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_gets_the_coding_it_accepts() {
    let upstream = Upstream::http(|_| page()).await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true"]));

    for coding in CODINGS {
        let response = proxy.call("GET", URL, &[&format!("Accept-Encoding: {coding}")], "").await;

        assert_eq!((response.header("content-encoding"), response.end), (Some(coding), End::Whole));
        assert!(response.body.len() < text().len() / 2, "{} bytes of {coding}", response.body.len());
        assert_eq!(decoded(coding, &response.body).await, text());
        assert_eq!(response.header("etag"), Some("W/\"v1\""));
        assert_eq!(response.headers("vary"), ["accept-encoding"]);
        assert_eq!((response.header("content-length"), response.header("accept-ranges")), (None, None));
        assert_eq!(upstream.requests().last().expect("one").headers("accept-encoding"), [coding]);
    }
}

#[tokio::test]
async fn weights_decide_and_algorithms_limit() {
    let upstream = Upstream::http(|_| page()).await;
    let all = Proxy::start(&route(&upstream, &["compress: true"]));
    let gzip = Proxy::start(&route(&upstream, &["compress: { algorithms: gzip }"]));

    let pick = async |proxy: &Proxy, accepted: &str| {
        let response = proxy.call("GET", URL, &[&format!("Accept-Encoding: {accepted}")], "").await;
        assert_eq!(response.status, 200);
        response.header("content-encoding").map(str::to_owned)
    };

    assert_eq!(pick(&all, "gzip;q=0.2, br;q=0.9, zstd;q=0").await.as_deref(), Some("br"));
    assert_eq!(pick(&all, "identity").await, None);
    assert_eq!(pick(&gzip, "br, gzip;q=0.1").await.as_deref(), Some("gzip"));
    assert_eq!(pick(&gzip, "br, zstd").await, None);
    // Nothing is acceptable: what the upstream sent goes on, with its own status.
    assert_eq!(pick(&gzip, "identity;q=0, br").await, None);
}

#[tokio::test]
async fn what_must_stay_as_it_is_stays() {
    let tagged = || Reply::ok(text()).header("etag", "\"v1\"");
    let plain = || tagged().header("content-type", "text/plain");
    let part = || Reply::status(206).body(text()).header("content-type", "text/plain");
    for (what, reply) in [
        ("no-transform", plain().header("cache-control", "max-age=9, no-transform")),
        ("encoded already", plain().header("content-encoding", "x-own")),
        ("an image", tagged().header("content-type", "image/png")),
        ("events", tagged().header("content-type", "Text/Event-Stream")),
        ("gRPC", tagged().header("content-type", "application/grpc+json")),
        ("no type", tagged()),
        ("a digest", plain().header("content-digest", "sha-256=:x:")),
        ("an old digest", plain().header("content-md5", "Q2hlY2sgSW50ZWdyaXR5IQ==")),
        ("a signature", plain().header("signature", "a=:x:")),
        ("a part", part().header("content-range", "bytes 0-9/99")),
        ("parts", part()),
        ("too little", Reply::ok("little").header("content-type", "text/plain")),
        ("nothing", Reply::status(204).header("content-type", "text/plain")),
    ] {
        let upstream = Upstream::http(move |_| reply.clone()).await;
        let off = Proxy::start(&route(&upstream, &[]));
        let on = Proxy::start(&route(&upstream, &["compress: true"]));
        let fields = ["Accept-Encoding: gzip, br, zstd"];

        let (bare, response) = (off.call("GET", URL, &fields, "").await, on.call("GET", URL, &fields, "").await);

        let dateless = |response: &Response| -> Vec<String> {
            names(response).into_iter().filter(|line| !line.starts_with("date:")).collect()
        };
        assert_eq!(dateless(&response), dateless(&bare), "{what}");
        assert_eq!(response.body, bare.body, "{what}");
    }
}

#[tokio::test]
async fn a_request_that_forbids_it_is_not_transformed() {
    let upstream = Upstream::http(|_| page()).await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true", "decompress: true"]));

    let response = proxy.call("GET", URL, &["Accept-Encoding: gzip", "Cache-Control: no-transform"], "").await;

    assert_eq!((response.body, response.headers.iter().any(|(name, _)| name == "vary")), (text(), false));
    let response = proxy.call("GET", URL, &["Cache-Control: no-transform"], "").await;
    assert_eq!(response.body, text());
    assert_eq!(upstream.requests()[1].header("accept-encoding"), None);
}

#[tokio::test]
async fn a_client_that_accepts_nothing_is_told_that_others_get_something_else() {
    let upstream = Upstream::http(|_| page().header("vary", "origin")).await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true"]));

    let response = proxy.get(URL).await;

    assert_eq!((response.header("etag"), response.header("accept-ranges")), (Some("\"v1\""), Some("bytes")));
    assert_eq!(response.headers("vary"), ["origin", "accept-encoding"]);
    assert_eq!((response.header("content-encoding"), response.body.as_slice()), (None, text().as_slice()));
}

#[tokio::test]
async fn a_head_is_answered_as_the_get_would_be() {
    let upstream = Upstream::http(|seen| match seen.method.as_str() {
        "HEAD" => Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nContent-Length: 50000\r\n\r\n",
        ),
        _ => page(),
    })
    .await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true"]));
    let mut client = proxy.client().await;

    let response = client.call("HEAD", URL, &["Accept-Encoding: gzip"], "").await;

    assert_eq!((response.header("content-encoding"), response.header("etag")), (Some("gzip"), Some("W/\"v1\"")));
    assert_eq!((response.header("content-length"), response.headers("vary")), (None, vec!["accept-encoding"]));
    let small = client.call("HEAD", URL, &[], "").await;
    assert_eq!((small.header("content-encoding"), small.header("content-length")), (None, Some("50000")));
    // The connection is where it should be.
    assert_eq!(client.get(URL).await.body, text());
}

#[tokio::test]
async fn a_weakened_tag_is_known_again() {
    let upstream = Upstream::http(|_| Reply::status(304).header("etag", "\"v1\"")).await;
    for lines in ["compress: true", "decompress: true"] {
        let proxy = Proxy::start(&route(&upstream, &[lines]));

        let weak = proxy.call("GET", URL, &["If-None-Match: W/\"v1\""], "").await;
        let strong = proxy.call("GET", URL, &["If-None-Match: \"v1\""], "").await;

        assert_eq!((weak.status, weak.header("etag")), (304, Some("W/\"v1\"")));
        assert_eq!((strong.status, strong.header("etag")), (304, Some("\"v1\"")));
    }
}

#[tokio::test]
async fn trailers_pass_behind_a_compressed_body() {
    let upstream = Upstream::http(|_| {
        let half = String::from_utf8(text()).expect("text");
        Reply::chunked(&[&half, &half])
            .header("content-type", "text/plain")
            .header("trailer", "x-sum")
            .trailer("x-sum", "7")
    })
    .await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true"]));

    let response = proxy.call("GET", URL, &["Accept-Encoding: gzip", "TE: trailers"], "").await;

    assert_eq!(decoded("gzip", &response.body).await, [text(), text()].concat());
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_no_clean_end_of_a_coding() {
    let upstream = Upstream::http(|_| {
        let body = String::from_utf8(text()).expect("text");
        Reply::raw(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99999999\r\n\r\n{body}"))
            .then(Then::Close)
    })
    .await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true"]));

    let response = proxy.call("GET", URL, &["Accept-Encoding: gzip"], "").await;

    assert_eq!((response.header("content-encoding"), response.end), (Some("gzip"), End::Cut));
    assert_eq!(reason(proxy), "truncated");
}

/// An upstream that sends two pieces, the second only once the gate is open.
async fn in_two(kind: &'static str, gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::raw(move |_, mut wire: Wire| {
        let gate = gate.clone();
        async move {
            let _ = wire.head().await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
            wire.send(format!("{head}b\r\ndata: one\n\n\r\n")).await.expect("sent");
            gate.passed().await;
            let _ = wire.send("b\r\ndata: two\n\n\r\n0\r\n\r\n").await;
            wire.closed().await;
        }
    })
    .await
}

#[tokio::test]
async fn events_pass_one_by_one_and_as_they_are() {
    let gate = Gate::default();
    let upstream = in_two("text/event-stream", &gate).await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true", "decompress: true"]));
    let mut client = TcpStream::connect(proxy.addr()).await.expect("connected");
    client
        .write_all(b"GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nAccept-Encoding: gzip\r\n\r\n")
        .await
        .expect("sent");

    let first = until(&mut client, b"data: one\n\n").await;
    gate.open();
    until(&mut client, b"data: two\n\n").await;

    assert!(!String::from_utf8_lossy(&first).to_ascii_lowercase().contains("content-encoding"));
}

#[tokio::test]
async fn what_is_compressed_is_flushed_when_the_upstream_pauses() {
    let gate = Gate::default();
    let upstream = in_two("application/x-ndjson", &gate).await;
    for coding in CODINGS {
        let proxy = Proxy::start(&route(&upstream, &["compress: true"]));
        let mut client = TcpStream::connect(proxy.addr()).await.expect("connected");
        let request = format!("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nAccept-Encoding: {coding}\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");

        // The head alone has no chunk; a piece of the content must come before the upstream goes on.
        let got = until(&mut client, b"\r\n\r\n").await;
        let head = String::from_utf8_lossy(&got).into_owned();
        assert!(head.contains(coding), "{head}");
        let body = got.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        if got.len() == body {
            let mut more = [0; 256];
            assert!(within("a flushed piece", client.read(&mut more)).await.expect("read") > 0);
        }
    }
}

/// Reads until these bytes came.
async fn until(client: &mut TcpStream, wanted: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    while !got.windows(wanted.len()).any(|window| window == wanted) {
        let read = within("more bytes", client.read_buf(&mut got)).await.expect("read");
        assert!(read > 0, "it ended after {:?}", String::from_utf8_lossy(&got));
    }
    got
}

// --- from the upstream ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_that_asks_for_no_coding_gets_none() {
    for coding in CODINGS {
        let body = coded(coding, &text()).await;
        let upstream = Upstream::http(move |_| {
            encoded(coding, body.clone()).header("etag", "\"v1\"").header("content-digest", "sha-256=:x:")
        })
        .await;
        let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

        let response = proxy.get(URL).await;

        assert_eq!((response.end, response.body.as_slice()), (End::Whole, text().as_slice()), "{coding}");
        assert_eq!((response.header("content-encoding"), response.header("content-length")), (None, None));
        assert_eq!((response.header("etag"), response.header("content-digest")), (Some("W/\"v1\""), None));
        assert_eq!(response.headers("vary"), ["accept-encoding"]);
        assert_eq!(upstream.only().headers("accept-encoding"), ["zstd, br, gzip"]);
    }
}

#[tokio::test]
async fn what_other_programs_compressed_is_read() {
    const PLAIN: &str = "hello, hello, hello, hello, coding\n";
    // By GNU gzip 1.12 and zstd 1.5.
    for (coding, hex) in [
        ("gzip", "1f8b0800000000000203cb48cdc9c9d751c8c04625e7a764e6a57301001c55538f23000000"),
        ("zstd", "28b52ffd0468a500007068656c6c6f2c20636f64696e670a0100fa8a11956e9b79"),
    ] {
        let body: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        let upstream = Upstream::http(move |_| encoded(coding, body.clone())).await;
        let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

        assert_eq!(proxy.get(URL).await.text(), PLAIN, "{coding}");
    }
}

#[tokio::test]
async fn a_client_that_asks_for_a_coding_gets_the_upstreams_bytes() {
    let body = coded("gzip", &text()).await;
    let sent = body.clone();
    let upstream = Upstream::http(move |_| encoded("gzip", sent.clone()).header("etag", "\"v1\"")).await;
    let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

    for (accepted, is_decoded) in [("gzip", false), ("*", false), ("br, identity", true), ("gzip;q=0", true)] {
        let response = proxy.call("GET", URL, &[&format!("Accept-Encoding: {accepted}")], "").await;

        assert_eq!(response.body, if is_decoded { text() } else { body.clone() }, "{accepted}");
        assert_eq!(response.header("content-encoding"), if is_decoded { None } else { Some("gzip") });
        assert_eq!(response.header("etag"), Some(if is_decoded { "W/\"v1\"" } else { "\"v1\"" }));
        assert_eq!(upstream.requests().last().expect("one").headers("accept-encoding"), [accepted]);
    }
}

#[tokio::test]
async fn what_cannot_or_must_not_be_decoded_stays() {
    let gzip = coded("gzip", &text()).await;
    for (what, status, fields) in [
        ("no-transform", 200, &[("content-encoding", "gzip"), ("cache-control", "no-transform")][..]),
        ("two codings", 200, &[("content-encoding", "gzip, br")]),
        ("two fields", 200, &[("content-encoding", "gzip"), ("content-encoding", "br")]),
        ("another coding", 200, &[("content-encoding", "compress")]),
        ("a part", 206, &[("content-encoding", "gzip"), ("content-range", "bytes 0-9/99")]),
    ] {
        let body = gzip.clone();
        let upstream = Upstream::http(move |_| {
            fields
                .iter()
                .fold(Reply::status(status).body(body.clone()), |reply, (name, value)| reply.header(name, value))
        })
        .await;
        let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

        let response = proxy.get(URL).await;

        assert_eq!((response.body.as_slice(), response.end), (gzip.as_slice(), End::Whole), "{what}");
        assert_eq!(
            response.headers("content-encoding").len(),
            fields.iter().filter(|(n, _)| *n == "content-encoding").count()
        );
    }
}

#[tokio::test]
async fn a_range_is_asked_for_as_the_client_asked() {
    let upstream = Upstream::http(|_| Reply::status(206).body("lo").header("content-range", "bytes 3-4/5")).await;
    let proxy = Proxy::start(&route(&upstream, &["compress: true", "decompress: true"]));

    let response = proxy.call("GET", URL, &["Range: bytes=3-4"], "").await;

    assert_eq!((response.status, response.text().as_str(), response.header("content-length")), (206, "lo", Some("2")));
    let seen = upstream.only();
    assert_eq!((seen.header("range"), seen.header("accept-encoding")), (Some("bytes=3-4"), None));
}

#[tokio::test]
async fn a_head_tells_of_the_decoded_content() {
    let upstream = Upstream::http(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: \"v1\"\r\nContent-Length: 500\r\n\r\n")
    })
    .await;
    let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

    let response = proxy.call("HEAD", URL, &[], "").await;

    assert_eq!((response.header("content-encoding"), response.header("content-length")), (None, None));
    assert_eq!(response.header("etag"), Some("W/\"v1\""));
}

#[tokio::test]
async fn both_ways_one_coding_becomes_another() {
    let body = coded("br", &text()).await;
    let upstream = Upstream::http(move |_| encoded("br", body.clone())).await;
    let proxy = Proxy::start(&route(&upstream, &["compress: { algorithms: gzip }", "decompress: { algorithms: br }"]));

    let response = proxy.call("GET", URL, &["Accept-Encoding: gzip"], "").await;

    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(decoded("gzip", &response.body).await, text());
    assert_eq!(response.headers("vary"), ["accept-encoding"]);
}

#[tokio::test]
async fn a_coding_that_ends_early_is_cut_though_the_message_is_whole() {
    for coding in CODINGS {
        let whole = coded(coding, &text()).await;
        for keep in [whole.len() / 2, whole.len() - 1] {
            let body = whole[..keep].to_vec();
            let upstream = Upstream::http(move |_| encoded(coding, body.clone())).await;
            let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

            assert!(text().starts_with(&cut(&proxy).await), "{keep} of {} bytes of {coding}", whole.len());
            assert_eq!(reason(proxy), "truncated", "{keep} of {} bytes of {coding}", whole.len());
        }
    }
}

#[tokio::test]
async fn bytes_behind_a_coding_are_no_clean_end() {
    for coding in ["gzip", "br"] {
        let one = coded(coding, &text()).await;
        // In one chunk and in two: a second member would be lost without a word.
        for apart in [false, true] {
            let one = one.clone();
            let upstream = Upstream::http(move |_| {
                let second = [one.as_slice(), if apart { b"" } else { &one }].concat();
                let mut raw =
                    format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n")
                        .into_bytes();
                for chunk in [Some(second), apart.then(|| one.clone())].into_iter().flatten() {
                    raw.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    raw.extend(chunk);
                    raw.extend(b"\r\n");
                }
                raw.extend(b"0\r\n\r\n");
                Reply::raw(raw)
            })
            .await;
            let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

            cut(&proxy).await;

            assert_eq!(reason(proxy), "protocol", "{coding}, apart: {apart}");
        }
    }
}

#[tokio::test]
async fn what_is_not_in_its_coding_is_cut() {
    for coding in CODINGS {
        let upstream = Upstream::http(move |_| encoded(coding, b"this is \xff\xfe not coded at all".to_vec())).await;
        let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

        cut(&proxy).await;

        assert!(["protocol", "truncated"].contains(&reason(proxy).as_str()), "{coding}");
    }
}

#[tokio::test]
async fn an_http2_client_sees_a_reset_for_a_cut() {
    let whole = coded("gzip", &text()).await;
    let upstream = Upstream::http(move |_| encoded("gzip", whole[..whole.len() - 4].to_vec())).await;
    let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));
    let request = Request::get(URL).body(Full::default()).expect("a request");

    let response = proxy.h2().await.try_send(request).await;

    assert!(response.is_err() || response.is_ok_and(|response| response.end == End::Cut));
}

#[tokio::test]
async fn trailers_pass_behind_a_decoded_body() {
    let body = coded("gzip", b"hello").await;
    let upstream = Upstream::http(move |_| {
        let mut raw = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            body.len()
        )
        .into_bytes();
        raw.extend(&body);
        raw.extend(b"\r\n0\r\nx-sum: 7\r\n\r\n");
        Reply::raw(raw)
    })
    .await;
    let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));

    let response = proxy.call("GET", URL, &["TE: trailers"], "").await;

    assert_eq!((response.text().as_str(), response.end), ("hello", End::Whole));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

// --- bombs ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_cap_holds_to_the_byte() {
    for (size, whole) in [(4095, true), (4096, true), (4097, false)] {
        let body = coded("gzip", &vec![b'x'; size]).await;
        let upstream = Upstream::http(move |_| encoded("gzip", body.clone())).await;
        let proxy = Proxy::start(&route(&upstream, &["decompress: { max_size: 4KiB }"]));

        if whole {
            assert_eq!(proxy.get(URL).await.body.len(), size);
        } else {
            assert!(cut(&proxy).await.len() <= 4096);
            assert_eq!(reason(proxy), "too_large");
        }
    }
}

/// A gibibyte of zeros: one mebibyte's blocks again and again, without an end.
async fn bomb() -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut coder = GzipEncoder::new(Vec::new());
    let mut marks = Vec::new();
    for _ in 0..2 {
        coder.write_all(&zeros).await.expect("coded");
        coder.flush().await.expect("flushed");
        marks.push(coder.get_ref().len());
    }
    let bytes = coder.into_inner();
    [&bytes[..marks[0]], &bytes[marks[0]..marks[1]].repeat(1023)].concat()
}

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_bomb_is_cut_at_the_cap_in_little_memory() {
    let bomb = bomb().await;
    let upstream = Upstream::http(move |_| encoded("gzip", bomb.clone())).await;
    let proxy = Proxy::start(&route(&upstream, &["decompress: true"]));
    let mut client = TcpStream::connect(proxy.addr()).await.expect("connected");
    client.write_all(b"GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n").await.expect("sent");
    let before = resident();

    let (mut buffer, mut count, mut most, mut last) = (vec![0; 64 << 10], 0, before, Vec::new());
    while let Ok(read @ 1..) = within("more of it", client.read(&mut buffer)).await {
        count += read;
        most = most.max(resident());
        last = buffer[read.saturating_sub(5)..read].to_vec();
    }

    // With the framing of chunks: what the proxy writes of 4 KiB at a time.
    assert!((60 << 20..66 << 20).contains(&count), "{count} bytes came");
    assert_ne!(last, b"0\r\n\r\n", "a clean end");
    assert!(most - before < 32 << 20, "{} MiB more", (most - before) >> 20);
    let rejected = proxy.metrics().await.sum("attache_requests_total", &[("reason", "too_large")]);
    assert!(rejected > 0.0, "not in the metrics");
    assert_eq!(reason(proxy), "too_large");
}

#[tokio::test]
async fn a_reader_that_leaves_stops_the_decoder() {
    let bomb = bomb().await;
    let upstream = Upstream::http(move |_| encoded("gzip", bomb.clone())).await;
    let proxy = Proxy::start(&route(&upstream, &["decompress: { max_size: 1GiB }"]));
    let mut client = Client::connect(proxy.addr()).await;
    client.send("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    client.bytes(1000).await;

    client.reset();

    upstream.until("the upstream's connection is closed", |record| record.open == 0).await;
    assert_eq!(reason(proxy), "client_gone");
}
