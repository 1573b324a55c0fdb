//! Runs a plan: hosts, network, faults, and what is left at the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use exchange::{Client, Io, clock};
use proxy::Settings;
use proxy::snapshot::End as Target;
use proxy::solo::Solo;
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};
use upstream::endpoint::State;
use upstream::net::Net;

use crate::clients::{self, End};
use crate::plan::{Ask, Fault, Mood, Plan, SERVERS};
use crate::servers::{self, Seen};

pub const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// What the network and all timers of turmoil count in.
const STEP: Duration = Duration::from_millis(5);
/// After the last client: faults are over, what is under way ends, background dials get through.
const SETTLE: Duration = Duration::from_millis(2_000);
/// Longer than the pool keeps a connection idle.
const LATER: Duration = Duration::from_secs(91);

pub fn ip(server: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, u8::try_from(server + 1).expect("few")))
}

/// What hosts and test see of each other.
pub struct Scene {
    pub seed: u64,
    pub moods: [Mood; SERVERS],
    seen: Seen,
    sent: Vec<Ask>,
    ends: Vec<End>,
    reloads: Vec<Result<(), String>>,
    trace: Vec<String>,
    settled: bool,
    left: Option<Left>,
}

/// What the proxy held when all was over.
#[derive(Debug)]
pub struct Left {
    /// By endpoint: requests and connections.
    pub endpoints: Vec<(String, u32, u32)>,
    pub idle: u32,
    pub redials: u32,
    pub clients: usize,
    /// By route: requests with a place, and in line.
    pub places: Vec<(u32, usize)>,
    pub metrics: String,
}

/// Everything that was seen of a run.
pub struct Record {
    pub seen: Seen,
    pub sent: Vec<Ask>,
    pub ends: Vec<End>,
    pub reloads: Vec<Result<(), String>>,
    pub trace: Vec<String>,
    pub left: Left,
    pub took: Duration,
}

impl Scene {
    /// A request's head came to a server; how often it had come to any before.
    pub fn head(&mut self, server: usize, method: &str, id: u64) -> u32 {
        self.note(format!("s{server} got {method} {id}"));
        let times = self.seen.heads.entry(id).or_default();
        *times += 1;
        *times - 1
    }

    /// A server has all of a request.
    pub fn acted(&mut self, server: usize, id: u64) {
        self.note(format!("s{server} acted on {id}"));
        *self.seen.acted.entry(id).or_default() += 1;
    }

    /// A client begins.
    pub fn sent(&mut self, ask: &Ask) {
        self.note(format!("client asks {}", ask.id));
        self.sent.push(ask.clone());
    }

    /// A client's request ended.
    pub fn ended(&mut self, end: End) {
        self.note(format!("client ends {end:?}"));
        self.ends.push(end);
    }

    fn note(&mut self, what: String) {
        let at = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        self.trace.push(format!("{at:>6} {what}"));
    }
}

/// Runs it.
pub fn run(plan: &Plan) -> Result<Record, String> {
    let scene = Rc::new(RefCell::new(Scene {
        seed: plan.seed,
        moods: [Mood::default(); SERVERS],
        seen: Seen::default(),
        sent: Vec::new(),
        ends: Vec::new(),
        reloads: Vec::new(),
        trace: Vec::new(),
        settled: false,
        left: None,
    }));
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .tick_duration(STEP)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(STEP)
        .simulation_duration(Duration::from_secs(60))
        .build();
    for server in 0..SERVERS {
        let scene = Rc::clone(&scene);
        sim.host(ip(server), move || servers::serve(Rc::clone(&scene), server));
    }
    let configs: Rc<Vec<_>> = Rc::new((0..=plan.reloads.len() as u64).map(|version| plan.config(version)).collect());
    let (seed, reloads, shared) = (plan.seed, plan.reloads.clone(), Rc::clone(&scene));
    sim.host(PROXY, move || proxy(seed, Rc::clone(&configs), reloads.clone(), Rc::clone(&shared)));
    let (users, shared) = (plan.users.clone(), Rc::clone(&scene));
    sim.client(CLIENTS, async move {
        let users = users.into_iter().map(|asks| tokio::task::spawn_local(clients::user(Rc::clone(&shared), asks)));
        for user in users.collect::<Vec<_>>() {
            user.await?;
        }
        Ok(())
    });

    let mut faults = plan.faults.iter().peekable();
    let mut down = [false; SERVERS];
    let mut over = false;
    while !over || faults.peek().is_some() {
        while let Some((_, fault)) = faults.next_if(|(at, _)| u128::from(*at) <= sim.elapsed().as_millis()) {
            scene.borrow_mut().trace.push(format!("{:>6} {fault:?}", sim.elapsed().as_millis()));
            befall(&mut sim, &scene, fault, &mut down);
        }
        over = sim.step().map_err(|error| error.to_string())?;
    }
    let took = sim.elapsed();
    for (server, down) in down.into_iter().enumerate() {
        sim.release(PROXY, ip(server));
        sim.repair(PROXY, ip(server));
        sim.set_link_latency(PROXY, ip(server), STEP);
        if down {
            sim.bounce(ip(server));
        }
    }
    while sim.elapsed() < took + SETTLE {
        sim.step().map_err(|error| error.to_string())?;
    }
    scene.borrow_mut().settled = true;
    while scene.borrow().left.is_none() {
        sim.step().map_err(|error| error.to_string())?;
    }
    drop(sim);
    let scene = Rc::into_inner(scene).ok_or("a host lives on")?.into_inner();
    let Scene { seen, sent, ends, reloads, trace, left, .. } = scene;
    Ok(Record { seen, sent, ends, reloads, trace, left: left.ok_or("no end")?, took })
}

fn befall(sim: &mut turmoil::Sim<'_>, scene: &RefCell<Scene>, fault: &Fault, down: &mut [bool; SERVERS]) {
    match *fault {
        Fault::Partition(server) => sim.partition(PROXY, ip(server)),
        Fault::Deaf(server) => sim.partition_oneway(ip(server), PROXY),
        Fault::Repair(server) => sim.repair(PROXY, ip(server)),
        Fault::Hold(server) => sim.hold(PROXY, ip(server)),
        Fault::Release(server) => sim.release(PROXY, ip(server)),
        Fault::Crash(server) => {
            sim.crash(ip(server));
            down[server] = true;
        }
        Fault::Restart(server) => {
            sim.bounce(ip(server));
            down[server] = false;
        }
        Fault::Latency(server, millis) => {
            sim.set_link_latency(PROXY, ip(server), Duration::from_millis(millis));
        }
        Fault::Mood(server, mood) => scene.borrow_mut().moods[server] = mood,
    }
}

/// The proxy's life.
async fn proxy(
    seed: u64,
    configs: Rc<Vec<String>>,
    reloads: Vec<(u64, u64)>,
    scene: Rc<RefCell<Scene>>,
) -> turmoil::Result {
    clock::begin(Duration::from_secs(1_800_000_000));
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("attache.yaml");
    std::fs::write(&file, &configs[0])?;
    let source = config::Source { path: Some(file.clone()), ..config::Source::default() };
    let loaded = config::load(&source).map_err(|wrong| format!("{wrong:?}\n{}", configs[0]))?;
    let net = Some(Arc::new(Simulated) as Arc<dyn Net>);
    let settings = Settings {
        loaded,
        reload: Some(source),
        seed: Some(seed),
        net,
        colour: false,
        messages: None,
        authority: None,
    };
    let solo = Rc::new(Solo::start(settings, &[SocketAddr::new(PROXY, 4780)]).map_err(|error| error.to_string())?);
    let (listener, door) = (TcpListener::bind(("0.0.0.0", 4780)).await?, Rc::clone(&solo));
    tokio::task::spawn_local(async move {
        while let Ok((stream, from)) = listener.accept().await {
            door.hand(Io::other(stream), Client { addr: Some(from), local: true, peer: None }).await;
        }
    });

    let mut now = 0;
    for (at, version) in reloads {
        sleep(Duration::from_millis(at - now)).await;
        now = at;
        std::fs::write(&file, &configs[usize::try_from(version)?])?;
        let before = states(&solo);
        let budget = Arc::downgrade(&solo.budget("all"));
        let reloaded = solo.reload().await.map_err(|wrong| format!("{wrong:?}"));
        let kept = Weak::ptr_eq(&budget, &Arc::downgrade(&solo.budget("all")));
        let after = states(&solo);
        let stays = |server: usize| Plan::names(version - 1, server) && Plan::names(version, server);
        let lost = (0..SERVERS).filter(|server| stays(*server)).map(|server| format!("s{server}.sim:80@all"));
        let lost = lost.into_iter().find(|name| match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => !Weak::ptr_eq(before, after),
            _ => true,
        });
        let outcome = match (reloaded, lost) {
            (Err(wrong), _) => Err(wrong),
            (_, Some(name)) => Err(format!("{name} has lost its state")),
            _ if !kept => Err("the budget is another".into()),
            _ => Ok(()),
        };
        let mut scene = scene.borrow_mut();
        scene.note(format!("reloaded {version}: {outcome:?}"));
        scene.reloads.push(outcome);
    }
    while !scene.borrow().settled {
        sleep(STEP).await;
    }
    // What is idle goes, and what is not shows.
    solo.worker().upstream().sweep(clock::now() + LATER);
    sleep(STEP * 4).await;
    scene.borrow_mut().left = Some(left(&solo));
    std::future::pending().await
}

/// Each endpoint's state, without holding it.
fn states(solo: &Solo) -> BTreeMap<String, Weak<State>> {
    let named = |state: &Arc<State>| (format!("{}@{}", state.label, state.upstream), Arc::downgrade(state));
    solo.endpoints().iter().map(named).collect()
}

fn left(solo: &Solo) -> Left {
    let context = solo.worker().context();
    let site = solo.worker().site();
    let routes = site.snapshot().routes.iter().filter(|plan| matches!(plan.end, Target::Targets { .. }));
    let places = routes.filter_map(|plan| match plan.places.as_ref()? {
        middleware::concurrency::Scope::One(bulkhead) => Some((bulkhead.inflight(), bulkhead.waiting())),
        middleware::concurrency::Scope::Hosts(hosts) => Some(hosts.sum()),
    });
    let mut endpoints: Vec<_> = solo
        .endpoints()
        .iter()
        .map(|state| (state.label.to_string(), state.inflight.get(), state.connections.get()))
        .collect();
    endpoints.sort();
    Left {
        endpoints,
        idle: context.idle.get(),
        redials: context.redials.get(),
        clients: solo.connections(),
        places: places.collect(),
        metrics: solo.metrics(),
    }
}

/// turmoil's sockets.
struct Simulated;

impl Net for Simulated {
    fn connect(&self, addr: SocketAddr) -> futures_util::future::BoxFuture<'_, io::Result<Io>> {
        Box::pin(async move { Ok(Io::other(TcpStream::connect(addr).await?)) })
    }
}
