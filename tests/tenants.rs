//! One daemon, several users: real processes under different users are told apart, over loopback TCP and a unix socket.
//!
//! Only root can start processes as somebody else, so this is not part of a plain `cargo test`; `tests/all` runs it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::child;
use testkit::{Reply, Upstream};

/// Users that exist nowhere, so that no other process is theirs.
const FIRST: u32 = 61_001;
const SECOND: u32 = 61_002;
const THIRD: u32 = 61_003;

fn only_root() {
    assert!(rustix::process::geteuid().is_root(), "this test starts processes as other users: run it as root");
}

/// The status and the body that curl got as this user, through the proxy at `by`.
async fn curl(uid: u32, by: &[String], url: &str) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"]).args(by).arg(url);
    command.uid(uid).gid(uid).env_clear().current_dir("/").stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("waited for").expect("curl runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), body.to_owned())
}

/// Whatever secret came with it.
async fn echo() -> Upstream {
    Upstream::http(|seen| Reply::ok(seen.header("authorization").unwrap_or("nothing").to_owned())).await
}

/// The daemon, on loopback TCP and a unix socket at once.
struct Daemon {
    process: std::process::Child,
    tcp: String,
    dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    async fn start(routes: impl Fn(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // Others must get as far as the socket, and no further.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).expect("opened");
        for (name, secret) in [("first", "secret-of-first"), ("second", "secret-of-second")] {
            std::fs::write(dir.path().join(name), secret).expect("written");
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o600)).expect("closed");
        }
        let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
        let tcp = free().to_string();
        let text = format!(
            "listen: ['{tcp}', {{ address: 'unix:{0}/proxy.sock', mode: '0666' }}]\nadmin: {{ address: 'unix:{0}/admin.sock', \
             mode: '0666', users: [{SECOND}] }}\nworkers: 1\nlog: {{ access: {{ path: {0}/access.log, format: json }} }}\n{1}",
            dir.path().display(),
            routes(dir.path()),
        );
        let config = dir.path().join("attache.yaml");
        std::fs::write(&config, &text).expect("written");
        let process = Command::new(child::program(env!("CARGO_BIN_EXE_attache")))
            .arg("-c")
            .arg(&config)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let daemon = Self { process, tcp, dir };
        child::until("it listens", Duration::from_secs(20), || async {
            std::net::TcpStream::connect(&daemon.tcp).is_ok() && daemon.dir.path().join("admin.sock").exists()
        })
        .await;
        daemon
    }

    fn unix(&self) -> std::path::PathBuf {
        self.dir.path().join("proxy.sock")
    }

    /// What makes curl go by each of its doors.
    fn doors(&self) -> [[String; 2]; 2] {
        let unix = self.unix().to_str().expect("text").to_owned();
        [["--proxy".into(), format!("http://{}", self.tcp)], ["--unix-socket".into(), unix]]
    }

    /// Its access log, once it has stopped.
    async fn log(mut self) -> Vec<serde_json::Value> {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        child::until("it ends", Duration::from_secs(20), || {
            std::future::ready(self.process.try_wait().is_ok_and(|done| done.is_some()))
        })
        .await;
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn routes(dir: &Path, upstream: &Upstream) -> String {
    let route = |name: &str, uid: u32, rate: &str| {
        format!(
            "  - name: {name}\n    match: {{ host: api.test, who: 'user:{uid}' }}\n    to: {}\n    auth: {{ bearer: {{ file: \
             {} }} }}\n    limit: {{ rate: {rate}/h }}\n",
            upstream.url(""),
            dir.join(name).display(),
        )
    };
    format!("routes:\n{}{}", route("first", FIRST, "2"), route("second", SECOND, "4"))
}

/// How many of six are admitted, and what all of those carried.
async fn admitted(uid: u32, by: &[String], url: &str) -> (usize, Vec<String>) {
    let mut bodies = Vec::new();
    for _ in 0..6 {
        match curl(uid, by, url).await {
            (200, body) => bodies.push(body),
            (status, body) => assert_eq!(status, 429, "{body}"),
        }
    }
    let count = bodies.len();
    bodies.dedup();
    (count, bodies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, to start processes as other users; tests/all runs it"]
async fn two_users_have_credentials_and_limits_of_their_own_and_a_third_has_none() {
    only_root();
    let upstream = echo().await;
    for door in [0, 1] {
        let daemon = Daemon::start(|dir| routes(dir, &upstream)).await;
        let by = daemon.doors()[door].clone();

        let first = admitted(FIRST, &by, "http://api.test/").await;
        let second = admitted(SECOND, &by, "http://api.test/").await;
        let third = curl(THIRD, &by, "http://api.test/").await;
        let root = curl(0, &by, "http://api.test/").await;

        assert_eq!(first, (2, vec!["Bearer secret-of-first".to_owned()]), "{by:?}");
        assert_eq!(second, (4, vec!["Bearer secret-of-second".to_owned()]), "{by:?}");
        assert_eq!((third.0, root.0), (403, 403), "{by:?}: {} {}", third.1, root.1);
        assert!(third.1.contains("match: who") && !third.1.contains("61001"), "{}", third.1);
        let log = daemon.log().await;
        let users: Vec<_> = log.iter().map(|line| line["user"].as_str().unwrap_or("?").to_owned()).collect();
        let expected = [(FIRST, 6), (SECOND, 6), (THIRD, 1)].map(|(uid, times)| vec![uid.to_string(); times]).concat();
        assert_eq!(users, [expected, vec!["root".to_owned()]].concat());
        assert_eq!((&log[12]["denied"], &log[13]["denied"]), (&"route".into(), &"route".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, to start processes as other users; tests/all runs it"]
async fn over_admins_socket_a_user_looks_and_only_those_who_may_change() {
    only_root();
    let text = "metrics: { identities: 9 }\nroutes: [{ match: api.test, respond: 204 }]\n";
    let daemon = Daemon::start(|_| text.to_owned()).await;
    assert_eq!(curl(FIRST, &daemon.doors()[0], "http://api.test/").await.0, 204);
    let socket = daemon.dir.path().join("admin.sock").to_str().expect("text").to_owned();
    let by = ["--unix-socket".to_owned(), socket];
    let change = [&by[..], &["-X", "POST", "-H", "x-attache: 1"].map(str::to_owned)].concat();

    for (uid, may) in [(FIRST, false), (SECOND, true), (0, true), (THIRD, false)] {
        let expected = if may { 200 } else { 403 };
        assert_eq!(curl(uid, &by, "http://localhost/api/v1/status").await.0, 200, "{uid}");
        let (status, metrics) = curl(uid, &by, "http://localhost/metrics").await;
        assert!(status == 200 && metrics.contains("attache_requests_total{"), "{uid}: {metrics}");
        let named = format!("attache_identity_requests_total{{identity=\"uid:{FIRST}\"");
        assert_eq!(metrics.contains(&named), may, "{uid}: {metrics}");
        assert_eq!(metrics.contains("identity"), may, "{uid}: {metrics}");
        for of_all in ["config", "upstreams", "breakers"] {
            assert_eq!(
                curl(uid, &by, &format!("http://localhost/api/v1/{of_all}")).await.0,
                expected,
                "{uid} {of_all}"
            );
        }
        assert_eq!(curl(uid, &by, "http://localhost/api/v1/explain?url=http://api.test/").await.0, expected, "{uid}");
        let (status, body) = curl(uid, &change, "http://localhost/api/v1/reload").await;
        assert_eq!(status, expected, "{uid}: {body}");
    }
    daemon.log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, to start processes as other users; tests/all runs it"]
async fn one_route_counts_each_user_by_itself_and_some_by_other_numbers() {
    only_root();
    let upstream = echo().await;
    let daemon = Daemon::start(|dir| {
        format!(
            "routes:\n  - match: api.test\n    to: {}\n    auth: {{ bearer: {{ file: {} }} }}\n    allow: ['user:{FIRST}', \
             'user:{SECOND}']\n    limit: {{ rate: 2/h, per: identity, for: [{{ who: 'user:{SECOND}', rate: 4/h }}] }}\n",
            upstream.url(""),
            dir.join("first").display(),
        )
    })
    .await;
    let by = daemon.doors()[0].clone();

    assert_eq!(admitted(FIRST, &by, "http://api.test/").await.0, 2);
    assert_eq!(admitted(SECOND, &by, "http://api.test/").await.0, 4);
    let (status, body) = curl(THIRD, &by, "http://api.test/").await;
    assert_eq!(status, 403);
    assert!(body.contains("this caller (uid 61003") && body.contains("rule 2 fails at `user`"), "{body}");
    assert!(!body.contains("61001") && !body.contains("secret-of"), "{body}");
}
