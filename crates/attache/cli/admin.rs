//! Asking the running proxy through its admin interface.
//!
//! Where it is: `--admin`, else the socket of the `run` we are a child of, else the configuration. One request a
//! connection, ten seconds for all of it, an answer of at most 16 MiB.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use config::model::Address;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{out, source, variables};

const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 16 << 20;

/// Which proxy is meant.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Address of its admin interface, 127.0.0.1:4781 or unix:/path [default: the configured one].
    #[arg(long, value_name = "ADDRESS", value_parser = parse)]
    admin: Option<Address>,
}

impl Flags {
    /// The admin address, or the exit code after saying why there is none.
    pub(crate) fn address(&self, file: Option<PathBuf>) -> Result<Address, ExitCode> {
        if let Some(address) = self.admin.clone().or_else(of_run) {
            return Ok(address);
        }
        source::Chosen::file(file).load()?.model.admin.ok_or_else(|| {
            out::failure("`admin: false` is configured: the running proxy cannot be asked; configure an address");
            ExitCode::FAILURE
        })
    }
}

/// The admin interface of the `run` that started us.
fn of_run() -> Option<Address> {
    variables::inherited(variables::ADMIN_SOCKET).and_then(|text| parse(&text).ok())
}

/// `unix:/path`, `/path` or `ip:port`.
fn parse(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text)) {
        Some(path) => Ok(Address::Unix(path.into())),
        None => text.parse().map(Address::Tcp).map_err(|_| "expected IP:PORT or unix:/path".to_owned()),
    }
}

/// What the admin interface said.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Why there was no answer; names the address and what to try.
#[derive(Debug)]
pub(crate) struct Unanswered {
    address: String,
    why: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer from the admin interface at {}: {}; is attache running?", self.address, self.why)
    }
}

/// Asks once, from outside any runtime.
pub(crate) fn ask(method: Method, address: &Address, path: &str) -> Result<Answer, Unanswered> {
    let told = |why: String| Unanswered { address: shown(address), why };
    let runtime = super::runtime().map_err(|e| told(e.to_string()))?;
    runtime.block_on(asked(method, address, path))
}

/// Asks once.
pub(crate) async fn asked(method: Method, address: &Address, path: &str) -> Result<Answer, Unanswered> {
    let exchange = async {
        match address {
            Address::Tcp(tcp) => send(tokio::net::TcpStream::connect(tcp).await?, method, path).await,
            #[cfg(unix)]
            Address::Unix(unix) => send(tokio::net::UnixStream::connect(unix).await?, method, path).await,
            #[cfg(not(unix))]
            Address::Unix(_) => Err("there are no unix sockets on this system".into()),
        }
    };
    let told = |why: String| Unanswered { address: shown(address), why };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(answer) => answer.map_err(|e| told(e.to_string())),
        Err(_) => Err(told(format!("nothing within {} s", PATIENCE.as_secs()))),
    }
}

async fn send<S>(stream: S, method: Method, path: &str) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; its error is the sender's too.
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "localhost")
        .header("x-attache", "1")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
    driver.abort();
    Ok(Answer { status: head.status, body })
}

/// An address as a person writes it.
pub(crate) fn shown(address: &Address) -> String {
    match address {
        Address::Tcp(tcp) => url(*tcp),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// The address of a plain HTTP server.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{}", variables::reachable(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_path() {
        assert_eq!(parse("127.0.0.1:1"), Ok(Address::Tcp("127.0.0.1:1".parse().unwrap())));
        assert_eq!(parse("unix:/run/a.sock"), Ok(Address::Unix("/run/a.sock".into())));
        assert_eq!(parse("/run/a.sock"), Ok(Address::Unix("/run/a.sock".into())));
        assert!(parse("localhost").is_err());
    }

    #[tokio::test]
    async fn a_closed_port_is_named_with_what_to_try() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

        let error = asked(Method::GET, &Address::Tcp(free), "/readyz").await.err().unwrap().to_string();

        assert!(error.contains(&free.to_string()), "{error}");
        assert!(error.contains("is attache running?"), "{error}");
    }
}
