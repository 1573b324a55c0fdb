//! The files of TLS towards upstreams: who we are there, and whom we trust.
//!
//! Looked at once a second by what they hold, as those of listeners are. What changed and then was the same twice leads to
//! a new snapshot of the same configuration: new connections use the new files, requests in flight end on the old ones,
//! and an endpoint with another identity is another endpoint, so that no old connection is used again. What cannot be used
//! is said once, and the old files go on. An endpoint's breaker and latencies begin anew with its identity.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use config::Model;
use config::model::Tls;
use policy::Tick;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::listener::tls::Watch;
use crate::reload::Reloader;

/// A certificate of ours that upstreams are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub file: String,
    /// Seconds since 1970, if it can be read.
    pub expires: Option<u64>,
    /// What lies there is in use.
    pub ok: bool,
}

/// What each file holds, by a hash: absent if it cannot be read.
type Mark = Vec<(PathBuf, Option<[u8; 32]>)>;

/// See the module.
pub struct Certificates {
    generation: u64,
    watch: Watch<Mark>,
    clients: Vec<Client>,
}

impl Certificates {
    /// Those of the configuration in force, as they are now.
    pub fn new(reloader: &Reloader) -> Self {
        let snapshot = reloader.current();
        let (mark, clients) = (mark(&snapshot.model), clients(&snapshot.model));
        Self { generation: snapshot.generation, watch: Watch::new(mark), clients }
    }

    /// Another look; the certificates that upstreams are shown.
    pub fn run(&mut self, reloader: &Reloader, now: Tick) -> &[Client] {
        let snapshot = reloader.current();
        if snapshot.generation != self.generation {
            // Whoever reloaded has read them.
            *self = Self::new(reloader);
        }
        if self.watch.look(mark(&snapshot.model)).is_some() && reloader.rebuild(now) {
            *self = Self::new(reloader);
        }
        let settled = self.watch.is_settled();
        self.clients.iter_mut().for_each(|client| client.ok = settled);
        &self.clients
    }
}

fn all(model: &Model) -> impl Iterator<Item = &Tls> {
    let policies = model.routes.iter().map(|route| &route.policy).chain([&model.default.policy]);
    policies.map(|policy| &policy.tls).chain(model.upstreams.iter().map(|upstream| &upstream.tls))
}

fn mark(model: &Model) -> Mark {
    let mut files: Vec<_> = all(model).flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]).flatten().collect();
    files.sort_unstable();
    files.dedup();
    let hashed = |file: &Path| {
        let text = std::fs::read(file).ok()?;
        <[u8; 32]>::try_from(digest(&SHA256, &text).as_ref()).ok()
    };
    files.into_iter().map(|file| (file.clone(), hashed(file))).collect()
}

fn clients(model: &Model) -> Vec<Client> {
    let mut files: Vec<_> = all(model).filter_map(|tls| tls.cert.as_ref()).collect();
    files.sort_unstable();
    files.dedup();
    let client = |file: &PathBuf| Client { file: file.display().to_string(), expires: expires(file), ok: true };
    files.into_iter().map(client).collect()
}

fn expires(file: &Path) -> Option<u64> {
    let leaf = CertificateDer::pem_slice_iter(&std::fs::read(file).ok()?).next()?.ok()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).ok()?;
    u64::try_from(leaf.validity().not_after.timestamp()).ok()
}
