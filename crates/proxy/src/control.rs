//! Start, run and end: the control thread and the workers' threads.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use config::model::{Address, Listener, Rights};
use config::{Diagnostic, Loaded, Source};
use exchange::clock;
use parking_lot::{Mutex, RwLock};
use policy::Tick;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use upstream::net::Net;

use crate::admin;
use crate::build;
use crate::certificates::Certificates;
use crate::checks::Checks;
use crate::house::House;
use crate::identities::Issuers;
use crate::intercept::{self, Authority};
use crate::keeper::Keeper;
use crate::listener::accept::{self, Acceptor, Door, Listening, Rules, Seat, Workers};
use crate::listener::drain::{Drain, Mode, Switch};
use crate::listener::peer::Peers;
use crate::listener::peer::users::Users;
use crate::messages::Messages;
use crate::permit;
use crate::places::Places;
use crate::reload::{self, Reloader};
use crate::renewal::Renewal;
use crate::secrets::Refresher;
use crate::snapshot::Snapshot;
use crate::state::SecretKey;
use crate::watch::Watch;
use crate::worker::{Arrival, Worker};
use crate::wrong::Wrong;

pub use crate::listener::accept::Bound;

/// Sockets on their way to one worker.
const ARRIVALS: usize = 64;
/// For the access log's last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Between two looks at what is left during a drain.
const LOOK: Duration = Duration::from_millis(20);

/// What to start.
pub struct Settings {
    /// The checked configuration.
    pub loaded: Loaded,
    /// Read again on change, HUP and `attache reload`.
    pub reload: Option<Source>,
    /// For repeatable runs.
    pub seed: Option<u64>,
    /// In place of the system's sockets.
    pub net: Option<Arc<dyn Net>>,
    /// Access lines on a terminal may be coloured.
    pub colour: bool,
    /// Shown messages, to follow `log.level` on a reload.
    pub messages: Option<Messages>,
    /// Signs for `intercept` in place of the configured files, for as long as the process lives.
    pub authority: Option<Arc<Authority>>,
}

/// Why it does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind { key: &'static str, address: String, source: io::Error },
    /// The configuration does not build, one line each.
    Build(Vec<String>),
    /// The access log cannot be opened.
    Log(io::Error),
    /// The operating system refuses a thread or a runtime.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { key, address, source } => {
                write!(f, "`{key}`: cannot listen on {address}: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(
                            f,
                            "\n  another process has it (perhaps an attache that runs already): choose another with --{key}"
                        )
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "\n  ports below 1024 and foreign directories need rights")
                    }
                    _ => Ok(()),
                }
            }
            Self::Build(wrong) => f.write_str(&wrong.join("\n")),
            Self::Log(error) => write!(
                f,
                "`log.access.path`: cannot open the access log: {error}\n  check the path and its permissions"
            ),
            Self::System(error) => write!(f, "the system refuses a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was cut.
    Clean,
    /// Something was in flight when the time was over.
    Forced,
}

/// What the control thread is asked.
pub(crate) enum Command {
    Reload(oneshot::Sender<Result<u64, Vec<Diagnostic>>>),
    Reopen,
}

/// What admin and the control thread share.
pub(crate) struct Control {
    pub house: Arc<House>,
    pub reloader: Arc<Reloader>,
    pub switch: Switch,
    pub workers: Workers,
    pub listeners: Vec<Bound>,
    /// Of each listener, as they are now.
    pub rules: Vec<Arc<RwLock<Rules>>>,
    pub admin: Option<Bound>,
    pub metrics: Option<Bound>,
    pub started: Tick,
    /// The names of those who ask at admin.
    pub users: Users,
    /// Something was in flight when the process was told to stop at once.
    pub cut: AtomicBool,
}

/// A running proxy.
pub struct Running {
    control: Arc<Control>,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<Ended>>>,
}

impl Running {
    /// Where it listens.
    pub fn listeners(&self) -> &[Bound] {
        &self.control.listeners
    }

    /// Where admin listens.
    pub fn admin(&self) -> Option<&Bound> {
        self.control.admin.as_ref()
    }

    /// Reads the configuration again; blocks until it is in force or refused.
    pub fn reload(&self) -> Result<u64, Vec<Diagnostic>> {
        let (answer, answered) = oneshot::channel();
        let gone = || vec![reload::general("the proxy is stopping".into())];
        self.commands.blocking_send(Command::Reload(answer)).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())?
    }

    /// Opens log files anew, after they were moved away.
    pub fn reopen_logs(&self) {
        // A process that is stopping needs no new log file.
        let _ = self.commands.blocking_send(Command::Reopen);
    }

    /// Begins to drain: no new connection, what is in flight finishes.
    pub fn drain(&self) {
        self.control.switch.set(Mode::Draining);
    }

    /// Ends now; what is in flight is cut.
    pub fn stop(&self) {
        self.control.cut.fetch_or(self.control.workers.connections() > 0, Relaxed);
        self.control.switch.set(Mode::Stopping);
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.lock().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Blocks until it has ended; the first to wait is told how.
    pub fn wait(&self) -> Ended {
        let thread = self.thread.lock().take();
        thread.map_or(Ended::Clean, |thread| thread.join().unwrap_or(Ended::Forced))
    }
}

/// Binds, starts all threads, and returns once it listens.
///
/// # Errors
/// Names the place, the value and the next step.
pub fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { loaded, reload, seed, net, colour, messages, authority } = settings;
    let model = &loaded.model;
    let mut seeds = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let runtime = runtime()?;
    let house =
        Arc::new(House::new(model, runtime.handle().clone(), seeds.u64(..), net, colour).map_err(StartError::Log)?);
    authority.into_iter().for_each(|authority| house.state.give_authority(authority));
    let mut doors = Vec::new();
    for listener in &model.listen {
        doors.push((bind("listen", &listener.address, &listener.rights)?, listener.clients.clone()));
    }
    let admin = model.admin.as_ref().map(|address| bind("admin", address, &model.admin_rights)).transpose()?;
    let scraped = model.metrics.address.map(Address::Tcp);
    let metrics = scraped.map(|address| bind("metrics", &address, &Rights::default())).transpose()?;
    let own: Vec<SocketAddr> = doors.iter().filter_map(|((_, bound), _)| bound.tcp()).collect();
    let others = admin.iter().chain(&metrics).filter_map(|(_, bound)| bound.tcp());
    house.guard.set_own(own.iter().copied().chain(others).collect());
    let workers = model.workers.unwrap_or_else(cores);
    let max_connections = model.server.max_connections;
    let First { snapshot, snapshots, reloader } = first(&house, loaded, reload, messages, &own, &mut seeds)?;
    let (switch, drain) = Switch::new();
    let (seats, threads) = spawn_workers(workers, &house, &snapshot, &drain, &snapshots)?;
    let (mut listening, mut bound, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    let (deep, peers) = (permit::is_deep(&snapshot.model), Arc::new(Peers::default()));
    for (((socket, address), clients), tls) in doors.into_iter().zip(&snapshot.fronts) {
        listening.push(socket);
        bound.push(address);
        rules.push(Arc::new(RwLock::new(Rules { clients, max_connections, tls: tls.clone(), deep })));
    }
    let control = Arc::new(Control {
        house: Arc::clone(&house),
        reloader,
        switch,
        workers: Workers(seats.into()),
        listeners: bound,
        rules,
        admin: admin.as_ref().map(|(_, bound)| bound.clone()),
        metrics: metrics.as_ref().map(|(_, bound)| bound.clone()),
        started: clock::now(),
        users: Users::default(),
        cut: AtomicBool::new(false),
    });
    let (commands, orders) = mpsc::channel(16);
    let stats = house.metrics.shard();
    let acceptors = listening
        .into_iter()
        .zip(&control.rules)
        .map(|(listening, rules)| Acceptor {
            listening,
            door: Door {
                rules: Arc::clone(rules),
                workers: control.workers.clone(),
                stats: Arc::clone(&stats),
                peers: Some(Arc::clone(&peers)),
            },
        })
        .collect();
    let kept = Arc::clone(&control);
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let doors = Doors { acceptors, admin: admin.map(|(one, _)| one), metrics: metrics.map(|(one, _)| one) };
            let ended = runtime.block_on(run(Arc::clone(&kept), doors, orders, drain));
            for thread in threads {
                // A worker that panicked was said by the panic hook.
                let _ = thread.join();
            }
            if let Some(log) = &kept.house.log
                && !log.close(LAST_LINES)
            {
                tracing::warn!("the access log did not take its last lines");
            }
            ended
        })
        .map_err(StartError::System)?;
    Ok(Running { control, commands, thread: Mutex::new(Some(thread)) })
}

/// The first snapshot, and what makes others follow it.
pub(crate) struct First {
    pub snapshot: Arc<Snapshot>,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reloader: Arc<Reloader>,
}

/// Builds a configuration in a house that nobody is in yet; secrets are there with it.
pub(crate) fn first(
    house: &Arc<House>,
    loaded: Loaded,
    reload: Option<Source>,
    messages: Option<Messages>,
    own: &[SocketAddr],
    seeds: &mut fastrand::Rng,
) -> Result<First, StartError> {
    let pseudonym: Arc<str> = format!("attache-{:08x}", seeds.u32(..)).into();
    let told = |wrong: Vec<Wrong>| StartError::Build(wrong.iter().map(|one| one.told(&loaded.origins)).collect());
    let snapshot = Arc::new(house.build(loaded.model.clone(), 1, own, &pseudonym).map_err(told)?);
    Refresher::new(Arc::clone(&house.state)).run(|_, _| {});
    house.state.identities.refresh();
    intercept::announce(snapshot.authority.as_ref(), None);
    let (publish, snapshots) = watch::channel(Arc::clone(&snapshot));
    let reloader = Arc::new(Reloader::new(Arc::clone(house), reload, loaded, messages, publish));
    house.metrics.set_limits(Arc::new(Places::new(&reloader)));
    // The first one counts: whoever watches the metric must not wait for a reload to see it.
    house.metrics.events().reloaded(Ok(snapshot.generation), clock::now());
    Ok(First { snapshot, snapshots, reloader })
}

/// Who comes in by itself.
#[derive(Default)]
pub(crate) struct Doors {
    acceptors: Vec<Acceptor>,
    admin: Option<Listening>,
    metrics: Option<Listening>,
}

/// The control thread's life.
pub(crate) async fn run(
    control: Arc<Control>,
    doors: Doors,
    mut orders: mpsc::Receiver<Command>,
    mut drain: Drain,
) -> Ended {
    let addresses = control.reloader.current().model.listen.iter().map(|one| one.address.clone()).collect::<Vec<_>>();
    let mut renewal = Renewal::new(Arc::clone(&control.house.state), Arc::clone(control.house.metrics.events()));
    // Before anybody is served or can ask.
    let mut certificates = Certificates::new(&control.reloader);
    renewal.run(certificates.run(&control.reloader, clock::now()), clock::now());
    for acceptor in doors.acceptors {
        tokio::spawn(acceptor.run(drain.clone()));
    }
    for (listening, only_metrics) in
        doors.admin.into_iter().map(|one| (one, false)).chain(doors.metrics.into_iter().map(|one| (one, true)))
    {
        tokio::spawn(admin::serve(listening, Arc::clone(&control), only_metrics));
    }
    let mut every = tokio::time::interval(reload::EVERY);
    let mut refresher = Refresher::new(Arc::clone(&control.house.state));
    let mut watch = Watch::new(&control.house);
    let mut checks = Checks::new(&control.house);
    checks.follow(&control.reloader.current());
    let mut keeper = Keeper::new(&control.house, &control.reloader);
    keeper.follow(clock::now());
    let counted = |key: &SecretKey, ok| {
        let (snapshot, events) = (control.reloader.current(), control.house.metrics.events());
        build::users(&snapshot.model, key).for_each(|route| events.credential_refreshed(&route.into(), ok));
    };
    let mut issuers = Issuers::new(&control.house);
    issuers.follow();
    let mut pending = None;
    loop {
        tokio::select! {
            biased;
            Some(command) = orders.recv() => match command {
                Command::Reload(answer) => {
                    // The asker may have gone; the log and `status` have it too.
                    let _ = answer.send(control.reloader.reload(clock::now()));
                    adopt(&control, &addresses);
                    checks.follow(&control.reloader.current());
                    keeper.follow(clock::now());
                    issuers.follow();
                }
                Command::Reopen => if let Some(log) = &control.house.log {
                    log.reopen();
                },
            },
            _ = every.tick() => {
                control.reloader.look(&mut pending, clock::now());
                adopt(&control, &addresses);
                renewal.run(certificates.run(&control.reloader, clock::now()), clock::now());
                checks.follow(&control.reloader.current());
                control.house.state.identities.refresh();
                issuers.follow();
                watch.run(&control.reloader.current(), clock::now());
                refresher.run(counted);
                keeper.follow(clock::now());
            }
            // It may have been replaced since the last look.
            () = control.house.state.refused() => refresher.run(counted),
            () = drain.reached(Mode::Draining) => return finish(&control, drain).await,
        }
    }
}

/// What a reload changes at the doors.
fn adopt(control: &Control, addresses: &[Address]) {
    let snapshot = control.reloader.current();
    for (index, (address, rules)) in addresses.iter().zip(&control.rules).enumerate() {
        let mut rules = rules.write();
        rules.max_connections = snapshot.model.server.max_connections;
        rules.deep = permit::is_deep(&snapshot.model);
        if let Some(index) = of_address(&snapshot.model.listen, index, address) {
            rules.clients.clone_from(&snapshot.model.listen[index].clients);
            rules.tls.clone_from(&snapshot.fronts[index]);
        }
    }
}

/// What a configuration says of a socket that is open, the `index`th. One it no longer names stays open until a restart
/// and keeps its rules: those of another listener, an empty list perhaps, would let everybody in.
fn of_address(listeners: &[Listener], index: usize, address: &Address) -> Option<usize> {
    let same = |listener: &Listener| listener.address == *address;
    listeners.get(index).filter(|one| same(one)).map(|_| index).or_else(|| listeners.iter().position(same))
}

/// Waits until nothing is in flight, or the time is over, or somebody insists.
async fn finish(control: &Control, mut drain: Drain) -> Ended {
    let grace = control.reloader.current().model.drain;
    let emptied = async {
        while control.workers.connections() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let left = tokio::select! {
        ended = tokio::time::timeout(grace, emptied) => ended.is_err(),
        () = drain.reached(Mode::Stopping) => control.cut.load(Relaxed),
    };
    if left {
        tracing::warn!(connections = control.workers.connections(), "stopping with connections open");
    }
    control.switch.set(Mode::Stopping);
    if left { Ended::Forced } else { Ended::Clean }
}

type Seats = (Vec<Seat>, Vec<JoinHandle<()>>);

fn spawn_workers(
    count: usize,
    house: &Arc<House>,
    snapshot: &Arc<Snapshot>,
    drain: &Drain,
    snapshots: &watch::Receiver<Arc<Snapshot>>,
) -> Result<Seats, StartError> {
    let mut seats = Vec::new();
    let mut threads = Vec::new();
    for index in 0..count {
        let (arrivals, arriving) = mpsc::channel::<Arrival>(ARRIVALS);
        let connections = Arc::new(AtomicUsize::new(0));
        let worker: Arc<Worker> = house.worker(Arc::clone(snapshot), drain.clone(), Arc::clone(&connections));
        let (runtime, snapshots) = (runtime()?, snapshots.clone());
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || runtime.block_on(worker.run(arriving, snapshots)))
            .map_err(StartError::System)?;
        seats.push(Seat { arrivals, connections });
        threads.push(thread);
    }
    Ok((seats, threads))
}

fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread().enable_all().build().map_err(StartError::System)
}

fn bind(key: &'static str, address: &Address, rights: &Rights) -> Result<(Listening, Bound), StartError> {
    accept::bind(address, rights).map_err(|source| {
        let address = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        StartError::Bind { key, address, source }
    })
}

/// min(4, cores within the quota), at least one.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, clients: &[&str]) -> Listener {
        let clients = clients.iter().map(|net| net.parse().expect("a network")).collect();
        let rights = Rights::default();
        Listener { address: Address::Tcp(address.parse().expect("an address")), rights, clients, tls: None }
    }

    #[test]
    fn an_open_socket_never_gets_the_rules_of_another_address() {
        let (wide, local) = (listener("0.0.0.0:4780", &["10.0.0.0/8"]), listener("127.0.0.1:4780", &[]));

        assert_eq!(of_address(std::slice::from_ref(&local), 0, &wide.address), None);
        assert_eq!(of_address(&[local.clone(), wide.clone()], 0, &wide.address), Some(1));
        assert_eq!(of_address(&[wide.clone(), local.clone()], 1, &local.address), Some(1));
    }

    #[test]
    fn of_equal_addresses_each_keeps_its_place() {
        let each = [listener("10.0.0.1:0", &["10.0.0.0/8"]), listener("10.0.0.1:0", &["10.1.0.0/16"])];

        assert_eq!(of_address(&each, 1, &each[1].address), Some(1));
    }
}
