//! Through proxies by others: squid and tinyproxy, both with a password. Not run by default, because they have to be on
//! this machine: `cargo test --test parents_real -- --ignored`.

#![cfg(unix)]
#![allow(clippy::panic, clippy::print_stderr, reason = "a failed expectation fails the test")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use testkit::{Certs, Proxy, Reply, Upstream, eventually};
use tokio::net::TcpStream;

/// A running proxy; it ends when dropped.
struct Real {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Real {
    async fn squid(resolve: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free();
        let at = dir.path().display();
        std::fs::write(dir.path().join("hosts"), resolve).expect("written");
        // basic_ncsa_auth reads what crypt(3) makes.
        let hash = Command::new("openssl").args(["passwd", "-6", "secret"]).output().expect("openssl").stdout;
        std::fs::write(dir.path().join("users"), [b"me:", hash.as_slice()].concat()).expect("written");
        let config = format!(
            "http_port 127.0.0.1:{port}\npid_filename {at}/pid\ncache deny all\ncache_log {at}/cache.log\n\
             access_log stdio:{at}/access.log\ncoredump_dir {at}\nhosts_file {at}/hosts\n\
             auth_param basic program /usr/lib/squid/basic_ncsa_auth {at}/users\nacl known proxy_auth REQUIRED\n\
             acl secret dstdomain .secret.test\nhttp_access deny secret\nhttp_access allow known\nhttp_access deny all\n\
             shutdown_lifetime 0 seconds\nvisible_hostname parent.test\n"
        );
        std::fs::write(dir.path().join("squid.conf"), config).expect("written");
        // Started by root it becomes `proxy`, which must reach its files; anybody else it stays.
        let _ = Command::new("chown").args(["-R", "proxy"]).arg(dir.path()).stderr(Stdio::null()).status();
        // Its shared memory has the name of the service.
        Self::start(
            "squid",
            &["-N", "-n", &format!("attache{port}"), "-f", &dir.path().join("squid.conf").display().to_string()],
            port,
            dir,
        )
        .await
    }

    async fn tinyproxy() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free();
        let at = dir.path().display();
        std::fs::write(dir.path().join("filter"), "secret\\.test\n").expect("written");
        let config = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nLogFile \"{at}/access.log\"\nLogLevel Connect\nMaxClients 20\n\
             BasicAuth me secret\nFilter \"{at}/filter\"\nViaProxyName \"parent\"\n"
        );
        std::fs::write(dir.path().join("tinyproxy.conf"), config).expect("written");
        Self::start("tinyproxy", &["-d", "-c", &dir.path().join("tinyproxy.conf").display().to_string()], port, dir)
            .await
    }

    async fn start(program: &str, arguments: &[&str], port: u16, dir: tempfile::TempDir) -> Self {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let log = std::fs::File::create(dir.path().join("said")).expect("a file");
        let process = Command::new(program)
            .args(arguments)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; it is a Debian package"));
        let real = Self { process, port, dir };
        eventually(program, || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
        real
    }

    /// As the configuration names it; `password` is a file's.
    fn parent(&self, password: &str) -> String {
        let file = self.dir.path().join(format!("password-{password}"));
        std::fs::write(&file, password).expect("written");
        format!(
            "parent: {{ url: 'http://127.0.0.1:{}', for: [localhost, target.invalid, '*.secret.test'], auth: {{ basic: {{ user: me, password: {{ file: {} }} }} }} }}\n",
            self.port,
            file.display()
        )
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // It may have ended by itself, and then the test has failed already. squid tidies its shared memory up.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default();
            eprintln!("--- parent\n{}{said}---", self.log());
        }
    }
}

/// A port that nobody has right now: neither program says which it got.
fn free() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

/// HTTPS, plain HTTP, a refused host and a wrong password.
async fn goes_through(real: &Real, host: &str) {
    let certs = Certs::default();
    let secure = Upstream::tls(certs.server(host, &["h2", "http/1.1"]), |_| Reply::ok("end to end")).await;
    let plain = Upstream::http(|seen| Reply::ok(seen.target.clone())).await;
    let (plain_port, secure_port, ca) = (plain.port(), secure.port(), certs.ca());
    let routes = format!(
        "routes:\n  - {{ match: api.test, to: 'https://{host}:{secure_port}', tls: {{ ca: {ca} }} }}\n\
         \x20 - {{ match: plain.test, to: 'http://{host}:{plain_port}' }}\n\
         \x20 - {{ match: denied.test, to: 'https://a.secret.test' }}\n"
    );
    let proxy = Proxy::start(&format!("{}{routes}", real.parent("secret")));

    for _ in 0..3 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "end to end");
        assert_eq!(proxy.get("http://plain.test/x?y=1").await.text(), "/x?y=1");
        let posted = proxy.call("POST", "http://plain.test/", &[], &"b".repeat(100_000)).await;
        assert_eq!(posted.status, 200);
    }
    let denied = proxy.get("http://denied.test/").await;
    assert_eq!((denied.status, denied.reason().as_str()), (502, "parent_proxy"));
    assert!(denied.text().contains("403"), "{}", denied.text());

    let seen = [secure.requests(), plain.requests()].concat();
    assert!(seen.iter().all(|seen| seen.header("proxy-authorization").is_none()), "{seen:?}");
    assert_eq!(secure.connections(), 1, "the tunnel is kept");
    assert!(plain.requests().iter().any(|seen| seen.body.len() == 100_000 && seen.whole));
    assert!(real.log().contains("CONNECT"), "{}", real.log());

    let wrong = Proxy::start(&format!("{}{routes}", real.parent("guess")));
    for url in ["http://api.test/", "http://plain.test/"] {
        let refused = wrong.get(url).await;
        // tinyproxy says 401 to whom it does not know, and of an answer to a whole target that is anybody's.
        let told = refused.status == 401 || (refused.reason() == "parent_proxy" && refused.text().contains("40"));
        assert!(told, "{url}: {refused:?}");
    }
}

#[tokio::test]
#[ignore = "needs squid"]
async fn squid_lets_us_through_and_refuses_as_it_should() {
    assert!(Path::new("/usr/lib/squid/basic_ncsa_auth").exists(), "the Debian package squid is not installed");
    // The name exists for squid alone: nobody here resolves it.
    let real = Real::squid("127.0.0.1 target.invalid\n").await;

    goes_through(&real, "target.invalid").await;
}

#[tokio::test]
#[ignore = "needs tinyproxy"]
async fn tinyproxy_lets_us_through_and_refuses_as_it_should() {
    let real = Real::tinyproxy().await;

    goes_through(&real, "localhost").await;
}
