//! Any bytes a client sends, through the real listener, edge and stack, against what reaches an upstream.
//!
//! Everything runs in memory on the caller's thread. What is forwarded must be one well-formed request in the form an
//! origin expects; it must be what was asked for; and asked for again it must be forwarded as it was.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use config::Format;
use exchange::{Authority, Client, Io};
use futures_util::future::BoxFuture;
use proxy::listener::conn::{self, Entry};
use proxy::offline::Offline;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;
use upstream::net::Net;

/// Names that lead somewhere are written here: nothing of an input is ever looked up.
const CONFIG: &str = "
log: {access: false}
resolve: {a.test: 10.0.0.1, b.test: 10.0.0.2, rw.test: 10.0.0.3, base.test: 10.0.0.4, other.test: 10.0.0.5}
routes:
  - {match: a.test, retry: false}
  - {match: 'b.test:8080'}
  - {match: {host: rw.test, path: /v1/}, to: http://base.test/base, rewrite: {prefix: /v2/}}
  - {match: '*', to: http://other.test}
";
const BUFFER: usize = 64 * 1024;
/// Turns of the runtime without a byte to anyone: nothing more will come.
const QUIET: usize = 48;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const BLANK: &[u8] = b"\r\n\r\n";
/// Begins a ClientHello: an `https` target was asked for.
const TLS: u8 = 0x16;

/// See the module.
pub fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        authority(text);
    }
    let forwarded = run(input);
    if asks_for_a_tunnel(input) {
        return;
    }
    let plain = |bytes: &&Vec<u8>| bytes.first() != Some(&TLS);
    for (index, bytes) in forwarded.iter().filter(plain).enumerate() {
        let request = Request::read(bytes).unwrap_or_else(|wrong| panic!("{wrong}: {:?}", show(bytes)));
        if index == 0 && is_one(input) {
            asked(input, &request).unwrap_or_else(|wrong| panic!("{wrong}: {:?}", show(bytes)));
        }
        // What was rewritten would be rewritten again; a longer method than this does not begin a connection.
        let recurs = !request.upgrades() && request.method.len() <= 20;
        if recurs && request.host().is_ok_and(|host| host.host().name() != Some("base.test")) {
            let again = run(&request.without_via());
            let again = again.first().unwrap_or_else(|| panic!("refused the second time: {:?}", show(bytes)));
            assert_eq!(
                Request::read(again).map(Request::settled),
                Ok(request.settled()),
                "forwarded differently again"
            );
        }
    }
}

/// What the strict parser takes is in its own normal form, whatever is around it.
fn authority(text: &str) {
    let Ok(read) = Authority::parse(text) else { return };
    let shown = read.to_string();
    assert_eq!(Authority::parse(&shown), Ok(read), "{text:?} is shown as {shown:?}");
    assert!(shown.bytes().all(|byte| byte.is_ascii_graphic() && !b"@/?#\\,%".contains(&byte)), "{shown:?}");
    assert_eq!(shown, shown.to_ascii_lowercase());
}

fn asks_for_a_tunnel(input: &[u8]) -> bool {
    input.windows(8).any(|window| window == b"CONNECT ") || input.starts_with(b"PRI ")
}

/// Of several requests the first may be refused and the next be served.
fn is_one(input: &[u8]) -> bool {
    input.windows(7).filter(|window| *window == b"HTTP/1.").count() == 1
}

/// A request as an upstream reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    method: String,
    target: String,
    /// Names in lower case.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// Reads what a strict origin would accept from a proxy, and nothing else.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let end = find(bytes, BLANK).ok_or("the head has no end")?;
        let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = std::str::from_utf8(lines.next().unwrap_or_default()).map_err(|_| "the request line is not text")?;
        let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("`{line}` is no request line"));
        };
        if !(target.starts_with('/') || target == "*") || target.contains('#') {
            return Err(format!("`{target}` is not in origin-form"));
        }
        let mut fields = Vec::new();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
            let name = std::str::from_utf8(&line[..colon]).map_err(|_| "a name that is not text")?;
            let value = line[colon + 1..].trim_ascii().to_vec();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b)) {
                return Err(format!("`{name}` is no name"));
            }
            if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
                return Err(format!("a control character in `{name}`"));
            }
            fields.push((name.to_ascii_lowercase(), value));
        }
        let mut request = Self { method: method.into(), target: target.into(), fields, body: Vec::new() };
        request.fitting()?;
        request.body = request.framed(&bytes[end + BLANK.len()..])?;
        Ok(request)
    }

    /// Fields of different names have no order (RFC 9110 section 5.3), and `Via` names the version a request came in.
    fn settled(mut self) -> Self {
        self.fields.retain(|(name, _)| name != "via");
        self.fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        self
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_slice())
    }

    fn host(&self) -> Result<Authority, String> {
        let mut hosts = self.values("host");
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err("not exactly one Host".into()) };
        let host = std::str::from_utf8(host).map_err(|_| "Host is not text")?;
        Authority::parse(host).map_err(|why| format!("Host `{host}`: {why}"))
    }

    fn fitting(&self) -> Result<(), String> {
        self.host()?;
        for name in ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings"] {
            if self.values(name).next().is_some() {
                return Err(format!("`{name}` was passed on"));
            }
        }
        let is = |name, wanted: &[u8]| self.values(name).all(|value| value.eq_ignore_ascii_case(wanted));
        if !is("te", b"trailers") || !is("upgrade", b"websocket") || !(is("connection", b"upgrade")) {
            return Err("a field of one connection was passed on".into());
        }
        if self.values("connection").next().is_some() != self.upgrades() {
            return Err("`connection` without `upgrade`, or the reverse".into());
        }
        if !self.names_us() {
            return Err("no Via".into());
        }
        Ok(())
    }

    fn upgrades(&self) -> bool {
        self.values("upgrade").next().is_some()
    }

    fn names_us(&self) -> bool {
        self.values("via").last().is_some_and(|via| via.starts_with(b"1.1 ") || via.starts_with(b"1.0 "))
    }

    /// RFC 9112 section 6.3, without room for two readings.
    fn framed(&self, rest: &[u8]) -> Result<Vec<u8>, String> {
        let codings: Vec<_> = self.values("transfer-encoding").collect();
        let lengths: Vec<_> = self.values("content-length").collect();
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) if rest.is_empty() => Ok(Vec::new()),
            ([], [length]) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<usize>().ok());
                // A client that broke off leaves less; never more.
                if length.is_none_or(|length| rest.len() > length) {
                    return Err("more than Content-Length says".into());
                }
                Ok(rest.to_vec())
            }
            ([b"chunked"], []) => unchunked(rest),
            _ => Err(format!("framed by {} codings and {} lengths", codings.len(), lengths.len())),
        }
    }

    /// As a client that speaks to a proxy would send it.
    fn without_via(&self) -> Vec<u8> {
        let host = self.values("host").next().unwrap_or_default().to_vec();
        let mut bytes = format!("{} ", self.method).into_bytes();
        if self.target != "*" {
            bytes.extend_from_slice(b"http://");
            bytes.extend_from_slice(&host);
        }
        bytes.extend_from_slice(self.target.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        let last = self.fields.iter().rposition(|(name, _)| name == "via");
        for (index, (name, value)) in self.fields.iter().enumerate() {
            if Some(index) != last {
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(b": ");
                bytes.extend_from_slice(value);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes.extend_from_slice(b"\r\n");
        if self.values("transfer-encoding").next().is_some() {
            if !self.body.is_empty() {
                bytes.extend_from_slice(format!("{:x}\r\n", self.body.len()).as_bytes());
                bytes.extend_from_slice(&self.body);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    // A client that broke off leaves chunks without an end: to an origin that is a cut request, not another one.
    while let Some(end) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.ok_or_else(|| format!("`{}` is no chunk size", show(&rest[..end])))?;
        rest = &rest[end + 2..];
        if size == 0 {
            // Trailers, then the blank line, then nothing.
            let end = if rest.starts_with(b"\r\n") { Some(2) } else { find(rest, BLANK).map(|at| at + BLANK.len()) };
            return if end == Some(rest.len()) { Ok(body) } else { Err("bytes after the last chunk".into()) };
        }
        if rest.len() < size + 2 {
            break;
        }
        if &rest[size..size + 2] != b"\r\n" {
            return Err("a chunk is longer than it says".into());
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    Ok(body)
}

/// The first request line of an input, read as simply as can be.
fn asked(input: &[u8], got: &Request) -> Result<(), String> {
    let begin = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    let line = input[begin..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) else { return Ok(()) };
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(format!("`{line}` is no request line, and was forwarded"));
    };
    if method != got.method {
        return Err(format!("`{method}` became `{}`", got.method));
    }
    // A fragment is no part of a target; the parser below the edge drops it.
    let target = target.split('#').next().unwrap_or_default();
    let (written, path) = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        _ => (None, target),
    };
    // In authority-form there is nothing to compare with.
    if written.is_none() && !target.starts_with(['/', '*', '?']) {
        return Ok(());
    }
    let slash = if path.is_empty() || path.starts_with('?') { "/" } else { "" };
    let mut wanted = format!("{slash}{path}");
    let Some(written) = written else {
        // `/r/<name>` and the route's rewriting depend on Host, which is not read here.
        let rewritten = wanted.starts_with("/r/") || got.target.starts_with("/base/v2/");
        return same(&wanted, &got.target).or(if rewritten { Ok(()) } else { Err(changed(&wanted, &got.target)) });
    };
    let Ok(host) = Authority::parse(written) else {
        return Err(format!("`{written}` is no authority to a strict parser, and was forwarded"));
    };
    let name = host.host().name().unwrap_or_default();
    let sent = got.host()?;
    if name == "a.test" && sent != host {
        return Err(format!("asked for {host}, sent to {sent}"));
    }
    // `/v1/` is itself and all below it, in whole segments.
    let below = wanted.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if name == "rw.test"
        && let Some(below) = below
    {
        wanted = format!("/base/v2{below}");
    }
    // RFC 9112 section 3.2.4.
    let whole_server = method == "OPTIONS" && path.is_empty() && got.target == "*";
    same(&wanted, &got.target).or(if whole_server { Ok(()) } else { Err(changed(&wanted, &got.target)) })
}

fn same(wanted: &str, got: &str) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(changed(wanted, got)) }
}

fn changed(wanted: &str, got: &str) -> String {
    format!("`{wanted}` became `{got}`")
}

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// What every input of a thread goes through.
struct House {
    offline: Offline,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl House {
    fn new() -> Self {
        let seen = Arc::default();
        let loaded = config::parse(CONFIG, "oracle.yaml", Format::Yaml).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let net = Arc::new(Memory(Arc::clone(&seen)));
        let offline = Offline::over(&loaded.model, net).unwrap_or_else(|error| panic!("{error}"));
        Self { offline, seen }
    }

    /// What upstreams were sent, by connection.
    fn run(&self, input: &[u8]) -> Vec<Vec<u8>> {
        self.seen.lock().expect("one thread").clear();
        let (client, proxy) = duplex(BUFFER);
        let entry = Entry { client: Client { addr: None, local: true, peer: None }, tunnel: None, tls: false };
        self.offline.runtime().block_on(async {
            let serving = tokio::spawn(conn::serve(Io::other(proxy), entry, Arc::clone(self.offline.worker())));
            talk(client, input, || serving.is_finished(), &self.seen).await;
            serving.abort();
            let ended = serving.await;
            assert!(!ended.is_err_and(|error| error.is_panic()), "the connection's task panicked");
            // Upstream ends notice.
            for _ in 0..8 {
                yield_now().await;
            }
        });
        std::mem::take(&mut *self.seen.lock().expect("one thread"))
    }
}

fn run(input: &[u8]) -> Vec<Vec<u8>> {
    HOUSE.with_borrow_mut(|house| house.get_or_insert_with(House::new).run(input))
}

/// Sends it all and reads until nobody has anything more to say.
async fn talk(mut client: DuplexStream, input: &[u8], over: impl Fn() -> bool, seen: &Mutex<Vec<Vec<u8>>>) {
    let sent = input.len().min(BUFFER);
    if client.write_all(&input[..sent]).await.is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    let mut quiet = 0;
    let mut before = 0;
    while quiet < QUIET && !over() {
        yield_now().await;
        let bytes = seen.lock().expect("one thread").iter().map(Vec::len).sum::<usize>();
        let read = futures_util::FutureExt::now_or_never(client.read(&mut buffer));
        quiet = if matches!(read, Some(Ok(1..))) || bytes != before { 0 } else { quiet + 1 };
        before = bytes;
        if matches!(read, Some(Ok(0) | Err(_))) {
            return;
        }
    }
}

/// Every address is an upstream in memory that keeps what it is sent.
struct Memory(Arc<Mutex<Vec<Vec<u8>>>>);

impl Net for Memory {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, std::io::Result<Io>> {
        let (ours, theirs) = duplex(BUFFER);
        tokio::spawn(keep(theirs, Arc::clone(&self.0)));
        Box::pin(async { Ok(Io::other(ours)) })
    }
}

/// Answers one request once its head is there, and reads what follows until the proxy closes.
async fn keep(mut stream: DuplexStream, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut index = None;
    let mut buffer = [0; 4096];
    let mut answered = false;
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let whole = {
            let mut seen = seen.lock().expect("one thread");
            let index = *index.get_or_insert_with(|| {
                seen.push(Vec::new());
                seen.len() - 1
            });
            let Some(own) = seen.get_mut(index) else { return };
            own.extend_from_slice(&buffer[..read]);
            is_whole(own)
        };
        if whole && !answered {
            answered = true;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

/// The head is there, and the body as far as its head announces one.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = find(bytes, BLANK) else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let body = &bytes[end + BLANK.len()..];
    match length {
        Some(length) => body.len() >= length,
        None => !head.contains("\ntransfer-encoding:") || body.ends_with(b"0\r\n\r\n"),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /a HTTP/1.1\r\nhost: a.test\r\nvia: 1.1 x\r\n\r\n";

    fn wrong(text: &str) -> bool {
        Request::read(text.as_bytes()).is_err()
    }

    #[test]
    fn a_strict_origin_takes_what_is_right() {
        assert_eq!(Request::read(GOOD.as_bytes()).expect("right").target, "/a");
        let chunked = GOOD.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n");
        assert_eq!(Request::read(chunked.as_bytes()).expect("right").body, b"ab");
    }

    #[test]
    fn a_strict_origin_refuses_what_can_be_read_in_two_ways() {
        for more in [
            "content-length: 1\r\ntransfer-encoding: chunked",
            "content-length: 1\r\ncontent-length: 1",
            "content-length: +1",
            "transfer-encoding: identity, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "connection: close",
            "upgrade: h2c",
            "te: gzip",
            "keep-alive: 1",
            "host: b.test",
            "x : y",
            "x: a\rb",
        ] {
            assert!(wrong(&GOOD.replace("\r\n\r\n", &format!("\r\n{more}\r\n\r\n"))), "{more}");
        }
        assert!(wrong(&format!("{GOOD}GET / HTTP/1.1\r\n\r\n")), "a second request");
        assert!(wrong(&GOOD.replace("/a", "http://a.test/a")), "absolute-form");
        assert!(wrong(&GOOD.replace("a.test", "u@a.test")), "userinfo");
        assert!(wrong(&GOOD.replace("via: 1.1 x\r\n", "")), "no Via");
    }

    #[test]
    fn another_target_than_was_asked_for_is_seen() {
        let got = Request::read(GOOD.as_bytes()).expect("right");

        assert_eq!(asked(b"GET http://a.test/a HTTP/1.1\r\n", &got), Ok(()));
        assert!(asked(b"GET http://a.test/b HTTP/1.1\r\n", &got).is_err());
        assert!(asked(b"GET http://a.test:81/a HTTP/1.1\r\n", &got).is_err());
        assert!(asked(b"PUT http://a.test/a HTTP/1.1\r\n", &got).is_err());
        assert!(asked(b"GET http://a.test:80@b/a HTTP/1.1\r\n", &got).is_err());
    }
}
