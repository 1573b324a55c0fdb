//! The proxy without a socket: one worker, a client and an upstream in memory, all on the caller's thread.
//!
//! Everything between the sockets is the real thing: hyper on both sides, edge, stack, pool. The ends move prepared
//! bytes and allocate nothing, so what is timed or counted is the proxy's.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use config::Format;
use exchange::{Client, Io};
use futures_util::future::BoxFuture;
use proxy::listener::conn::{self, Entry};
use proxy::offline::Offline;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use upstream::net::Net;

/// What a client with `HTTP_PROXY` sends.
const REQUEST: &[u8] = b"GET http://api.test/v1/items/42 HTTP/1.1\r\nHost: api.test\r\n\r\n";
/// What nginx answers, up to the body.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 01 Jan 2028 00:00:00 GMT\r\n\
Content-Type: application/octet-stream\r\nConnection: keep-alive\r\nContent-Length: 1024\r\n\r\n";
const BODY: usize = 1024;
/// Of a stream in memory; any message here fits.
const BUFFER: usize = 16 * 1024;
const BLANK: &[u8] = b"\r\n\r\n";

/// One client connection through one worker.
pub struct Inside {
    client: DuplexStream,
    offline: Offline,
    _dir: TempDir,
}

impl Inside {
    /// One of `benches/configs/attache-<name>.yaml`; token and access log are in a directory of its own.
    pub fn of_bench(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../benches/configs/attache-{name}.yaml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::start(&text)
    }

    /// From YAML, in which `/tmp/attache-bench` stands for that directory.
    pub fn start(yaml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("token"), "s3cr3t").expect("writable");
        let text = yaml.replace("/tmp/attache-bench", &dir.path().display().to_string());
        let loaded = config::parse(&text, "inside.yaml", Format::Yaml).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let offline = Offline::over(&loaded.model, Arc::new(Memory)).unwrap_or_else(|error| panic!("{error}"));
        let (client, proxy) = duplex(BUFFER);
        let entry = Entry { client: Client { addr: None, local: true, peer: None }, tunnel: None, tls: false };
        offline.runtime().spawn(conn::serve(Io::other(proxy), entry, Arc::clone(offline.worker())));
        Self { client, offline, _dir: dir }
    }

    /// What it runs in.
    pub fn offline(&self) -> &Offline {
        &self.offline
    }

    /// Takes the proxy out from between the ends: what they cost themselves is left.
    pub fn bypass(&mut self) {
        let (client, upstream) = duplex(BUFFER);
        self.client = client;
        self.offline.runtime().spawn(serve(upstream));
    }

    /// Sends the same GET `count` times, each after the answer to the one before.
    pub fn get(&mut self, count: usize) {
        let Self { client, offline, .. } = self;
        offline.runtime().block_on(async {
            for _ in 0..count {
                client.write_all(REQUEST).await.expect("the proxy reads");
                answer(client).await;
            }
        });
    }
}

/// Reads one answer and looks whether it is the upstream's, whole.
async fn answer(client: &mut DuplexStream) {
    let mut buffer = [0; BUFFER];
    let mut filled = 0;
    let mut whole = None;
    while whole.is_none_or(|whole| filled < whole) {
        let read = client.read(&mut buffer[filled..]).await.expect("the proxy writes");
        let text = || String::from_utf8_lossy(&buffer[..filled]);
        assert!(read > 0, "the proxy closed after {:?}", text());
        filled += read;
        whole = whole.or_else(|| head_end(&buffer[..filled]).map(|end| end + BODY));
    }
    let text = || String::from_utf8_lossy(&buffer[..filled]);
    assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n") && whole == Some(filled), "{}", text());
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(BLANK.len()).position(|window| window == BLANK).map(|at| at + BLANK.len())
}

/// Every address is an upstream in memory.
struct Memory;

impl Net for Memory {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, std::io::Result<Io>> {
        let (ours, theirs) = duplex(BUFFER);
        tokio::spawn(serve(theirs));
        Box::pin(async { Ok(Io::other(ours)) })
    }
}

/// Answers each request head until the connection closes; a request here has no body.
async fn serve(mut stream: DuplexStream) {
    let mut response = [b'x'; HEAD.len() + BODY];
    response[..HEAD.len()].copy_from_slice(HEAD);
    let mut buffer = [0; BUFFER];
    let mut filled = 0;
    while let Ok(1..) = stream.read(&mut buffer[filled..]).await.inspect(|read| filled += read) {
        if !buffer[..filled].ends_with(BLANK) {
            continue;
        }
        filled = 0;
        if stream.write_all(&response).await.is_err() {
            return;
        }
    }
}
