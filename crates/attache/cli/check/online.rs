//! What only the machine and the network can tell of a configuration: each upstream is resolved, connected to and, with
//! TLS, verified; each secret is read, each token fetched, each parent proxy dialed and asked for a tunnel where one is needed.
//! Nothing else is sent beyond the handshake.
//!
//! Names go through `resolve:` and then the system's resolver, not the proxy's own: this is about whether they exist.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use config::model::{Action, AsideTo, Model, Scheme, Tls, TlsVersion, Url};
use exchange::{Host, Io};
use proxy::connect::tls::{Params, Pem, Version};
use proxy::connect::{Alpn, Flavour, Tls as Client};
use proxy::reach::{Reach, Through};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// One thing that was tried.
pub(super) struct Finding {
    what: String,
    pub(super) good: bool,
    detail: String,
}

impl Finding {
    pub(super) fn bad(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), good: false, detail: why.to_string() }
    }

    fn of(what: String, result: Result<String, Problem>) -> Self {
        match result {
            Ok(detail) => Self { what, good: true, detail },
            Err(why) => Self::bad(what, why),
        }
    }

    pub(super) fn line(&self) -> String {
        format!("{:6} {}: {}", if self.good { "ok" } else { "failed" }, self.what, self.detail)
    }

    pub(super) fn json(&self) -> Value {
        json!({"what": self.what, "ok": self.good, "detail": self.detail})
    }
}

/// Tries every upstream and every secret, one after the other and each once.
pub(super) async fn probe(model: &Model) -> Vec<Finding> {
    let mut findings = Vec::new();
    let reach = match Reach::new(model, Handle::current()) {
        Ok(reach) => reach,
        Err(why) => return vec![Finding::bad("parent", why)],
    };
    for (parent, result) in reach.parents(PATIENCE).await {
        let result = result.map(|address| format!("connected to {address}")).map_err(Problem::from);
        findings.push(Finding::of(format!("parent {parent}"), result));
    }
    for (url, tls) in upstreams(model) {
        let result = match timeout(PATIENCE, connect(model, &reach, url, &tls)).await {
            Ok(result) => result,
            Err(_) => Err(format!("nothing within {} s", PATIENCE.as_secs()).into()),
        };
        findings.push(Finding::of(shown(url), result));
    }
    findings.extend(credentials(model).await);
    findings
}

/// Reads or fetches every credential, once each.
async fn credentials(model: &Model) -> Vec<Finding> {
    let probed = match proxy::probe(model).await {
        Ok(probed) => probed,
        Err(why) => return vec![Finding::bad("credentials", why)],
    };
    probed.into_iter().map(|one| Finding::of(one.what, one.result.map_err(Problem::from))).collect()
}

/// Every endpoint with the TLS settings it is reached by, without repetition.
fn upstreams(model: &Model) -> Vec<(&Url, Cow<'_, Tls>)> {
    let routes = model.routes.iter().flat_map(|route| match &route.action {
        Action::Targets(targets) => {
            targets.iter().map(|target| (&target.url, Cow::Borrowed(&route.policy.tls))).collect()
        }
        _ => Vec::new(),
    });
    let beside = model.routes.iter().flat_map(|route| {
        route.policy.asides().filter_map(|aside| match &aside.to {
            AsideTo::Url(url) => Some((url, Cow::Owned(route.policy.tls.beside()))),
            AsideTo::Upstream(_) => None,
        })
    });
    let named = model.upstreams.iter();
    let named = named.flat_map(|upstream| upstream.endpoints.iter().map(|url| (url, Cow::Borrowed(&upstream.tls))));
    let mut all: Vec<(&Url, Cow<'_, Tls>)> = Vec::new();
    for (url, tls) in routes.chain(beside).chain(named) {
        let same =
            |(u, t): &(&Url, Cow<'_, Tls>)| (&u.host, u.port, u.scheme, t) == (&url.host, url.port, url.scheme, &tls);
        if !all.iter().any(same) {
            all.push((url, tls));
        }
    }
    all
}

fn shown(url: &Url) -> String {
    let scheme = match url.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
        Scheme::H2c => "h2c",
    };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("{scheme}://{host}:{}", url.port)
}

async fn connect(model: &Model, reach: &Reach, url: &Url, tls: &Tls) -> Result<String, Problem> {
    let is_tls = url.scheme == Scheme::Https;
    let bracketed = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let host = Host::parse(&bracketed).map_err(|e| format!("{}: {e}", url.host))?;
    if let Some(through) = reach.through(host.clone(), url.port, url.scheme != Scheme::Http, PATIENCE).await {
        return match through? {
            (parent, Through::Parent) => Ok(format!("left to the parent proxy {parent}")),
            (parent, Through::Tunnel(_)) if !is_tls => Ok(format!("a tunnel through {parent}")),
            (parent, Through::Tunnel(io)) => {
                Ok(format!("{}, through {parent}", handshaken(&host, tls, io, &url.host).await?))
            }
        };
    }
    let addresses = resolve(model, url).await?;
    let stream = TcpStream::connect(addresses.as_slice())
        .await
        .map_err(|e| format!("cannot connect to {}: {e}", list(&addresses)))?;
    let peer = stream.peer_addr()?;
    if !is_tls {
        return Ok(format!("connected to {peer}"));
    }
    Ok(format!("connected to {peer}, {}", handshaken(&host, tls, Io::from(stream), &peer.to_string()).await?))
}

async fn handshaken(host: &Host, tls: &Tls, io: Io, peer: &str) -> Result<String, Problem> {
    let client = Client::new(&params(tls))?;
    let name = client.server_name(host)?;
    let agreed = client.handshake(name, Flavour::Auto, io).await;
    let (_, alpn) = agreed.map_err(|e| format!("TLS with {peer} failed: {}", chain(&e)))?;
    let protocol = match alpn {
        Alpn::H1 => "HTTP/1.1",
        Alpn::H2 => "HTTP/2",
    };
    Ok(format!("certificate verified, {protocol}"))
}

/// The same settings that the proxy connects with.
fn params(tls: &Tls) -> Params {
    let file = |path: &std::path::PathBuf| Pem::File(path.clone());
    Params {
        ca: tls.ca.as_ref().map(file),
        identity: tls.cert.as_ref().zip(tls.key.as_ref()).map(|(cert, key)| (file(cert), file(key))),
        sni: tls.sni.clone(),
        min: match tls.min {
            TlsVersion::V12 => Version::V12,
            TlsVersion::V13 => Version::V13,
        },
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn resolve(model: &Model, url: &Url) -> Result<Vec<SocketAddr>, Problem> {
    if let Some(fixed) = model.resolve.get(&url.host) {
        return Ok(vec![SocketAddr::new(fixed.ip, fixed.port.unwrap_or(url.port))]);
    }
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let found: Vec<_> = found.map_err(|e| format!("cannot resolve the name: {e}"))?.collect();
    if found.is_empty() { Err("the name has no address".into()) } else { Ok(found) }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(yaml: &str) -> Model {
        config::parse(yaml, "test", config::Format::Yaml).unwrap().model
    }

    #[tokio::test]
    async fn an_upstream_that_listens_is_good_and_one_that_does_not_is_named() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (at, port) = (open.local_addr().unwrap(), closed.port());

        let findings = probe(&model(&format!(
            "resolve: {{a.test: \"{at}\"}}\nroutes:\n  - {{match: a.test, to: 'http://a.test'}}\n  - {{match: b.test, to: 'http://127.0.0.1:{port}'}}\n"
        )))
        .await;

        assert_eq!(findings.len(), 2);
        assert!(findings[0].good && findings[0].detail.contains(&at.to_string()), "{}", findings[0].line());
        assert!(!findings[1].good && findings[1].detail.contains(&closed.to_string()), "{}", findings[1].line());
    }

    #[tokio::test]
    async fn a_secret_is_read_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let route = |at: &std::path::Path| {
            let at = at.display();
            model(&format!("routes: [{{match: a.test, to: 'https://a.test', auth: {{bearer: {{file: {at}}}}}}}]"))
        };

        let good = credentials(&route(&file)).await;
        let missing = credentials(&route(&dir.path().join("none"))).await;

        let line = good[0].line();
        assert!(good[0].good && line.contains(&file.display().to_string()) && !line.contains("s3cret"), "{line}");
        assert!(!missing[0].good, "{}", missing[0].line());
    }
}
