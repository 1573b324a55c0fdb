//! The ways out of a configuration without a proxy that runs: for those who try whether they lead anywhere.

use std::sync::Arc;
use std::time::Duration;

use config::Model;
use exchange::{Error, Host, Io};
use tokio::runtime::Handle;
use upstream::connect::guard::Guard;
use upstream::connect::{Connected, Connector, Destination, Flavour, Parents, Resolver, Ways};
use upstream::net::TokioNet;

use crate::build;
use crate::house::{overrides, rules};
use crate::secrets;
use crate::state::State;

/// See the module.
pub struct Reach {
    connector: Connector,
    parents: Parents,
}

/// A stream through a parent.
pub enum Through {
    /// To the destination itself.
    Tunnel(Io),
    /// To the parent, which is told the whole target of each request.
    Parent,
}

impl Reach {
    /// Of a configuration; secrets are read once, and names are looked up on `handle`.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(model: &Model, handle: Handle) -> Result<Self, String> {
        let state = State::default();
        let parents = build::parents(model, &state)?;
        secrets::fill(&state);
        let connector = Connector {
            net: Arc::new(TokioNet),
            resolver: Arc::new(Resolver::new(overrides(model), handle)),
            guard: Arc::new(Guard::new(rules(model))),
            timings: Arc::new(()),
            ways: Ways::default(),
        };
        Ok(Self { connector, parents })
    }

    /// Connects to every parent; its name, and the address or what was wrong.
    pub async fn parents(&self, within: Duration) -> Vec<(String, Result<String, Error>)> {
        let mut results = Vec::new();
        for parent in self.parents.all() {
            let connected = self.connector.connect(parent.at(), Flavour::H1, true, within).await;
            let secret = parent.authorization();
            let result = connected.and_then(|Connected { addr, .. }| secret.map(|_| addr.to_string()));
            results.push((parent.to_string(), result));
        }
        results
    }

    /// Goes to a destination through the parent that leads there; `None` if none does. Without `tunnel` no further than to
    /// the parent.
    pub async fn through(
        &self,
        host: Host,
        port: u16,
        tunnel: bool,
        within: Duration,
    ) -> Option<Result<(String, Through), Error>> {
        let parent = self.parents.of(&host, port)?;
        let shown = parent.to_string();
        let dest = Destination { host, port, tls: None, parent: Some(parent) };
        Some(if tunnel {
            self.connector.tunnel(&dest, true, true, within).await.map(|io| (shown, Through::Tunnel(io)))
        } else {
            self.connector.connect(&dest, Flavour::H1, true, within).await.map(|_| (shown, Through::Parent))
        })
    }
}
