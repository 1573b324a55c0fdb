//! Clients that make load: through a proxy, over keep-alive connections, at a pace that answers do not slow down.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsConnector;

/// What went wrong with a request; there is no whole response.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Keep-alive connections to one address, as many as there are requests at once.
#[derive(Clone)]
pub struct Client {
    to: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

impl Client {
    /// Plain HTTP/1.1, as to a proxy.
    pub fn new(to: SocketAddr) -> Self {
        Self { to, tls: None, idle: Arc::default() }
    }

    /// HTTP/1.1 over TLS to `host`, whose certificate `ca` (PEM) signed.
    pub fn tls(to: SocketAddr, host: &str, ca: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("pem")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).expect("a host name");
        Self { tls: Some((TlsConnector::from(Arc::new(config)), name)), ..Self::new(to) }
    }

    /// Sends one request and reads the whole response.
    ///
    /// # Errors
    /// No connection, no head, or a cut body. Nothing is repeated.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failed> {
        let mut sender = match self.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let closes = head.headers.get("connection").is_some_and(|said| said == "close");
        if !closes && sender.ready().await.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(Response::from_parts(head, body))
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failed> {
        let tcp = TcpStream::connect(self.to).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => driven(tcp).await,
            Some((tls, host)) => driven(tls.connect(host.clone(), tcp).await?).await,
        }
    }
}

async fn driven<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its error is the sender's too.
    tokio::spawn(connection);
    Ok(sender)
}

/// A request without a body to an absolute target.
pub fn get(url: &str) -> Request<Full<Bytes>> {
    request("GET", url, "")
}

/// A request with a body to an absolute target; `Host` is its authority.
pub fn request(method: &str, url: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(url);
    let host = url.split('/').nth(2).unwrap_or_default();
    request.header("host", host).body(Full::from(body)).expect("a valid request")
}

/// Starts `count` futures at `per_second`, whether earlier ones are done or not; their outputs in order of their start.
pub async fn open_loop<F>(per_second: f64, count: usize, mut start: impl FnMut(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut beat = tokio::time::interval_at(Instant::now(), Duration::from_secs_f64(1.0 / per_second));
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut started = Vec::with_capacity(count);
    for number in 0..count {
        beat.tick().await;
        started.push(tokio::spawn(start(number)));
    }
    let mut outputs = Vec::with_capacity(count);
    for one in started {
        outputs.push(one.await.expect("no panic"));
    }
    outputs
}

/// The value below which the share `at` of `all` lies; zero if there is none.
pub fn quantile(all: &mut [Duration], at: f64) -> Duration {
    all.sort_unstable();
    let last = all.len().saturating_sub(1);
    all.get((last as f64 * at).round() as usize).copied().unwrap_or_default()
}

/// What came back over one connection.
#[derive(Debug)]
pub struct Heard {
    /// Every byte, until the end of the connection or of the patience.
    pub bytes: Vec<u8>,
    /// From the first byte written to the end.
    pub took: Duration,
    /// The other side ended the connection, well or not.
    pub ended: bool,
}

impl Heard {
    /// The status of the first response; `None` if there is none.
    pub fn status(&self) -> Option<u16> {
        let rest = self.bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    }

    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// How bytes are written to a raw connection.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// At once, and then nothing.
    Stall,
    /// At once, and then the end of our side.
    Close,
    /// One byte, a pause, the next; until all are written or nobody reads.
    Drip(Duration),
}

/// Writes raw bytes to a new connection and listens at the same time until it ends, at most `patience`.
pub async fn speak(to: SocketAddr, bytes: &[u8], manner: Manner, patience: Duration) -> Heard {
    let tcp = TcpStream::connect(to).await.expect("a connection");
    tcp.set_nodelay(true).expect("set");
    let started = Instant::now();
    let (mut reader, mut writer) = tcp.into_split();
    let mut heard = Vec::new();
    // The other side may stop reading at any byte: that is what is tested.
    let write = async {
        match manner {
            Manner::Drip(pause) => {
                let mut beat = tokio::time::interval(pause);
                for byte in bytes {
                    beat.tick().await;
                    if writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            }
            Manner::Stall => drop(writer.write_all(bytes).await),
            Manner::Close => {
                drop(writer.write_all(bytes).await);
                drop(writer.shutdown().await);
            }
        }
        std::future::pending::<()>().await;
    };
    let read = async { while reader.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {} };
    let ended = tokio::select! {
        () = write => false,
        () = read => true,
        () = tokio::time::sleep(patience) => false,
    };
    Heard { bytes: heard, took: Instant::now().duration_since(started), ended }
}

/// What became of a request on a raw keep-alive connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The whole response: status, head, and whether the connection stays.
    Whole { status: u16, head: String, stays: bool },
    /// The connection ended before a byte of a response; another connection may try again.
    Unanswered,
    /// The connection ended within a response.
    Cut,
}

/// A keep-alive connection that tells a request without an answer from an answer that was cut.
pub struct Wire {
    tcp: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub async fn connect(to: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        Ok(Self { tcp, read: Vec::new() })
    }

    /// GETs an absolute target and reads the whole response, which must have a length.
    pub async fn get(&mut self, url: &str) -> Got {
        let host = url.split('/').nth(2).unwrap_or_default();
        let request = format!("GET {url} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        // A connection that just ended is seen by reading.
        let _ = self.tcp.write_all(request.as_bytes()).await;
        self.read.clear();
        loop {
            if let Some((head, length)) = self.head()
                && self.read.len() >= head.len() + length
            {
                let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
                let stays = !head.to_lowercase().contains("connection: close");
                return Got::Whole { status, head, stays };
            }
            match self.tcp.read_buf(&mut self.read).await {
                Ok(read) if read > 0 => {}
                _ if self.read.is_empty() => return Got::Unanswered,
                _ => return Got::Cut,
            }
        }
    }

    /// The head, if it is complete, and the length of the body after it.
    fn head(&self) -> Option<(String, usize)> {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
        Some((head, length))
    }
}
