use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{DuplexStream, duplex};
use tokio::runtime::Handle;

use super::dns::{Answer, Failure, Override, Overrides, Source};
use super::guard::Params;
use super::*;

mod parents;

const WITHIN: Duration = Duration::from_secs(3);
const LOCAL: bool = true;
const REMOTE: bool = false;

/// One name server, one network and a notebook.
#[derive(Default)]
struct World {
    /// Addresses of every name; none: the name servers are silent.
    addrs: Option<Vec<IpAddr>>,
    /// Dials get no answer.
    black_hole: bool,
    asked: AtomicUsize,
    dialed: Mutex<Vec<SocketAddr>>,
    far_ends: Mutex<Vec<DuplexStream>>,
    timed: Mutex<Vec<&'static str>>,
}

impl Source for World {
    fn lookup(&self, _: Arc<str>) -> BoxFuture<'_, Result<Answer, Failure>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            match self.addrs.clone() {
                Some(addrs) => Ok(Answer { addrs, ttl: Duration::from_secs(30) }),
                None => std::future::pending().await,
            }
        })
    }
}

impl Net for World {
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Io>> {
        self.dialed.lock().push(addr);
        Box::pin(async {
            if self.black_hole {
                std::future::pending::<()>().await;
            }
            let (near, far) = duplex(65_536);
            self.far_ends.lock().push(far);
            Ok(Io::other(near))
        })
    }
}

impl Timings for World {
    fn dns(&self, _: Duration) {
        self.timed.lock().push("dns");
    }

    fn connect(&self, _: Duration) {
        self.timed.lock().push("connect");
    }

    fn tls(&self, _: Duration) {
        self.timed.lock().push("tls");
    }
}

impl World {
    fn with(addrs: &[&str]) -> Self {
        Self { addrs: Some(addrs.iter().map(|ip| ip.parse().expect("ip")).collect()), ..Self::default() }
    }
}

fn connector(world: &Arc<World>, overrides: Overrides) -> Connector {
    let source = Arc::clone(world) as Arc<dyn Source>;
    let own = vec![at("127.0.0.1:4780")];
    Connector {
        net: Arc::clone(world) as Arc<dyn Net>,
        resolver: Arc::new(Resolver::with_source(source, overrides, Handle::current())),
        guard: Arc::new(Guard::new(Params { own, ..Params::default() })),
        timings: Arc::clone(world) as Arc<dyn Timings>,
        ways: Ways::default(),
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn plain(host: &str, port: u16) -> Destination {
    Destination::new(Host::parse(host).expect("host"), port, None).expect("destination")
}

fn secure(host: &str) -> Destination {
    let tls = Tls::new(&tls::Params::default()).expect("tls");
    Destination::new(Host::parse(host).expect("host"), 443, Some(tls)).expect("destination")
}

async fn refused(connector: &Connector, dest: &Destination, local: bool) -> Error {
    let error = connector.connect(dest, Flavour::Auto, local, WITHIN).await.expect_err("refused");
    assert_eq!(error.sent, exchange::Sent::Nothing);
    error
}

#[tokio::test(start_paused = true)]
async fn a_name_leads_to_a_checked_address() {
    let world = Arc::new(World::with(&["93.184.216.34"]));
    let connector = connector(&world, Overrides::default());
    let dest = plain("a.test", 80);

    for _ in 0..2 {
        let connected = connector.connect(&dest, Flavour::Auto, REMOTE, WITHIN).await.expect("connected");
        assert_eq!((connected.addr, connected.alpn), (at("93.184.216.34:80"), None));
    }

    assert_eq!(*world.dialed.lock(), [at("93.184.216.34:80"); 2]);
    assert_eq!(*world.timed.lock(), ["dns", "connect", "connect"], "an answer from memory is not timed");
}

#[tokio::test(start_paused = true)]
async fn each_phase_ends_in_time_under_its_own_name() {
    let good = ["93.184.216.34"];
    let silent_dns = World::default();
    let silent_net = World { black_hole: true, ..World::with(&good) };
    let silent_tls = World::with(&good);

    for (world, kind, says) in [
        (silent_dns, ErrorKind::DnsTimeout, "name servers"),
        (silent_net, ErrorKind::ConnectTimeout, "93.184.216.34:443"),
        (silent_tls, ErrorKind::ConnectTimeout, "tls handshake"),
    ] {
        let connector = connector(&Arc::new(world), Overrides::default());
        let dest = secure("a.test");
        let start = Instant::now();

        let error = refused(&connector, &dest, LOCAL).await;

        let detail = error.detail().expect("detail");
        assert_eq!(error.kind, kind, "{detail}");
        assert!(detail.contains(says), "{detail}");
        assert_eq!((Instant::now() - start).as_secs(), 3, "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dialed_when_one_answer_is_refused() {
    for (addrs, host, local, kind) in [
        (&["93.184.216.34", "169.254.169.254"][..], "a.test", LOCAL, ErrorKind::DestinationBlocked),
        (&["10.0.0.1"], "a.test", REMOTE, ErrorKind::DestinationBlocked),
        (&[], "127.0.0.2", REMOTE, ErrorKind::DestinationBlocked),
        (&[], "[::ffff:169.254.169.254]", LOCAL, ErrorKind::DestinationBlocked),
        (&["127.0.0.1"], "a.test", LOCAL, ErrorKind::Loop),
        (&[], "localhost", LOCAL, ErrorKind::Loop),
    ] {
        let world = Arc::new(World::with(addrs));
        let connector = connector(&world, Overrides::default());

        let error = refused(&connector, &plain(host, 4780), local).await;

        assert_eq!(error.kind, kind, "{host} {addrs:?}");
        assert!(world.dialed.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_metadata_name_is_not_even_resolved() {
    let world = Arc::new(World::with(&["93.184.216.34"]));
    let connector = connector(&world, Overrides::default());

    let error = refused(&connector, &plain("metadata.google.internal", 80), LOCAL).await;

    assert_eq!(error.kind, ErrorKind::DestinationBlocked);
    assert_eq!(world.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_operators_answer_may_be_private_but_not_ourselves() {
    let world = Arc::new(World::default());
    let to = |port| Override { ip: [127, 0, 0, 1].into(), port };
    let overrides = [("api.test", Some(9001)), ("same.test", None), ("self.test", Some(4780))];
    let overrides = overrides.into_iter().map(|(host, port)| (host.into(), to(port))).collect();
    let connector = connector(&world, overrides);

    for (host, addr) in [("api.test", "127.0.0.1:9001"), ("same.test", "127.0.0.1:80")] {
        let connected = connector.connect(&plain(host, 80), Flavour::Auto, REMOTE, WITHIN).await.expect(host);
        assert_eq!(connected.addr, at(addr));
    }
    assert_eq!(refused(&connector, &plain("self.test", 80), LOCAL).await.kind, ErrorKind::Loop);
    assert_eq!(world.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_drops_its_dials() {
    let world = Arc::new(World { black_hole: true, ..World::with(&["93.184.216.34"]) });
    let connector = connector(&world, Overrides::default());
    let dest = plain("a.test", 80);

    let short = Duration::from_millis(100);
    let left = tokio::time::timeout(short, connector.connect(&dest, Flavour::Auto, LOCAL, WITHIN)).await;

    assert!(left.is_err());
    drop(connector);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&world), 1, "a dial or a query is still running");
}

#[tokio::test]
async fn real_sockets_connect_and_are_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let open = listener.local_addr().expect("bound");
    // Bound but not listening: nobody else can take the port.
    let held = tokio::net::TcpSocket::new_v4().expect("socket");
    held.bind(at("127.0.0.1:0")).expect("port");
    let closed = held.local_addr().expect("bound");
    let world = Arc::new(World::default());
    let connector = Connector { net: Arc::new(crate::net::TokioNet), ..connector(&world, Overrides::default()) };

    // `localhost` is both loopback addresses, and only one of them listens.
    let connected = connector.connect(&plain("localhost", open.port()), Flavour::Auto, LOCAL, WITHIN).await;
    assert_eq!(connected.expect("connected").addr, open);
    let error = refused(&connector, &plain("127.0.0.1", closed.port()), LOCAL).await;
    let detail = error.detail().expect("detail");
    assert_eq!(error.kind, ErrorKind::ConnectRefused);
    assert!(detail.contains(&closed.to_string()), "{detail}");
}
