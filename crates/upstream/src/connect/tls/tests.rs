use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority and what it signs.
struct Ca(CertifiedIssuer<'static, KeyPair>);

struct Leaf {
    cert: String,
    key: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("ca"))
    }

    fn pem(&self) -> Pem {
        text(&self.0.pem())
    }

    fn leaf(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        let cert = params.signed_by(&key, &self.0).expect("signed").pem();
        Leaf { cert, key: key.serialize_pem() }
    }
}

impl Leaf {
    fn server(&self, alpn: &[&str], clients: Option<&Ca>) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.0.der().clone()).expect("root");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("verifier"))
            }
        };
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect::<Result<_, _>>().expect("pem");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("pem");
        let mut config = builder.with_single_cert(chain, key).expect("pair");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

fn text(pem: &str) -> Pem {
    Pem::Text(pem.as_bytes().into())
}

fn trusting(ca: &Ca) -> Params {
    Params { ca: Some(ca.pem()), ..Params::default() }
}

fn name(host: &str) -> ServerName<'static> {
    server_name(host).expect("name")
}

/// What the server saw of a handshake.
struct Seen {
    kind: Option<HandshakeKind>,
    client_certificates: usize,
}

/// One handshake over loopback; one byte follows it, so that tickets arrive.
async fn shake(
    tls: &Tls,
    host: &str,
    flavour: Flavour,
    server: &Arc<ServerConfig>,
) -> (Result<Alpn, Error>, Option<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let addr = listener.local_addr().expect("bound");
    let acceptor = TlsAcceptor::from(Arc::clone(server));
    let serve = async {
        let (tcp, _) = listener.accept().await.expect("a client");
        let mut stream = acceptor.accept(tcp).await.ok()?;
        stream.write_all(b"x").await.ok()?;
        let _ = stream.read(&mut [0]).await;
        let state = stream.get_ref().1;
        let client_certificates = state.peer_certificates().map_or(0, <[_]>::len);
        Some(Seen { kind: state.handshake_kind(), client_certificates })
    };
    let connect = async {
        let tcp = TcpStream::connect(addr).await.expect("a server");
        let (mut io, alpn) = tls.handshake(name(host), flavour, tcp.into()).await?;
        assert!(io.tcp().is_some(), "a bare socket stays visible");
        let _ = io.read(&mut [0]).await;
        Ok(alpn)
    };
    tokio::join!(connect, serve)
}

async fn refused(tls: &Tls, host: &str, server: ServerConfig) -> (ErrorKind, String) {
    let error = shake(tls, host, Flavour::Auto, &Arc::new(server)).await.0.expect_err("refused");
    assert_eq!(error.sent, exchange::Sent::Nothing);
    (error.kind, error.detail().expect("detail"))
}

#[tokio::test]
async fn each_flavour_agrees_on_what_it_offers() {
    let ca = Ca::new("test");
    let leaf = ca.leaf(&["a.test"], |_| {});
    let tls = Tls::new(&trusting(&ca)).expect("tls");
    let both = &["h2", "http/1.1"][..];

    for (flavour, alpn, expected) in [
        (Flavour::Auto, both, Ok(Alpn::H2)),
        (Flavour::H1, both, Ok(Alpn::H1)),
        (Flavour::H2, both, Ok(Alpn::H2)),
        (Flavour::Auto, &["http/1.1"], Ok(Alpn::H1)),
        (Flavour::Auto, &[], Ok(Alpn::H1)),
        (Flavour::H1, &[], Ok(Alpn::H1)),
        (Flavour::H2, &[], Err(ErrorKind::Tls)),
        (Flavour::H2, &["http/1.1"], Err(ErrorKind::Tls)),
        (Flavour::H1, &["h2"], Err(ErrorKind::Tls)),
    ] {
        let server = Arc::new(leaf.server(alpn, None));
        let agreed = shake(&tls, "a.test", flavour, &server).await.0.map_err(|error| error.kind);
        assert_eq!(agreed, expected, "{flavour:?} with {alpn:?}");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_named_so() {
    let ca = Ca::new("test");
    let leaf = ca.leaf(&["a.test"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let tls = Tls::new(&trusting(&ca)).expect("tls");

    let (kind, detail) = refused(&tls, "a.test", leaf.server(&[], None)).await;

    assert_eq!(kind, ErrorKind::TlsCertificate);
    assert!(detail.starts_with("a.test: the certificate expired ") && detail.ends_with(" days ago"), "{detail}");
}

#[tokio::test]
async fn a_certificate_of_the_future_asks_for_the_clock() {
    let ca = Ca::new("test");
    let leaf = ca.leaf(&["a.test"], |params| params.not_before = date_time_ymd(3000, 1, 1));
    let tls = Tls::new(&trusting(&ca)).expect("tls");

    let (kind, detail) = refused(&tls, "a.test", leaf.server(&[], None)).await;

    assert_eq!(kind, ErrorKind::TlsCertificate);
    assert!(detail.contains("clock"), "{detail}");
}

#[tokio::test]
async fn a_certificate_for_another_host_lists_its_names() {
    let ca = Ca::new("test");
    let leaf = ca.leaf(&["b.test", "*.c.test"], |_| {});
    let tls = Tls::new(&trusting(&ca)).expect("tls");

    let (kind, detail) = refused(&tls, "a.test", leaf.server(&[], None)).await;

    assert_eq!(kind, ErrorKind::TlsCertificate);
    assert_eq!(detail, "a.test: the certificate is for b.test, *.c.test, not for this host");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_by_a_bundle_and_by_the_system() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let leaf = theirs.leaf(&["a.test"], |_| {});

    for params in [trusting(&ours), Params::default()] {
        let tls = Tls::new(&params).expect("tls");
        let (kind, detail) = refused(&tls, "a.test", leaf.server(&[], None)).await;
        assert_eq!(kind, ErrorKind::TlsCertificate);
        assert!(detail.contains("unknown authority") && detail.contains("tls.ca"), "{detail}");
    }
}

#[tokio::test]
async fn addresses_are_verified_as_addresses() {
    let ca = Ca::new("test");
    let leaf = ca.leaf(&["127.0.0.1"], |_| {});
    let tls = Tls::new(&trusting(&ca)).expect("tls");
    let ip = tls.server_name(&Host::Ip([127, 0, 0, 1].into())).expect("name");

    assert_eq!(ip, name("127.0.0.1"));
    let server = Arc::new(leaf.server(&[], None));
    assert!(shake(&tls, "127.0.0.1", Flavour::Auto, &server).await.0.is_ok());
    assert_eq!(refused(&tls, "127.0.0.2", leaf.server(&[], None)).await.0, ErrorKind::TlsCertificate);
}

#[tokio::test]
async fn the_configured_name_replaces_the_hosts() {
    let ca = Ca::new("test");
    let params = Params { sni: Some("inner.test".into()), ..trusting(&ca) };
    let tls = Tls::new(&params).expect("tls");

    assert_eq!(tls.server_name(&Host::Name("a.test".into())).expect("name"), name("inner.test"));
}

#[tokio::test]
async fn our_certificate_is_presented_when_asked_for() {
    let ca = Ca::new("test");
    let (leaf, ours) = (ca.leaf(&["a.test"], |_| {}), ca.leaf(&["client.test"], |_| {}));
    let identity = Some((text(&ours.cert), text(&ours.key)));
    let tls = Tls::new(&Params { identity, ..trusting(&ca) }).expect("tls");
    let server = Arc::new(leaf.server(&[], Some(&ca)));

    let (agreed, seen) = shake(&tls, "a.test", Flavour::Auto, &server).await;

    assert!(agreed.is_ok());
    assert_eq!(seen.expect("a handshake").client_certificates, 1);
}

#[tokio::test]
async fn a_port_for_plain_http_and_one_that_closes_are_told_apart() {
    let tls = Tls::new(&trusting(&Ca::new("test"))).expect("tls");

    for (answer, expected) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "plain http"), (b"", "closed")] {
        let (client, mut server) = duplex(4096);
        server.write_all(answer).await.expect("written");
        server.shutdown().await.expect("closed");

        let error = tls.handshake(name("a.test"), Flavour::Auto, Io::other(client)).await.expect_err("no tls");

        let detail = error.detail().expect("detail");
        assert_eq!(error.kind, ErrorKind::Tls);
        assert!(detail.contains(expected), "{detail}");
    }
}

#[tokio::test]
async fn any_stream_can_carry_tls() {
    let ca = Ca::new("test");
    let server = Arc::new(ca.leaf(&["a.test"], |_| {}).server(&["h2"], None));
    let tls = Tls::new(&trusting(&ca)).expect("tls");
    let (client, far) = duplex(65_536);

    let (ours, theirs) = tokio::join!(
        tls.handshake(name("a.test"), Flavour::Auto, Io::other(client)),
        TlsAcceptor::from(server).accept(far)
    );

    assert_eq!(ours.expect("agreed").1, Alpn::H2);
    assert!(theirs.is_ok());
}

#[tokio::test]
async fn handshakes_are_resumed_across_lookups_of_the_same_configuration() {
    let ca = Ca::new("test");
    let server = Arc::new(ca.leaf(&["a.test"], |_| {}).server(&["h2", "http/1.1"], None));
    let store = Store::default();
    let first = store.tls(&trusting(&ca)).expect("tls");
    let again = store.tls(&trusting(&ca)).expect("tls");
    let kind = |seen: Option<Seen>| seen.and_then(|seen| seen.kind);

    let (_, fresh) = shake(&first, "a.test", Flavour::Auto, &server).await;
    let (_, resumed) = shake(&again, "a.test", Flavour::H1, &server).await;

    assert_ne!(kind(fresh), Some(HandshakeKind::Resumed));
    assert_eq!(kind(resumed), Some(HandshakeKind::Resumed));
}

#[test]
fn equal_contents_are_one_configuration_and_a_renewed_file_is_another() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("ca.pem");
    let (ca, renewed) = (Ca::new("test"), Ca::new("test"));
    fs::write(&path, ca.0.pem()).expect("written");
    let params = Params { ca: Some(Pem::File(path.clone())), ..Params::default() };
    let store = Store::default();

    let first = store.tls(&params).expect("tls");
    assert_eq!(first, store.tls(&params).expect("tls"));
    assert_eq!(first, store.tls(&trusting(&ca)).expect("tls"));
    assert_ne!(first, store.tls(&Params { min: Version::V13, ..params.clone() }).expect("tls"));
    assert_ne!(first, store.tls(&Params { sni: Some("b.test".into()), ..params.clone() }).expect("tls"));
    fs::write(&path, renewed.0.pem()).expect("written");
    assert_ne!(first, store.tls(&params).expect("tls"));
}

#[test]
fn a_configuration_nobody_uses_is_forgotten() {
    let store = Store::default();

    for index in 0..10 {
        drop(store.tls(&trusting(&Ca::new(&index.to_string()))).expect("tls"));
    }

    assert_eq!(store.state.lock().known.len(), 1);
}

#[test]
fn unusable_files_are_named_with_what_to_do() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new("test");
    let (one, other) = (ca.leaf(&["a.test"], |_| {}), ca.leaf(&["a.test"], |_| {}));
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("written");
        Pem::File(path)
    };
    let identity = |cert: &Pem, key: &Pem| Params { identity: Some((cert.clone(), key.clone())), ..Params::default() };
    let authority = |pem: Pem| Params { ca: Some(pem), ..Params::default() };
    let (cert, key) = (file("cert.pem", &one.cert), file("key.pem", &one.key));
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    for (params, place, advice) in [
        (authority(Pem::File(dir.path().join("missing.pem"))), "missing.pem", "tls.ca"),
        (authority(file("empty.pem", "")), "empty.pem", "tls.ca must hold certificates"),
        (authority(key.clone()), "key.pem", "tls.ca must hold certificates"),
        (authority(file("bad.pem", bad)), "bad.pem", "tls.ca must hold authorities' certificates"),
        (identity(&cert, &cert), "cert.pem", "tls.key must hold one private key"),
        (identity(&cert, &file("other.pem", &other.key)), "other.pem", "does not fit the certificate"),
    ] {
        let error = Tls::new(&params).expect_err(place);
        let shown = error.to_string();
        assert!(shown.contains(place) && shown.contains(advice), "{shown}");
        assert!(error.path().is_some_and(|path| path.ends_with(place)), "{shown}");
    }
    let sni = Params { sni: Some("not a host".into()), ..Params::default() };
    assert!(Tls::new(&sni).expect_err("sni").to_string().contains("not a host"));
    assert!(Tls::new(&identity(&cert, &key)).is_ok());
}

#[tokio::test]
async fn a_machine_without_a_trust_store_has_the_compiled_in_roots() {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let none = Err(rustls::Error::General("no certificates".into()));

    let fallback = or_compiled_in(none, &provider).expect("roots");

    let store = Store::default();
    store.state.lock().system = Some(fallback);
    let tls = store.tls(&Params::default()).expect("tls");
    let leaf = Ca::new("test").leaf(&["a.test"], |_| {});
    assert_eq!(refused(&tls, "a.test", leaf.server(&[], None)).await.0, ErrorKind::TlsCertificate);
}
