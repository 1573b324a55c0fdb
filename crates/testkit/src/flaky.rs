//! A TLS upstream that fails each attempt independently, as a seed says, and remembers what it read.
//!
//! HTTP/1.1 by hand rather than by hyper: a request counts as seen once its first line was read, whatever becomes of
//! the rest, and a reset is a real one (RST) at a chosen moment. The fate of an attempt depends on seed, request and
//! attempt number only, so a run can be compared with what was possible at best.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A head larger than this is none of ours.
const LARGEST: usize = 64 * 1024;

/// Shares of the attempts that fail, from 0 to 1, and the seed they are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Any number; print it.
    pub seed: u64,
    /// Answered with 503.
    pub unavailable: f64,
    /// Reset after the request was read, before any byte of an answer.
    pub reset: f64,
}

/// What becomes of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// 200.
    Answered,
    /// 503.
    Unavailable,
    /// The connection is reset.
    Reset,
}

impl Faults {
    /// The fate of attempt `attempt` (from 0) at the request `line`, as in `GET /1`.
    pub fn fate(&self, line: &str, attempt: u32) -> Fate {
        let request = line.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| mix(hash ^ u64::from(byte)));
        let roll = fastrand::Rng::with_seed(mix(self.seed ^ mix(request ^ mix(u64::from(attempt))))).f64();
        match roll {
            _ if roll < self.unavailable => Fate::Unavailable,
            _ if roll < self.unavailable + self.reset => Fate::Reset,
            _ => Fate::Answered,
        }
    }
}

/// `SplitMix64`'s finalizer: neighbouring numbers become unrelated ones.
const fn mix(of: u64) -> u64 {
    let of = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

/// What the upstream read.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By method and path: how often its first line was read.
    pub requests: BTreeMap<String, u32>,
    /// Requests without the expected `authorization`.
    pub unauthorized: usize,
}

impl Seen {
    /// Attempts at requests with this method.
    pub fn attempts(&self, method: &str) -> u32 {
        self.with(method).map(|(_, times)| times).sum()
    }

    /// Requests with this method that were read more than once.
    pub fn repeated(&self, method: &str) -> Vec<&str> {
        self.with(method).filter(|(_, times)| *times > 1).map(|(line, _)| line).collect()
    }

    fn with(&self, method: &str) -> impl Iterator<Item = (&str, u32)> {
        let of = move |line: &str| line.split(' ').next() == Some(method);
        self.requests.iter().map(|(line, times)| (line.as_str(), *times)).filter(move |(line, _)| of(line))
    }
}

/// The running upstream; it ends when this is dropped.
pub struct Flaky {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its authority, as PEM.
    pub ca: String,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Flaky {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Flaky {
    /// Starts it for `host`; every request should carry `authorization`.
    pub async fn start(host: &str, faults: Faults, authorization: &str) -> Self {
        let (config, ca) = identity(host);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let site = Arc::new(Site { faults, authorization: authorization.to_owned(), seen: Arc::clone(&seen) });
        let tls = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // A connection that ends badly was ended by a fate, or by its client.
                tokio::spawn(serve(tcp, tls.clone(), Arc::clone(&site)));
            }
        });
        Self { address, ca, seen, task }
    }

    /// What it read so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Site {
    faults: Faults,
    authorization: String,
    seen: Arc<Mutex<Seen>>,
}

impl Site {
    /// A first line was read.
    fn begun(&self, line: &str) -> Fate {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let times = seen.requests.entry(line.to_owned()).or_default();
        let fate = self.faults.fate(line, *times);
        *times += 1;
        fate
    }
}

async fn serve(tcp: TcpStream, tls: TlsAcceptor, site: Arc<Site>) -> io::Result<()> {
    let mut stream = tls.accept(tcp).await?;
    let mut read = Vec::new();
    while let Some((fate, authorized)) = request(&mut stream, &mut read, &site).await? {
        if !authorized {
            site.seen.lock().unwrap_or_else(PoisonError::into_inner).unauthorized += 1;
        }
        let status = match fate {
            Fate::Reset => return stream.get_ref().0.set_zero_linger(),
            Fate::Unavailable => "503 Service Unavailable",
            Fate::Answered => "200 OK",
        };
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nflaky").as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// One request with its body; what follows it stays in `read`. `None`: the client closed.
async fn request<S: AsyncRead + Unpin>(
    stream: &mut S,
    read: &mut Vec<u8>,
    site: &Site,
) -> io::Result<Option<(Fate, bool)>> {
    let mut fate = None;
    let head = loop {
        if fate.is_none() {
            fate = first_line(read).map(|line| site.begun(&line));
        }
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&read.drain(..end + 4).collect::<Vec<_>>()).into_owned();
        }
        if read.len() > LARGEST || stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let field = |name: &str| {
        let of =
            |line: &str| Some(line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name))?.1.trim().to_owned());
        head.lines().find_map(of)
    };
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while read.len() < length {
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
    read.drain(..length);
    let authorized = field("authorization").is_some_and(|value| value == site.authorization);
    Ok(fate.map(|fate| (fate, authorized)))
}

/// Method and path, once the line is complete.
fn first_line(read: &[u8]) -> Option<String> {
    let end = read.windows(2).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(&read[..end]).into_owned();
    line.rsplit_once(' ').map(|(line, _)| line.to_owned())
}

/// A server's configuration for `host` (HTTP/1.1 only: a reset ends one request), and its authority as PEM.
fn identity(host: &str) -> (rustls::ServerConfig, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new([host.to_owned()]).expect("a name").signed_by(&key, &issuer).expect("signed");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a pair");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (config, issuer.pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: Faults = Faults { seed: 7, unavailable: 0.12, reset: 0.03 };

    fn share(wanted: Fate, attempt: u32) -> f64 {
        (0..20_000).filter(|n| FAULTS.fate(&format!("GET /{n}"), attempt) == wanted).count() as f64 / 20_000.0
    }

    #[test]
    fn the_shares_are_what_was_asked_for_on_every_attempt() {
        for attempt in 0..3 {
            assert!((share(Fate::Unavailable, attempt) - 0.12).abs() < 0.01);
            assert!((share(Fate::Reset, attempt) - 0.03).abs() < 0.005);
        }
    }

    #[test]
    fn a_failed_first_attempt_says_nothing_about_the_second() {
        let lines = (0..20_000).map(|n| format!("GET /{n}"));
        let failed: Vec<_> = lines.filter(|line| FAULTS.fate(line, 0) != Fate::Answered).collect();
        let again = failed.iter().filter(|line| FAULTS.fate(line, 1) != Fate::Answered).count();

        let share = again as f64 / failed.len() as f64;
        assert!((share - 0.15).abs() < 0.02, "{share}");
    }

    #[test]
    fn a_line_counts_once_it_is_complete() {
        assert_eq!(first_line(b"POST /7 HTTP/1.1"), None);
        assert_eq!(first_line(b"POST /7 HTTP/1.1\r\nho"), Some("POST /7".to_owned()));
    }
}
