//! The real client against a scripted server on loopback, over UDP and TCP.

use std::fs;
use std::net::SocketAddr;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::super::system::Servers;
use super::*;

/// What the server says to one question.
enum Reply {
    Addrs(Vec<IpAddr>, u32),
    Code(ResponseCode),
    Silence,
}

type Zone = fn(&str, RecordType) -> Reply;

const NO_DATA: Reply = Reply::Code(ResponseCode::NoError);
const NO_NAME: Reply = Reply::Code(ResponseCode::NXDomain);

struct Server {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(zone: Zone) -> Self {
        let (udp, tcp) = sockets().await;
        let addr = udp.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buf = [0; 4096];
            while let Ok((len, from)) = udp.recv_from(&mut buf).await {
                if let Some(reply) = respond(zone, &seen, &buf[..len], 1232) {
                    let _ = udp.send_to(&reply, from).await;
                }
            }
        });
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(serve(stream, zone, Arc::clone(&seen)));
            }
        });
        Self { addr, asked }
    }

    fn servers(&self, search: &[&str], ndots: usize) -> Servers {
        self.patient(search, ndots, Duration::from_millis(300))
    }

    fn patient(&self, search: &[&str], ndots: usize, timeout: Duration) -> Servers {
        let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = self.addr.port();
            connection
        });
        let server = NameServerConfig::new(self.addr.ip(), true, connections.into());
        let search = search.iter().map(|name| Name::from_ascii(name).expect("name")).collect();
        let mut options = ResolverOpts::default();
        options.ndots = ndots;
        options.timeout = timeout;
        options.attempts = 0;
        Servers::new(ResolverConfig::from_parts(None, search, vec![server]), options).expect("servers")
    }

    async fn lookup(&self, host: &str) -> Result<Answer, Failure> {
        self.servers(&[], 1).lookup(&Name::from_ascii(host).expect("name")).await
    }
}

async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")).await {
            return (udp, tcp);
        }
    }
}

async fn serve(mut stream: TcpStream, zone: Zone, seen: Arc<Mutex<Vec<String>>>) {
    while let Ok(len) = stream.read_u16().await {
        let mut request = vec![0; len.into()];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        if let Some(reply) = respond(zone, &seen, &request, usize::from(u16::MAX)) {
            let _ = stream.write_u16(u16::try_from(reply.len()).expect("fits")).await;
            let _ = stream.write_all(&reply).await;
        }
    }
}

fn respond(zone: Zone, seen: &Mutex<Vec<String>>, request: &[u8], room: usize) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).expect("a query");
    let query = request.queries.first().expect("a question").clone();
    let (name, of) = (query.name().to_string(), query.query_type());
    seen.lock().push(format!("{name} {of}"));
    let mut reply = Message::response(request.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    match zone(&name, of) {
        Reply::Silence => return None,
        Reply::Code(code) => reply.metadata.response_code = code,
        Reply::Addrs(addrs, ttl) => {
            reply.add_answers(
                addrs.into_iter().map(|ip| Record::from_rdata(query.name().clone(), ttl, RData::from(ip))),
            );
        }
    }
    let bytes = reply.to_vec().expect("encodes");
    if bytes.len() <= room {
        return Some(bytes);
    }
    let mut short = Message::response(request.metadata.id, OpCode::Query);
    short.add_query(query);
    short.metadata.truncation = true;
    Some(short.to_vec().expect("encodes"))
}

#[tokio::test]
async fn both_families_are_asked_and_the_shorter_ttl_holds() {
    let server = Server::start(|_, of| match of {
        RecordType::A => Reply::Addrs(vec![ip("10.0.0.1"), ip("10.0.0.2")], 40),
        _ => Reply::Addrs(vec![ip("2001:db8::1")], 20),
    })
    .await;

    let answer = server.lookup("a.test").await.expect("answer");

    assert_eq!(answer.addrs, [ip("2001:db8::1"), ip("10.0.0.1"), ip("10.0.0.2")]);
    assert_eq!(answer.ttl, Duration::from_secs(20));
    assert_eq!(server.asked.lock().len(), 2);
}

#[tokio::test]
async fn a_ttl_of_zero_arrives_as_zero_and_is_not_cached_below() {
    let server = Server::start(|_, of| match of {
        RecordType::A => Reply::Addrs(vec![ip("10.0.0.1")], 0),
        _ => NO_DATA,
    })
    .await;
    let servers = server.servers(&[], 1);
    let name = Name::from_ascii("a.test").expect("name");

    for asked in [2, 4] {
        assert_eq!(servers.lookup(&name).await, says("10.0.0.1", 0));
        assert_eq!(server.asked.lock().len(), asked);
    }
}

#[tokio::test]
async fn tells_missing_from_empty_from_broken_from_silent() {
    let server = Server::start(|name, _| match name {
        "missing.test." => NO_NAME,
        "empty.test." => NO_DATA,
        "broken.test." => Reply::Code(ResponseCode::ServFail),
        "refused.test." => Reply::Code(ResponseCode::Refused),
        _ => Reply::Silence,
    })
    .await;

    assert_eq!(server.lookup("missing.test").await, Err(Failure::Absent("name does not exist".into())));
    assert_eq!(server.lookup("empty.test").await, Err(Failure::Absent("name has no address".into())));
    assert_eq!(server.lookup("silent.test").await, Err(Failure::Timeout));
    for host in ["broken.test", "refused.test"] {
        let Err(Failure::Broken(why)) = server.lookup(host).await else { panic!("{host} is broken") };
        assert!(why.starts_with("the name server answered"), "{why}");
    }
}

#[tokio::test]
async fn a_thousand_records_arrive_over_tcp() {
    let server = Server::start(|_, of| match of {
        RecordType::A => Reply::Addrs((0..1000).map(|n| Ipv4Addr::from(0x0a00_0000 + n).into()).collect(), 30),
        _ => NO_DATA,
    })
    .await;

    let answer = server.lookup("many.test").await.expect("answer");

    assert_eq!(answer.addrs.len(), 1000);
    assert_eq!(bounded(answer.addrs).len(), MAX_ADDRS);
}

#[tokio::test]
async fn a_server_that_drops_the_ipv6_question_costs_only_the_grace() {
    let server = Server::start(|_, of| match of {
        RecordType::A => Reply::Addrs(vec![ip("10.0.0.1")], 30),
        _ => Reply::Silence,
    })
    .await;
    let servers = server.patient(&[], 1, Duration::from_secs(20));
    let start = Instant::now();

    assert_eq!(servers.lookup(&Name::from_ascii("a.test").expect("name")).await, says("10.0.0.1", 30));

    assert!(Instant::now() - start < Duration::from_secs(10), "waited for the timeout");
}

#[tokio::test]
async fn a_broken_ipv6_answer_does_not_hide_the_ipv4_one_nor_the_other_way_round() {
    let v4 = Server::start(|_, of| match of {
        RecordType::A => Reply::Addrs(vec![ip("10.0.0.1")], 30),
        _ => Reply::Code(ResponseCode::ServFail),
    })
    .await;
    let v6 = Server::start(|_, of| match of {
        RecordType::AAAA => Reply::Addrs(vec![ip("2001:db8::1")], 30),
        _ => Reply::Code(ResponseCode::ServFail),
    })
    .await;

    assert_eq!(v4.lookup("a.test").await, says("10.0.0.1", 30));
    assert_eq!(v6.lookup("a.test").await, says("2001:db8::1", 30));
}

#[tokio::test]
async fn the_families_of_two_suffixes_are_not_mixed() {
    let server = Server::start(|name, of| match (name, of) {
        ("db.one.test.", RecordType::A) => Reply::Addrs(vec![ip("10.0.0.1")], 30),
        ("db.one.test.", _) => NO_DATA,
        ("db.two.test.", RecordType::AAAA) => Reply::Addrs(vec![ip("2001:db8::2")], 30),
        _ => NO_NAME,
    })
    .await;
    let name = Name::from_ascii("db").expect("name");

    let answer = server.servers(&["zero.test", "one.test", "two.test"], 1).lookup(&name).await;

    assert_eq!(answer, says("10.0.0.1", 30));
    assert!(!server.asked.lock().iter().any(|asked| asked.contains("two.test")));
}

#[tokio::test]
async fn a_suffix_that_breaks_does_not_hide_the_name_itself() {
    let server = Server::start(|name, of| match (name, of) {
        ("api.test.", RecordType::A) => Reply::Addrs(vec![ip("10.0.0.1")], 30),
        ("api.test.", _) => NO_DATA,
        _ => Reply::Code(ResponseCode::ServFail),
    })
    .await;
    let name = Name::from_ascii("api.test").expect("name");

    assert_eq!(server.servers(&["corp"], 5).lookup(&name).await, says("10.0.0.1", 30));
}

#[tokio::test]
async fn underscores_are_asked_for_and_nonsense_is_not() {
    let server = Server::start(|_, of| match of {
        RecordType::A => Reply::Addrs(vec![ip("10.0.0.1")], 30),
        _ => NO_DATA,
    })
    .await;

    assert_eq!(server.lookup("my_host.test").await, says("10.0.0.1", 30));
    let system = System::at("/nonexistent/hosts", "/nonexistent/resolv.conf");
    let long = system.lookup("a".repeat(64).into()).await;
    assert_eq!(long, Err(Failure::Absent("not a domain name".into())));
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_read_again_after_five_seconds() {
    let dir = tempfile::tempdir().expect("dir");
    let (hosts, resolv) = (dir.path().join("hosts"), dir.path().join("resolv.conf"));
    let system = System::at(&hosts, &resolv);

    let Err(Failure::Broken(why)) = system.lookup("a.test".into()).await else { panic!("no servers") };
    assert!(why.contains("resolv.conf"), "{why}");

    fs::write(&hosts, "10.0.0.1 a.test b.test # both\n").expect("written");
    assert!(system.lookup("a.test".into()).await.is_err(), "looked again within five seconds");
    pass(5).await;
    assert_eq!(system.lookup("a.test".into()).await, says("10.0.0.1", 60));

    fs::write(&hosts, "10.0.0.22 a.test\n2001:db8::1 a.test\n").expect("written");
    pass(5).await;
    let answer = system.lookup("a.test".into()).await.expect("answer");
    assert_eq!(answer.addrs, [ip("2001:db8::1"), ip("10.0.0.22")]);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn the_last_good_servers_stay_while_the_file_is_bad() {
    let dir = tempfile::tempdir().expect("dir");
    let resolv = dir.path().join("resolv.conf");
    let system = System::at(dir.path().join("hosts"), &resolv);
    let search = || system.current(read_clock()).1.map(|servers| servers.search_list()).ok();

    fs::write(&resolv, "nameserver 127.0.0.1\nsearch one.test\n").expect("written");
    assert_eq!(search().as_deref(), Some("one.test"));
    fs::write(&resolv, "").expect("written");
    pass(5).await;
    assert_eq!(search().as_deref(), Some("one.test"));
    fs::write(&resolv, "nameserver 127.0.0.1\nsearch three.test four.test\noptions ndots:5\n").expect("written");
    pass(5).await;
    assert_eq!(search().as_deref(), Some("three.test four.test"));
}
