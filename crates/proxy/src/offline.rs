//! A configuration, built and instantiated for one worker that nobody started: no thread, no socket.
//!
//! `explain` and admin look at its stacks; benchmarks serve connections through it, over a `Net` of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use config::Model;
use config::model::{AccessSink, Address};
use tokio::runtime::{Builder, Runtime};
use upstream::net::Net;

use crate::house::House;
use crate::intercept::Authority;
use crate::listener::drain::Switch;
use crate::secrets::Refresher;
use crate::stack::Site;
use crate::worker::Worker;

/// See the module.
pub struct Offline {
    site: Arc<Site>,
    worker: Arc<Worker>,
    runtime: Runtime,
    /// Gone, it would mean that the process is leaving.
    _switch: Switch,
}

impl Offline {
    /// To be looked at: reads no secret and no listener's key, opens no log.
    ///
    /// # Errors
    /// What does not build, one line each.
    pub fn new(model: &Model) -> Result<Self, String> {
        let mut model = model.clone();
        model.log.access.sink = AccessSink::Off;
        model.listen.iter_mut().for_each(|listener| listener.tls = None);
        // What signs is looked at as little as a listener's key.
        let authority = model.intercepts().then(Authority::ephemeral).transpose()?;
        Self::furnished(model, None, &[], authority).map(|(offline, _)| offline)
    }

    /// To be served through, with upstream connections from `net`. Secrets are read once, the log is
    /// written, and the listeners' addresses count as its own though nobody listens.
    ///
    /// # Errors
    /// What does not build, one line each.
    pub fn over(model: &Model, net: Arc<dyn Net>) -> Result<Self, String> {
        let own = model.listen.iter().filter_map(|listener| match listener.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        });
        let (offline, house) = Self::furnished(model.clone(), Some(net), &own.collect::<Vec<_>>(), None)?;
        Refresher::new(Arc::clone(&house.state)).run(|_, _| {});
        house.state.identities.refresh();
        Ok(offline)
    }

    fn furnished(
        model: Model,
        net: Option<Arc<dyn Net>>,
        own: &[SocketAddr],
        authority: Option<Authority>,
    ) -> Result<(Self, House), String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let house = House::new(&model, runtime.handle().clone(), 0, net, false).map_err(|error| error.to_string())?;
        authority.into_iter().for_each(|authority| house.state.give_authority(Arc::new(authority)));
        let snapshot = house
            .build(model, 1, own, &"attache".into())
            .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let (switch, drain) = Switch::new();
        let worker = house.worker(Arc::new(snapshot), drain, Arc::new(AtomicUsize::new(0)));
        Ok((Self { site: worker.site(), worker, runtime, _switch: switch }, house))
    }

    /// The stacks really built.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The worker they were built for.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// What it would run on; driven only by whoever asks.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}
