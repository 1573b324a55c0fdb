//! Both ends of a large body: they count, and keep nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream, server};
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What is written at once.
static BLOCK: [u8; 64 * 1024] = [b'b'; 64 * 1024];
/// As good as endless.
const ENDLESS: u64 = 1 << 40;
/// Of a client that may stop: what its own kernel keeps is not what is measured.
const SMALL: u32 = 64 * 1024;
const WINDOW: u32 = 1 << 20;

/// What an end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    H1,
    H2,
}

/// An upstream: a POST is read and counted, a GET of `/N` has N bytes.
pub struct Origin {
    pub addr: SocketAddr,
    written: Arc<AtomicU64>,
}

impl Origin {
    pub async fn start(spoken: Spoken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).expect("set");
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    // A peer that left ends it.
                    match spoken {
                        Spoken::H1 => drop(serve_h1(tcp, &count).await),
                        Spoken::H2 => drop(serve_h2(tcp, count).await),
                    }
                });
            }
        });
        Self { addr, written }
    }

    /// Bytes of bodies handed to the kernel, on HTTP/2 to the connection.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Those that left: without what waits in the sockets' send queues.
    pub fn left(&self) -> u64 {
        self.written() - queued(self.addr.port())
    }
}

/// Bytes that the kernel holds unsent or unacknowledged for sockets of a local port: the fifth word is `tx:rx` in hex.
fn queued(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc");
    let here = format!(":{port:04X}");
    let queue = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let (tx, _) = words.nth(2)?.split_once(':')?;
        // 0A is LISTEN, whose queue is of connections.
        (local.ends_with(&here) && !line.contains(" 0A ")).then(|| u64::from_str_radix(tx, 16).ok()).flatten()
    };
    table.lines().filter_map(queue).sum()
}

async fn serve_h1(tcp: TcpStream, written: &AtomicU64) -> std::io::Result<()> {
    let mut tcp = BufReader::with_capacity(BLOCK.len(), tcp);
    loop {
        let head = head(&mut tcp).await?;
        if head.starts_with("POST") {
            swallow(&mut tcp, length(&head)).await?;
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
            continue;
        }
        let size: u64 = head.split(['/', ' ']).nth(2).and_then(|size| size.parse().ok()).expect("a size");
        tcp.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").as_bytes()).await?;
        let mut left = size;
        while left > 0 {
            let wrote = tcp.write(&BLOCK[..left.min(BLOCK.len() as u64) as usize]).await? as u64;
            written.fetch_add(wrote, Relaxed);
            left -= wrote;
        }
    }
}

async fn serve_h2(tcp: TcpStream, written: Arc<AtomicU64>) -> Result<(), h2::Error> {
    let mut builder = server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(4 * WINDOW);
    let mut connection = builder.handshake::<_, Bytes>(tcp).await?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let written = Arc::clone(&written);
        tokio::spawn(async move {
            if request.method() == Method::POST {
                let _ = take(request.into_body(), u64::MAX).await?;
                let response = Response::builder().header("content-length", 2).body(()).expect("a response");
                return respond.send_response(response, false)?.send_data(Bytes::from_static(b"ok"), true);
            }
            let size: u64 = request.uri().path()[1..].parse().expect("a size");
            let response = Response::builder().header("content-length", size).body(()).expect("a response");
            let mut stream = respond.send_response(response, false)?;
            give(&mut stream, size, &written).await
        });
    }
    Ok(())
}

/// Sends a body as the windows allow.
async fn give(stream: &mut SendStream<Bytes>, size: u64, written: &AtomicU64) -> Result<(), h2::Error> {
    let mut left = size;
    while left > 0 {
        stream.reserve_capacity(left.min(BLOCK.len() as u64) as usize);
        let Some(room) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return Ok(()) };
        let count = (room? as u64).min(left).min(BLOCK.len() as u64);
        left -= count;
        stream.send_data(Bytes::from_static(&BLOCK[..count as usize]), left == 0)?;
        written.fetch_add(count, Relaxed);
    }
    Ok(())
}

/// Reads a body, at most so many bytes of it.
async fn take(mut body: RecvStream, most: u64) -> Result<(u64, RecvStream), h2::Error> {
    let mut got = 0;
    while got < most
        && let Some(data) = body.data().await
    {
        let data = data?;
        got += data.len() as u64;
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((got, body))
}

/// A client's connection.
pub enum Peer {
    H1(BufReader<TcpStream>),
    H2(SendRequest<Bytes>),
}

/// A response that is not read any further.
pub enum Held {
    H1 { _connection: BufReader<TcpStream> },
    H2 { _sender: SendRequest<Bytes>, _body: RecvStream },
}

impl Peer {
    pub async fn open(to: SocketAddr, spoken: Spoken) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(SMALL).expect("set");
        let tcp = socket.connect(to).await.expect("connected");
        tcp.set_nodelay(true).expect("set");
        match spoken {
            Spoken::H1 => Self::H1(BufReader::with_capacity(BLOCK.len(), tcp)),
            Spoken::H2 => {
                let mut builder = client::Builder::new();
                builder.initial_window_size(WINDOW / 4).initial_connection_window_size(WINDOW);
                let (sender, connection) = builder.handshake(tcp).await.expect("h2");
                tokio::spawn(connection);
                Self::H2(sender)
            }
        }
    }

    pub async fn tunnel(to: SocketAddr, authority: &str) -> Self {
        Self::H1(BufReader::with_capacity(BLOCK.len(), connect(to, authority).await))
    }

    /// A POST of so many bytes, and its answer.
    pub async fn upload(&mut self, host: &str, size: u64) {
        match self {
            Self::H1(tcp) => {
                let head = format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {size}\r\n\r\n");
                tcp.write_all(head.as_bytes()).await.expect("sent");
                send(tcp, size).await;
                let head = head_of(tcp).await;
                swallow(tcp, length(&head)).await.expect("a body");
            }
            Self::H2(sender) => {
                let request = Request::post(format!("http://{host}/")).header("content-length", size).body(());
                let mut ready = sender.clone().ready().await.expect("ready");
                let (answer, mut stream) = ready.send_request(request.expect("a request"), false).expect("sent");
                give(&mut stream, size, &AtomicU64::new(0)).await.expect("sent");
                let answer = answer.await.expect("an answer");
                assert_eq!(answer.status(), 200);
                assert_eq!(take(answer.into_body(), u64::MAX).await.expect("a body").0, 2);
            }
        }
    }

    /// A GET of so many bytes.
    pub async fn download(&mut self, host: &str, size: u64) {
        match self {
            Self::H1(tcp) => {
                let length = get(tcp, host, size).await;
                assert_eq!(length, size);
                swallow(tcp, size).await.expect("a whole body");
            }
            Self::H2(sender) => {
                let body = get_h2(sender, host, size).await;
                assert_eq!(take(body, u64::MAX).await.expect("a whole body").0, size);
            }
        }
    }

    /// Reads so many bytes of a body without end, and nothing more.
    pub async fn read_some(self, host: &str, some: u64) -> Held {
        match self {
            Self::H1(mut tcp) => {
                get(&mut tcp, host, ENDLESS).await;
                swallow(&mut tcp, some).await.expect("a part");
                Held::H1 { _connection: tcp }
            }
            Self::H2(sender) => {
                let body = get_h2(&sender, host, ENDLESS).await;
                let (_, body) = take(body, some).await.expect("a part");
                Held::H2 { _sender: sender, _body: body }
            }
        }
    }
}

async fn get(tcp: &mut BufReader<TcpStream>, host: &str, size: u64) -> u64 {
    tcp.write_all(format!("GET /{size} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await.expect("sent");
    length(&head_of(tcp).await)
}

async fn get_h2(sender: &SendRequest<Bytes>, host: &str, size: u64) -> RecvStream {
    let request = Request::get(format!("http://{host}/{size}")).body(()).expect("a request");
    let mut ready = sender.clone().ready().await.expect("ready");
    let answer = ready.send_request(request, true).expect("sent").0.await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

async fn head_of(tcp: &mut BufReader<TcpStream>) -> String {
    let head = head(tcp).await.expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    head
}

async fn head(tcp: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).to_lowercase().replacen("http/1.1", "HTTP/1.1", 1).replacen("post", "POST", 1))
}

fn length(head: &str) -> u64 {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|length| length.trim().parse().ok()).expect("a length")
}

async fn swallow<R: tokio::io::AsyncRead + Unpin>(from: &mut R, size: u64) -> std::io::Result<()> {
    let mut part = BufReader::with_capacity(BLOCK.len(), from.take(size));
    let got = tokio::io::copy_buf(&mut part, &mut tokio::io::sink()).await?;
    if got == size { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

async fn send<W: tokio::io::AsyncWrite + Unpin>(to: &mut W, size: u64) {
    let mut left = size;
    while left > 0 {
        let count = left.min(BLOCK.len() as u64) as usize;
        to.write_all(&BLOCK[..count]).await.expect("sent");
        left -= count as u64;
    }
}

/// A tunnel to `authority`.
pub async fn connect(to: SocketAddr, authority: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(to).await.expect("connected");
    tcp.set_nodelay(true).expect("set");
    tcp.write_all(format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n").as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    tcp
}

/// A server of no protocol: after a zero, `d` is answered with a gibibyte, `u` with the number of bytes that came.
pub async fn blind() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut order = [0; 2];
            tcp.read_exact(&mut order).await.expect("an order");
            if order[1] == b'd' {
                send(&mut tcp, super::GIB).await;
            } else {
                let mut from = BufReader::with_capacity(BLOCK.len(), &mut tcp);
                let got = tokio::io::copy_buf(&mut from, &mut tokio::io::sink()).await.expect("read");
                tcp.write_all(&got.to_be_bytes()).await.expect("sent");
            }
        }
    });
    addr
}

/// One way through a tunnel to [`blind`], which must be whole.
pub async fn carry(tunnel: &mut TcpStream, way: u8, size: u64) {
    tunnel.write_all(&[0, way]).await.expect("sent");
    if way == b'd' {
        swallow(tunnel, size).await.expect("a whole body");
        return;
    }
    send(tunnel, size).await;
    tunnel.shutdown().await.expect("half-closed");
    assert_eq!(tunnel.read_u64().await.expect("an answer"), size);
}

/// Sends `begin`, then a byte each `pause`, until the connection ends.
pub async fn drip(to: SocketAddr, begin: &'static str, pause: Duration) {
    let mut tcp = TcpStream::connect(to).await.expect("connected");
    tcp.set_nodelay(true).expect("set");
    tcp.write_all(begin.as_bytes()).await.expect("sent");
    while tcp.write_all(b"s").await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}
