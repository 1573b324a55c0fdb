//! A scripted endpoint on a port that is known beforehand, so that it can go away and come back.
//!
//! HTTP/1.1 by hand: what it read is written down once the request is whole, whatever becomes of the answer. Strict on
//! purpose: a request that was answered with 503 or reset counts as acted upon, since nobody outside can know better.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The answer takes between two and four milliseconds.
const LATENCY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(2));
/// What slow means.
const SLOWER: u32 = 50;
/// What the rig takes for an answer.
const BODY: [u8; 1024] = [b'x'; 1024];
/// A head larger than this is none of ours.
const LARGEST: usize = 16 * 1024;

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 200.
    Well,
    /// 200, fifty times as late.
    Slow,
    /// 503, at once.
    Unavailable,
    /// Reads the request and resets the connection.
    Reset,
    /// Listens no more, and has reset what was connected.
    Refuse,
}

/// A request that was read whole.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// From its `x-number`.
    pub number: usize,
    /// When its last byte was there.
    pub at: Instant,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// The running endpoint; it ends with the runtime.
pub struct Endpoint {
    mode: watch::Sender<Mode>,
    calls: Calls,
}

impl Endpoint {
    /// Listens on the port of 127.0.0.1.
    pub async fn start(port: u16) -> io::Result<Self> {
        let (mode, now) = watch::channel(Mode::Well);
        let calls = Calls::default();
        let listener = bind(port).await?;
        tokio::spawn(listen(port, listener, now, Arc::clone(&calls)));
        Ok(Self { mode, calls })
    }

    /// From now on; requests that are being answered keep their answer, unless it refuses.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The numbered requests so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

async fn listen(port: u16, first: TcpListener, mut mode: watch::Receiver<Mode>, calls: Calls) {
    let (mut listener, told) = (Some(first), mode.clone());
    loop {
        match &listener {
            Some(open) => tokio::select! {
                accepted = open.accept() => if let Ok((tcp, _)) = accepted {
                    tokio::spawn(serve(tcp, told.clone(), Arc::clone(&calls)));
                },
                () = until(&mut mode, |mode| mode == Mode::Refuse) => listener = None,
            },
            None => {
                until(&mut mode, |mode| mode != Mode::Refuse).await;
                match bind(port).await {
                    Ok(bound) => listener = Some(bound),
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        }
    }
}

async fn serve(mut tcp: TcpStream, mode: watch::Receiver<Mode>, calls: Calls) {
    let mut told = mode.clone();
    let reset = tokio::select! {
        ended = converse(&mut tcp, &mode, &calls) => matches!(ended, Ok(End::Reset)),
        () = until(&mut told, |mode| mode == Mode::Refuse) => true,
    };
    if reset {
        // The connection may be gone already.
        let _ = tcp.set_zero_linger();
    }
}

/// Waits for such a mode; for ever once nobody sets one any more.
async fn until(mode: &mut watch::Receiver<Mode>, is: impl Fn(Mode) -> bool) {
    if mode.wait_for(|mode| is(*mode)).await.is_err() {
        std::future::pending().await
    }
}

enum End {
    Closed,
    Reset,
}

async fn converse(tcp: &mut TcpStream, mode: &watch::Receiver<Mode>, calls: &Calls) -> io::Result<End> {
    tcp.set_nodelay(true)?;
    let mut read = Vec::new();
    while let Some(number) = request(tcp, &mut read).await? {
        if let Some(number) = number {
            calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { number, at: Instant::now() });
        }
        let latency = LATENCY.0 + LATENCY.1.mul_f64(fastrand::f64());
        let now = *mode.borrow();
        let status = match now {
            Mode::Well | Mode::Slow => "200 OK",
            Mode::Unavailable => "503 Service Unavailable",
            Mode::Reset | Mode::Refuse => return Ok(End::Reset),
        };
        match now {
            Mode::Well => sleep(latency).await,
            Mode::Slow => sleep(latency * SLOWER).await,
            _ => {}
        }
        let head = format!("HTTP/1.1 {status}\r\nx-endpoint: yes\r\ncontent-length: {}\r\n\r\n", BODY.len());
        tcp.write_all(&[head.as_bytes(), &BODY[..]].concat()).await?;
    }
    Ok(End::Closed)
}

/// The number of a request, if it has one, once all of it was read. `None`: the client closed.
async fn request(tcp: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Option<Option<usize>>> {
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&read.drain(..end + 4).collect::<Vec<_>>()).to_ascii_lowercase();
        }
        if read.len() > LARGEST || tcp.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let field = |name: &str| {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<usize>().ok();
        head.lines().find_map(value)
    };
    let mut body = Chunks::new(head.contains("transfer-encoding: chunked"), field("content-length").unwrap_or(0));
    while !body.is_whole(read) {
        if tcp.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(field("x-number")))
}

/// A request's body, of which only the end matters.
struct Chunks {
    chunked: bool,
    length: usize,
}

impl Chunks {
    fn new(chunked: bool, length: usize) -> Self {
        Self { chunked, length }
    }

    /// Takes it out of `read` when it is there whole. A body of ours never holds the bytes of a last chunk.
    fn is_whole(&mut self, read: &mut Vec<u8>) -> bool {
        let end = if self.chunked {
            read.windows(5).position(|five| five == b"0\r\n\r\n").map(|at| at + 5)
        } else {
            (read.len() >= self.length).then_some(self.length)
        };
        if let Some(end) = end {
            read.drain(..end);
        }
        end.is_some()
    }
}
