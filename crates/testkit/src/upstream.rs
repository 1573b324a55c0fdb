//! Scripted upstreams. Each records every request with the bytes that were read of it, even of those it never
//! answers, and each connection with how many are open.

mod h1;
mod h2;
mod reply;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use self::reply::{Reply, Then};
use crate::port::Port;
use crate::wait::PATIENCE;
use crate::wire::{Fields, Stream, Wire, field};

/// A request as an upstream saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// Its own number in the upstream, from 0.
    pub index: usize,
    /// Upper case.
    pub method: String,
    /// As it was on the wire; of HTTP/2 the path.
    pub target: String,
    /// `HTTP/1.1`, or `HTTP/2`.
    pub version: String,
    /// In order, names as they were written; of HTTP/2 with `:authority` and `:scheme`.
    pub headers: Fields,
    /// What was read of it.
    pub body: Vec<u8>,
    /// After the body.
    pub trailers: Fields,
    /// The body was read to its end.
    pub whole: bool,
}

impl Seen {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    /// All values of a field.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Connections that were accepted.
    pub connections: usize,
    /// Those that are open.
    pub open: usize,
    /// In the order of their heads.
    pub requests: Vec<Seen>,
}

/// What answers a request.
pub type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;
type Raw = dyn Fn(usize, Wire) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What is spoken on a connection.
#[derive(Clone)]
enum Speech {
    /// HTTP/1.1; `early`: answers before it reads the body.
    Http1 {
        handler: Arc<Handler>,
        early: bool,
    },
    /// `early`: answers before it reads the body, of which it reads nothing.
    Http2 {
        handler: Arc<Handler>,
        early: bool,
    },
    Http2Echo,
    /// Whatever ALPN says.
    Agreed(Arc<Handler>),
    Raw(Arc<Raw>),
}

#[derive(Clone)]
struct Book(watch::Sender<Record>);

impl Book {
    fn opened(&self) -> usize {
        let mut number = 0;
        self.0.send_modify(|record| {
            number = record.connections;
            record.connections += 1;
            record.open += 1;
        });
        number
    }

    /// Returns its index.
    fn began(&self, mut seen: Seen) -> Seen {
        self.0.send_modify(|record| {
            seen.index = record.requests.len();
            record.requests.push(seen.clone());
        });
        seen
    }

    fn read(&self, seen: &Seen) {
        self.0.send_modify(|record| record.requests[seen.index] = seen.clone());
    }
}

struct Open(Book);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.send_modify(|record| record.open -= 1);
    }
}

/// A running upstream; it ends with all its connections when dropped.
pub struct Upstream {
    addr: SocketAddr,
    book: Book,
    task: JoinHandle<()>,
}

impl Upstream {
    /// HTTP/1.1.
    pub async fn http(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(fresh().await, None, Speech::Http1 { handler: Arc::new(handler), early: false })
    }

    /// HTTP/1.1 that answers before it has read the body.
    pub async fn early(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(fresh().await, None, Speech::Http1 { handler: Arc::new(handler), early: true })
    }

    /// HTTP/1.1 on a port that was refused until now.
    pub fn at(port: Port, handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(port.listen(), None, Speech::Http1 { handler: Arc::new(handler), early: false })
    }

    /// HTTP/2 in the clear.
    pub async fn h2c(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(fresh().await, None, Speech::Http2 { handler: Arc::new(handler), early: false })
    }

    /// HTTP/2 in the clear that answers before it has read the body, and reads none of it.
    pub async fn h2c_early(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(fresh().await, None, Speech::Http2 { handler: Arc::new(handler), early: true })
    }

    /// HTTP/2 in the clear: every byte of a request comes back at once, then `grpc-status: 0`.
    pub async fn h2_echo() -> Self {
        Self::begin(fresh().await, None, Speech::Http2Echo)
    }

    /// TLS, and then what ALPN says.
    pub async fn tls(config: Arc<ServerConfig>, handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(fresh().await, Some(config), Speech::Agreed(Arc::new(handler)))
    }

    /// Anything, from the number of the connection.
    pub async fn raw<F: Future<Output = ()> + Send + 'static>(
        speech: impl Fn(usize, Wire) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::begin(fresh().await, None, Speech::Raw(Arc::new(move |number, wire| Box::pin(speech(number, wire)))))
    }

    /// Anything, over TLS.
    pub async fn raw_tls<F: Future<Output = ()> + Send + 'static>(
        config: Arc<ServerConfig>,
        speech: impl Fn(usize, Wire) -> F + Send + Sync + 'static,
    ) -> Self {
        let speech = Speech::Raw(Arc::new(move |number, wire| Box::pin(speech(number, wire))));
        Self::begin(fresh().await, Some(config), speech)
    }

    /// Answers every request with 200 and this body.
    pub async fn fixed(body: &'static str) -> Self {
        Self::http(move |_| Reply::ok(body)).await
    }

    fn begin(listener: TcpListener, tls: Option<Arc<ServerConfig>>, speech: Speech) -> Self {
        let addr = listener.local_addr().expect("bound");
        let book = Book(watch::channel(Record::default()).0);
        let task = tokio::spawn(accept(listener, tls.map(TlsAcceptor::from), speech, book.clone()));
        Self { addr, book, task }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// `http://127.0.0.1:port` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What happened so far.
    pub fn record(&self) -> Record {
        self.book.0.borrow().clone()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.record().requests
    }

    /// The only request there was.
    pub fn only(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// Requests so far.
    pub fn count(&self) -> usize {
        self.book.0.borrow().requests.len()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.book.0.borrow().connections
    }

    /// Waits until the record is as `wanted`.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut book = self.book.0.subscribe();
        match tokio::time::timeout(PATIENCE, book.wait_for(|record| wanted(record))).await {
            Ok(record) => record.expect("the book is open").clone(),
            Err(_) => panic!("waited in vain: {what}: {:?}", self.record()),
        }
    }

    /// Ends it, and all its connections.
    pub async fn stop(mut self) {
        self.task.abort();
        // Aborting is how it ends.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn fresh() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, speech: Speech, book: Book) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).expect("nodelay");
        let (tls, speech, book) = (tls.clone(), speech.clone(), book.clone());
        let number = book.opened();
        connections.spawn(async move {
            let _open = Open(book.clone());
            match tls {
                None => speak(tcp, false, number, speech, &book).await,
                Some(tls) => {
                    // A client that does not trust us ends the handshake.
                    if let Ok(io) = tls.accept(tcp).await {
                        let is_h2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
                        speak::<tokio_rustls::server::TlsStream<TcpStream>>(io, is_h2, number, speech, &book).await;
                    }
                }
            }
        });
    }
}

async fn speak<S: Stream + 'static>(io: S, is_h2: bool, number: usize, speech: Speech, book: &Book) {
    match speech {
        Speech::Http2 { handler, early } => h2::serve(io, number, &handler, early, book).await,
        Speech::Http2Echo => h2::echo(io).await,
        Speech::Agreed(handler) if is_h2 => h2::serve(io, number, &handler, false, book).await,
        Speech::Agreed(handler) => h1::serve(Wire::new(io), number, &*handler, false, book).await,
        Speech::Http1 { handler, early } => h1::serve(Wire::new(io), number, &*handler, early, book).await,
        Speech::Raw(raw) => raw(number, Wire::new(io)).await,
    }
}
