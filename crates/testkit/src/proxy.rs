//! The real proxy in this process, from configuration text, on ports of the system's choice.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use config::Format;
use proxy::{Authority, Bound, Running, Settings};
use serde_json::Value;
use tempfile::TempDir;
use upstream::net::Net;

use crate::client::{Client, H2, Response};
use crate::metrics::Metrics;
use crate::nowhere::Nowhere;

/// A running proxy; it stops when dropped, and tells its access log if the test failed.
pub struct Proxy {
    running: Running,
    dir: TempDir,
    yaml: String,
}

impl Proxy {
    /// Starts it from YAML. Where the text says nothing of `listen`, `admin`, `workers` and `log`, tests' values hold.
    pub fn start(yaml: &str) -> Self {
        Self::with(yaml, None, None)
    }

    /// The same with an authority of its own for `intercept`.
    pub fn opening(yaml: &str) -> (Self, Arc<Authority>) {
        let authority = Arc::new(Authority::ephemeral().expect("an authority"));
        (Self::with(yaml, None, Some(Arc::clone(&authority))), authority)
    }

    /// The same without a way out: every dial is refused, and counted.
    pub fn nowhere(yaml: &str) -> (Self, Arc<Nowhere>) {
        let net = Arc::new(Nowhere::default());
        (Self::with(yaml, Some(Arc::clone(&net) as _), None), net)
    }

    fn with(yaml: &str, net: Option<Arc<dyn Net>>, authority: Option<Arc<Authority>>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("access.log");
        let mut text = String::new();
        for (key, value) in [
            ("listen", "127.0.0.1:0".to_owned()),
            ("admin", "127.0.0.1:0".to_owned()),
            ("workers", "1".to_owned()),
            ("log", format!("{{ access: {{ path: {}, format: json }} }}", log.display())),
        ] {
            if !yaml.lines().any(|line| line.starts_with(&format!("{key}:"))) {
                text.push_str(&format!("{key}: {value}\n"));
            }
        }
        text.push_str(yaml);
        let loaded = config::parse(&text, "test.yaml", Format::Yaml).unwrap_or_else(|wrong| {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", wrong.join("\n"))
        });
        let settings = Settings { loaded, reload: None, seed: Some(7), net, colour: false, messages: None, authority };
        let running = proxy::start(settings).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Self { running, dir, yaml: text }
    }

    /// Its first listener.
    pub fn addr(&self) -> SocketAddr {
        self.running.listeners().iter().find_map(Bound::tcp).expect("a TCP listener")
    }

    /// Its unix listener.
    pub fn unix(&self) -> PathBuf {
        let unix = self.running.listeners().iter().find_map(|bound| match bound {
            Bound::Unix(path) => Some(path.clone()),
            Bound::Tcp(_) => None,
        });
        unix.expect("a unix listener")
    }

    /// Its admin.
    pub fn admin_addr(&self) -> SocketAddr {
        self.running.admin().and_then(Bound::tcp).expect("admin")
    }

    /// The proxy itself.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// A new connection to it.
    pub async fn client(&self) -> Client {
        Client::connect(self.addr()).await
    }

    /// A new connection to it with HTTP/2 by prior knowledge.
    pub async fn h2(&self) -> H2 {
        self.client().await.h2().await
    }

    /// One absolute-form GET on a connection of its own.
    pub async fn get(&self, url: &str) -> Response {
        self.client().await.get(url).await
    }

    /// One request on a connection of its own, absolute-form; `fields` are whole lines.
    pub async fn call(&self, method: &str, url: &str, fields: &[&str], body: &str) -> Response {
        self.client().await.call(method, url, fields, body).await
    }

    /// One GET to admin.
    pub async fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin_addr()).await.call("GET", path, &["host: localhost"], "").await
    }

    /// A scrape.
    pub async fn metrics(&self) -> Metrics {
        Metrics::new(self.admin("/metrics").await.text())
    }

    /// Stops it and returns the lines of its access log.
    pub fn finish(self) -> Vec<Value> {
        self.stop();
        let text = self.log();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// What its access log has so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }

    fn stop(&self) {
        self.running.stop();
        self.running.wait();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- configuration\n{}--- access log\n{}---", self.yaml, self.log());
        }
    }
}
