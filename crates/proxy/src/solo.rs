//! The whole proxy as tasks of the runtime it is started in: one worker, no thread, no socket of the system's.
//!
//! For simulations, which give it a seed, a clock and a `Net`, hand it clients as streams, and look inside. What runs is
//! what runs otherwise: the control thread's life without doors, and a worker's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use config::Diagnostic;
use exchange::{Client, Io, clock};
use parking_lot::RwLock;
use policy::budget::Budget;
use telemetry::expose;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use upstream::endpoint;

use crate::control::{self, Command, Control, Doors, First, Settings, StartError};
use crate::house::House;
use crate::listener::accept::{Door, Rules, Seat, Workers};
use crate::listener::drain::Switch;
use crate::listener::peer::users::Users;
use crate::reload;
use crate::worker::{Socket, Worker};

/// See the module.
pub struct Solo {
    control: Arc<Control>,
    worker: Arc<Worker>,
    door: Door,
    commands: mpsc::Sender<Command>,
}

impl Solo {
    /// Starts it in the current runtime, where it goes on until that ends. `own`: addresses that lead here.
    ///
    /// # Errors
    /// What does not build.
    pub fn start(settings: Settings, own: &[SocketAddr]) -> Result<Self, StartError> {
        let Settings { loaded, reload, seed, net, colour, messages, authority } = settings;
        let mut seeds = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let house = House::new(&loaded.model, Handle::current(), seeds.u64(..), net, colour);
        let house = Arc::new(house.map_err(StartError::Log)?);
        authority.into_iter().for_each(|authority| house.state.give_authority(authority));
        house.guard.set_own(own.to_vec());
        let max_connections = loaded.model.server.max_connections;
        let First { snapshot, snapshots, reloader } =
            control::first(&house, loaded, reload, messages, own, &mut seeds)?;
        let (switch, drain) = Switch::new();
        let (arrivals, arriving) = mpsc::channel(1);
        let connections = Arc::new(AtomicUsize::new(0));
        let worker = house.worker(snapshot, drain.clone(), Arc::clone(&connections));
        let rules = Arc::new(RwLock::new(Rules { max_connections, ..Rules::default() }));
        let control = Arc::new(Control {
            reloader,
            switch,
            workers: Workers([Seat { arrivals, connections }].into()),
            listeners: Vec::new(),
            rules: vec![Arc::clone(&rules)],
            admin: None,
            metrics: None,
            started: clock::now(),
            users: Users::default(),
            cut: AtomicBool::new(false),
            house: Arc::clone(&house),
        });
        let door = Door { rules, workers: control.workers.clone(), stats: house.metrics.shard(), peers: None };
        let (commands, orders) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&worker).run(arriving, snapshots));
        tokio::spawn(control::run(Arc::clone(&control), Doors::default(), orders, drain));
        Ok(Self { control, worker, door, commands })
    }

    /// A client has come.
    pub async fn hand(&self, io: Io, client: Client) {
        self.door.hand_over(Socket::Other(io), client).await;
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn reload(&self) -> Result<u64, Vec<Diagnostic>> {
        let (answer, answered) = oneshot::channel();
        let gone = || vec![reload::general("the proxy is stopping".into())];
        self.commands.send(Command::Reload(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Its one worker.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Open client connections and tunnels.
    pub fn connections(&self) -> usize {
        self.control.workers.connections()
    }

    /// What is known of each endpoint.
    pub fn endpoints(&self) -> Vec<Arc<endpoint::State>> {
        self.control.house.state.registry.all()
    }

    /// The retry budget of an upstream.
    pub fn budget(&self, upstream: &str) -> Arc<Budget> {
        self.control.house.state.budget(upstream)
    }

    /// A scrape.
    pub fn metrics(&self) -> String {
        expose::render(&self.control.house.metrics)
    }
}
