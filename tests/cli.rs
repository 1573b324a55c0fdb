//! The command line as a shell sees it: the real binary, its exit codes, streams, signals and files.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for what must come, so that a failure is a message and not a hanging test.
const PATIENCE: Duration = Duration::from_secs(30);

/// An empty directory to work in, and nothing of the caller's environment that could change a result.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn attache(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
        command.args(args).current_dir(self.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path()).env("XDG_RUNTIME_DIR", self.path());
        command.env("ATTACHE", env!("CARGO_BIN_EXE_attache"));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.attache(args).output().unwrap())
    }

    /// A command through a proxy of its own.
    fn sh(&self, script: &str) -> Ran {
        self.run(&["run", "--", "sh", "-c", script])
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(of: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: of.status.code(), stdout: text(of.stdout), stderr: text(of.stderr) }
    }
}

impl Ran {
    #[track_caller]
    fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "{self:#?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        assert_eq!(value["version"], 1, "{value}");
        value
    }
}

fn signal(name: &str, child: &Child) {
    let killed = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// The next line, without its end.
fn line(of: &mut impl BufRead) -> String {
    let mut line = String::new();
    of.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A `serve` on free ports that has said where it listens; ends with its owner.
struct Serving {
    child: Child,
    lines: Receiver<String>,
    proxy: String,
    admin: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn start(place: &Place, more: &[&str]) -> Self {
        let admin = format!("unix:{}", place.path().join("a.sock").display());
        let mut args = vec!["--listen", "127.0.0.1:0", "--admin", &admin, "--workers", "1"];
        args.extend(more);
        let mut child = place.attache(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut serving = Self { child, lines, proxy: String::new(), admin };
        let said = serving.says("listening on http://");
        let listening = said.rsplit("http://").next().unwrap();
        serving.proxy = listening.split([',', ' ']).next().unwrap().to_owned();
        serving
    }

    /// The next message that contains `text`.
    #[track_caller]
    fn says(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => said.push(line),
                Err(error) => panic!("{error}: no {text:?} in {said:#?}"),
            }
        }
    }

    #[track_caller]
    fn ends_with(mut self, code: i32) {
        // Its end of the pipe closes when it ends.
        let mut said = Vec::new();
        let end = loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(end) => break end,
            }
        };
        assert_eq!(end, RecvTimeoutError::Disconnected, "still there: {said:#?}");
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{said:#?}");
    }
}

/// A request that is in flight: its upstream has read it and does not answer.
fn stuck(proxy: &str, upstream: TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(proxy).unwrap();
    let host = upstream.local_addr().unwrap();
    write!(client, "GET http://{host}/ HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(upstream.accept().unwrap().0));
    let mut accepted = told.recv_timeout(PATIENCE).unwrap();
    assert!(accepted.read(&mut [0; 1024]).unwrap() > 0);
    (client, accepted)
}

#[test]
fn wrong_usage_ends_with_2_and_says_nothing_on_stdout() {
    let place = Place::new();

    for args in [&["nope"][..], &["run"], &["--workers", "2", "status"], &["env", "--shell", "tcsh"], &["man", "nope"]]
    {
        let ran = place.run(args).code(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{args:?} {ran:#?}");
    }
}

#[test]
fn help_lists_what_exists_and_nothing_else() {
    let help = Place::new().run(&["--help"]).code(0).stdout;

    let listed = |name: &str| help.lines().any(|line| line.trim_start().split(' ').next() == Some(name));
    for name in [
        "serve",
        "run",
        "demo",
        "check",
        "explain",
        "env",
        "init",
        "config",
        "doctor",
        "reload",
        "healthcheck",
        "status",
    ] {
        assert!(listed(name), "{name}: {help}");
    }
    for name in ["why", "tap", "top", "drain", "inject"] {
        assert!(!listed(name), "{name}: {help}");
    }
}

#[test]
fn init_writes_a_file_that_check_accepts_and_does_not_overwrite_it() {
    let place = Place::new();

    place.run(&["init", "api.test:8443"]).code(0);
    let text = std::fs::read_to_string(place.path().join("attache.yaml")).unwrap();
    let checked = place.run(&["check", "--json"]).code(0);

    assert!(text.starts_with("# yaml-language-server: $schema="), "{text}");
    assert!(text.contains("to: https://api.test:8443"), "{text}");
    assert_eq!(checked.json()["ok"], true);
    assert_eq!(checked.json()["diagnostics"], serde_json::json!([]));
    let again = place.run(&["init"]).code(1);
    assert!(again.stderr.contains("--force"), "{again:#?}");
    place.run(&["init", "--force"]).code(0);
}

#[test]
fn check_says_every_error_at_once_on_stderr_or_as_json_on_stdout() {
    let place = Place::new();
    let file = place.write("a.yaml", "lissten: 127.0.0.1:1\nroutes:\n  - match: a.test\n    retyr: 3\n");

    let text = place.run(&["check", &file]).code(1);
    let json = place.run(&["check", &file, "--json"]).code(1);

    assert!(text.stdout.is_empty(), "{text:#?}");
    assert!(text.stderr.contains("a.yaml:1:1") && text.stderr.contains("a.yaml:4:5"), "{text:#?}");
    assert_eq!(json.json()["ok"], false);
    assert_eq!(json.json()["diagnostics"].as_array().unwrap().len(), 2, "{json:#?}");
    assert!(json.stderr.is_empty(), "{json:#?}");
}

#[test]
fn check_online_tries_each_upstream_and_secret() {
    let place = Place::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = upstream.local_addr().unwrap();
    // A port that is taken and refuses: a free one could become another test's.
    let refusing = TcpStream::connect(at).unwrap();
    let token = place.write("token", "s3cret");
    let config = |at| {
        let auth = format!("auth: {{ bearer: {{ file: {token} }} }}");
        format!("resolve: {{a.test: \"{at}\"}}\nroutes:\n  - match: a.test\n    to: http://a.test\n    {auth}\n")
    };

    let good = place.run(&["check", &place.write("a.yaml", &config(at)), "--online"]).code(0);
    let closed = config(refusing.local_addr().unwrap());
    let bad = place.run(&["check", &place.write("b.yaml", &closed), "--online", "--json"]).code(1);

    assert_eq!(good.stdout.lines().count(), 2, "{good:#?}");
    assert!(!good.stdout.contains("s3cret"), "{good:#?}");
    assert_eq!(bad.json()["online"][0]["ok"], false);
    assert_eq!(bad.json()["online"][1]["ok"], true);
}

#[test]
fn the_effective_configuration_names_every_origin() {
    let place = Place::new();
    let file = place.write("a.yaml", "drain: 7s\n");

    let ran = Ran::from(
        place
            .attache(&["config", "--effective", "-c", &file, "--log", "debug"])
            .env("ATTACHE_WORKERS", "3")
            .output()
            .unwrap(),
    )
    .code(0);

    for (key, origin) in [
        ("drain: 7s", "a.yaml:1"),
        ("workers: 3", "env ATTACHE_WORKERS"),
        ("level: debug", "flag --log"),
        ("address: 127.0.0.1:4781", "default"),
    ] {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(key));
        assert!(line.is_some_and(|line| line.contains(origin)), "{key} {origin}: {}", ran.stdout);
    }
    place.run(&["config", "--json", "-c", &file]).code(0).json();
}

#[test]
fn the_schema_is_json_and_knows_the_routes() {
    let ran = Place::new().run(&["config", "--schema"]).code(0);

    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(schema["properties"]["routes"].is_object(), "{schema}");
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let place = Place::new();

    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(place.run(&["completions", shell]).code(0).stdout.contains("healthcheck"), "{shell}");
    }
    assert!(place.run(&["man"]).code(0).stdout.contains(".TH attache 1"));
    assert!(place.run(&["man", "run"]).code(0).stdout.contains(".TH attache-run 1"));
}

#[test]
fn the_variables_survive_a_shell_and_can_be_taken_back() {
    let place = Place::new();
    let script = "export NO_PROXY=db.internal; eval \"$($ATTACHE env)\"; echo \"$http_proxy $NO_PROXY\"; \
                  eval \"$($ATTACHE env --unset)\"; echo \"${http_proxy-unset} $NO_PROXY\"";

    let output = place.attache(&[]).get_envs().fold(Command::new("sh"), |mut sh, (name, value)| {
        sh.env(name, value.unwrap_or_default());
        sh
    });
    let ran = Ran::from({ output }.args(["-c", script]).current_dir(place.path()).output().unwrap()).code(0);

    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("http://127.0.0.1:4780 db.internal,localhost,127.0.0.1,::1,"), "{ran:#?}");
    assert_eq!(lines[1], "unset db.internal", "{ran:#?}");
}

#[test]
fn a_disk_that_is_full_is_an_error_and_a_closed_pipe_is_not() {
    let place = Place::new();
    let full = std::fs::File::options().write(true).open("/dev/full");

    if let Ok(full) = full {
        let ran = Ran::from(place.attache(&["man"]).stdout(full).output().unwrap()).code(1);
        assert!(ran.stderr.contains("standard output"), "{ran:#?}");
    }
    let mut child = place.attache(&["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(Ran::from(child.wait_with_output().unwrap()).code(0).stderr, "");
}

#[test]
fn explain_sends_nothing_and_speaks_json() {
    let place = Place::new();
    place.run(&["init", "api.test"]).code(0);

    let text = place.run(&["explain", "get", "http://api.test/v1", "-H", "accept: text/html"]).code(0);
    let json = place.run(&["explain", "GET", "http://api.test/v1", "--json"]).code(0);

    assert!(text.stdout.contains("api.test"), "{text:#?}");
    json.json();
    place.run(&["explain", "GET", "not a url"]).code(1);
}

#[test]
fn run_ends_with_the_code_a_shell_would_give() {
    let place = Place::new();

    place.sh("exit 0").code(0);
    place.sh("exit 7").code(7);
    place.sh("kill -KILL $$").code(137);
    place.run(&["run", "--", "/no/such/command"]).code(127);
    place.run(&["run", "--", &place.write("plain", "text")]).code(126);
    let bad = place.write("bad.yaml", "nope: 1\n");
    place.run(&["run", "-c", &bad, "--", "true"]).code(1);
}

#[test]
fn run_gives_its_command_the_documented_environment() {
    let ran = Place::new().sh("env").code(0);

    let value = |name: &str| {
        let prefix = format!("{name}=");
        ran.stdout.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("{name}: {ran:#?}"))
    };
    let proxy = value("ATTACHE_PROXY");
    assert!(proxy.starts_with("http://127.0.0.1:") && !proxy.ends_with(":0"), "{proxy}");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] {
        assert_eq!(value(name), proxy);
    }
    let direct = "localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,fd00:ec2::254";
    assert_eq!((value("NO_PROXY"), value("no_proxy")), (direct, direct));
    assert_eq!(value("NODE_USE_ENV_PROXY"), "1");
    assert!(value("JAVA_TOOL_OPTIONS").contains("-Dhttp.proxyHost=127.0.0.1"), "{ran:#?}");
    assert!(!ran.stdout.to_ascii_lowercase().contains("all_proxy="), "{ran:#?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn run_leaves_the_streams_to_its_command_and_its_flags_too() {
    let place = Place::new();
    let mut child = place
        .attache(&["run", "sh", "-c", "cat; echo \"$0 $1\"", "-c", "--listen"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    child.stdin.take().unwrap().write_all(b"through\n").unwrap();

    let ran = Ran::from(child.wait_with_output().unwrap()).code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("through\n-c --listen\n", ""));
}

/// A command that says where its proxy and its admin interface are, and ends when its stdin does.
fn waiting(place: &Place) -> (Child, String, String, BufReader<std::process::ChildStdout>) {
    let script = "echo \"${http_proxy#http://}\"; echo \"$ATTACHE_ADMIN_SOCKET\"; cat";
    let mut command = place.attache(&["run", "--", "sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (proxy, admin) = (line(&mut stdout), line(&mut stdout));
    (child, proxy, admin, stdout)
}

#[test]
fn calls_go_through_the_proxy_of_run_and_leave_no_trace_on_stdout() {
    let place = Place::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut child, proxy, _, mut stdout) = waiting(&place);
    let (client, mut accepted) = stuck(&proxy, upstream);

    accepted.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
    let answer = line(&mut BufReader::new(client));
    drop(child.stdin.take());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();

    assert_eq!((answer.as_str(), rest.as_str()), ("HTTP/1.1 200 OK", ""));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn run_finishes_what_is_in_flight_after_its_command() {
    let place = Place::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut child, proxy, admin, _stdout) = waiting(&place);
    let (client, mut accepted) = stuck(&proxy, upstream);

    drop(child.stdin.take());
    let draining = (0..500).find_map(|_| {
        let ran = place.run(&["healthcheck", "--admin", &admin]);
        (ran.code == Some(1)).then_some(ran.stderr)
    });
    assert!(draining.as_ref().is_some_and(|said| said.contains("draining")), "{draining:?}");
    accepted.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();

    assert_eq!(line(&mut BufReader::new(client)), "HTTP/1.1 200 OK");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn run_is_private_answers_nested_tools_and_leaves_nothing_behind() {
    let place = Place::new();

    let ran = place.sh("ls -ld \"${ATTACHE_ADMIN_SOCKET%/*}\" && exec $ATTACHE healthcheck").code(0);

    assert!(ran.stdout.starts_with("drwx------"), "{ran:#?}");
    assert!(ran.stdout.ends_with("ready\n"), "{ran:#?}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn run_takes_no_port_that_metrics_names_in_either_form() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();

    for text in [format!("metrics: {addr}\n"), format!("metrics: {{ address: '{addr}', identities: 5 }}\n")] {
        let place = Place::new();
        let path = place.write("attache.yaml", &text);
        assert_eq!(place.run(&["run", "-c", &path, "--", "echo", "ran"]).code(0).stdout, "ran\n");
    }
}

#[test]
fn a_run_within_a_run_has_a_proxy_of_its_own() {
    let ran = Place::new().sh("echo $http_proxy; exec $ATTACHE run -- sh -c 'echo $http_proxy'").code(0);

    let proxies: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(proxies.len(), 2, "{ran:#?}");
    assert_ne!(proxies[0], proxies[1]);
    assert!(ran.stderr.contains(&format!("{} is replaced", proxies[0])), "{ran:#?}");
}

#[test]
fn run_passes_signals_on_and_takes_the_code_that_follows() {
    let place = Place::new();

    for name in ["TERM", "HUP", "USR1", "USR2", "INT", "QUIT"] {
        let script = format!("trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child = place.attache(&["run", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(line(&mut stdout), "ready");

        signal(name, &child);

        assert_eq!(line(&mut stdout), "got", "{name}");
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
}

#[test]
fn a_command_outlives_an_attache_that_is_killed() {
    let place = Place::new();
    let (mut child, _, _, mut stdout) = waiting(&place);

    let mut stdin = child.stdin.take().unwrap();
    signal("KILL", &child);
    child.wait().unwrap();
    stdin.write_all(b"still here\n").unwrap();

    assert_eq!(line(&mut stdout), "still here");
    drop(stdin);
    assert_eq!(stdout.read(&mut [0; 1]).unwrap(), 0);
}

/// Runs `script` in a terminal of its own and types Ctrl-C once it has printed `cue`; `None` without `script(1)`.
#[cfg(target_os = "linux")]
fn in_terminal(place: &Place, script: &str, cue: &str) -> Option<Ran> {
    let mut command = place.attache(&[]);
    let envs: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
    command = Command::new("script");
    command.args(["-qec", &format!("stty rows 60 cols 100; {script}"), "/dev/null"]).envs(envs).env("LANG", "C.UTF-8");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir(place.path()).spawn();
    let Ok(mut child) = spawned else {
        eprintln!("left out: script(1) is missing");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains(cue) {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "no {cue:?} in {said}");
    }
    stdin.write_all(b"\x03").unwrap();
    stdout.read_to_string(&mut said).unwrap();
    Some(Ran { code: child.wait().unwrap().code(), stdout: said, stderr: String::new() })
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_reaches_the_command_once() {
    let script = "exec $ATTACHE run -- sh -c 'n=0; trap \"n=\\$((n+1))\" INT; echo ready; \
                  for i in 1 2 3 4 5 6; do sleep 0.1; done; echo \"INT x $n\"; exit 5'";

    let Some(ran) = in_terminal(&Place::new(), script, "ready") else { return };

    assert!(ran.code(5).stdout.contains("INT x 1"));
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_the_demo_is_live_and_serves_until_ctrl_c() {
    let script = "exec $ATTACHE demo --seed 7 --requests 50 --rate 100";

    let Some(ran) = in_terminal(&Place::new(), script, "Serving until Ctrl-C") else { return };

    let ran = ran.code(0);
    assert!(ran.stdout.matches("\x1b[J").count() > 1 && ran.stdout.contains("curl -i -x http://"), "{ran:#?}");
}

#[test]
fn run_gives_128_plus_the_signal_that_it_passed_on() {
    let place = Place::new();
    let mut child =
        place.attache(&["run", "--", "sh", "-c", "echo ready; exec sleep 60"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut stdout), "ready");

    signal("TERM", &child);

    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn serve_answers_its_tools_and_ends_clean_on_term() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);

    let ready = place.run(&["healthcheck", "--admin", &serving.admin]).code(0);
    let status = place.run(&["status", "--json", "--admin", &serving.admin]).code(0);
    place.run(&["status", "--admin", &serving.admin]).code(0);
    signal("TERM", &serving.child);

    assert_eq!(ready.stdout, "ready\n");
    status.json();
    serving.ends_with(0);
    let gone = place.run(&["healthcheck", "--admin", "unix:/nonexistent/a.sock"]).code(1);
    assert!(gone.stderr.contains("/nonexistent/a.sock"), "{gone:#?}");
}

#[test]
fn a_second_signal_ends_the_drain_and_is_told_by_the_code() {
    let place = Place::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut serving = Serving::start(&place, &[]);
    let in_flight = stuck(&serving.proxy, upstream);

    signal("TERM", &serving.child);
    serving.says("once more");
    assert!(serving.child.try_wait().unwrap().is_none());
    signal("TERM", &serving.child);

    serving.ends_with(3);
    drop(in_flight);
}

#[test]
fn a_bad_reload_is_refused_with_the_place_and_a_good_one_is_taken() {
    let place = Place::new();
    let file = place.write("attache.yaml", "drain: 1s\n");
    let mut serving = Serving::start(&place, &["-c", &file]);

    place.write("attache.yaml", "drian: 1s\n");
    let refused = place.run(&["reload", "--admin", &serving.admin]).code(1);
    signal("HUP", &serving.child);
    serving.says("attache.yaml:1:1");
    place.write("attache.yaml", "drain: 2s\n");
    let taken = place.run(&["reload", "--admin", &serving.admin]).code(0);

    assert!(refused.stderr.contains("drian"), "{refused:#?}");
    assert!(taken.stdout.contains("reloaded"), "{taken:#?}");
    place.run(&["healthcheck", "--admin", &serving.admin]).code(0);
    signal("TERM", &serving.child);
    serving.ends_with(0);
}

#[test]
fn a_port_in_use_is_a_start_failure_that_names_it() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let holder = TcpListener::bind(taken.unwrap()).unwrap();
    let address = holder.local_addr().unwrap().to_string();

    let ran = place.run(&["--listen", &address, "--admin", "false"]).code(1);

    assert!(ran.stderr.contains(&address), "{ran:#?}");
}

#[test]
fn the_demo_measures_and_ends_without_a_terminal() {
    let ran = Place::new().run(&["demo", "--seed", "7", "--requests", "100", "--rate", "100"]).code(0);

    let row = |name: &str| -> Vec<f64> {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {}", ran.stdout));
        line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let (with, without) = (row("succeeded")[0], row("succeeded")[2]);
    assert!(with >= 99.0 && without < with, "{}", ran.stdout);
    assert!(row("attempts")[0] > 100.0, "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The files of an authority in a place of its own, and the arguments that name them.
fn authority(place: &Place) -> [String; 2] {
    let dir = place.path().display();
    let text = format!("ca: {{ cert: {dir}/ca/x.crt, key: {dir}/ca/x.key }}\ndefault: {{ intercept: true }}\n");
    ["-c".to_owned(), place.write("ca.yaml", &text)]
}

#[test]
fn an_authority_is_made_once_shown_and_given_out_without_its_key() {
    let place = Place::new();
    let [c, yaml] = authority(&place);
    let ca = |args: &[&str]| place.run(&[&[&c, &yaml, "ca"], args].concat());
    let (cert, key) = (place.path().join("ca/x.crt"), place.path().join("ca/x.key"));

    let missing = place.run(&["check", &yaml]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("attache ca init"), "{}", missing.stderr);
    assert!(ca(&["show"]).stderr.contains("attache ca init"));

    let made = ca(&["init"]);
    assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "{made:?}");
    assert_eq!((mode(&cert), mode(&key)), (0o644, 0o600));
    let first = std::fs::read_to_string(&cert).unwrap();
    let again = ca(&["init"]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    assert_eq!(std::fs::read_to_string(&cert).unwrap(), first);
    assert_eq!(place.run(&["check", &yaml]).code, Some(0));

    assert_eq!(ca(&["export"]).stdout, first);
    let shown = ca(&["show"]);
    let json: Value = serde_json::from_str(&ca(&["show", "--json"]).stdout).unwrap();
    let sha256 = json["sha256"].as_str().unwrap();
    assert_eq!((sha256.len(), &json["valid"]), (95, &Value::Bool(true)));
    assert!(json["days_left"].as_u64().is_some_and(|days| (363..=365).contains(&days)), "{json}");
    assert!(shown.stdout.contains(sha256) && shown.stdout.contains("update-ca-certificates"), "{}", shown.stdout);
    let der = place.path().join("out.der");
    assert_eq!(ca(&["export", "--format", "der", "--out", der.to_str().unwrap()]).code, Some(0));
    assert_eq!(std::fs::read(&der).unwrap()[0], 0x30);
    let secret = std::fs::read_to_string(&key).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    for said in [made.stderr, shown.stdout, ca(&["export"]).stdout] {
        assert!(!said.contains(secret));
    }

    assert_eq!(ca(&["init", "--force"]).code, Some(0));
    assert_ne!(std::fs::read_to_string(&cert).unwrap(), first);
    assert_eq!((mode(&cert), mode(&key)), (0o644, 0o600));
}

#[test]
fn a_key_that_others_may_read_starts_nothing() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let [c, yaml] = authority(&place);
    place.run(&[&c, &yaml, "ca", "init"]);
    let key = place.path().join("ca/x.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();

    let ran = place.run(&[&c, &yaml, "serve", "--listen", "127.0.0.1:0", "--admin", "false"]);

    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("mode 640") && ran.stderr.contains("x.key"), "{}", ran.stderr);
}

// --- doctor, and trust under run

#[test]
fn doctor_finds_nothing_under_run_and_names_what_is_missing_without_it() {
    let place = Place::new();

    let bare = place.run(&["doctor", "--json", "--", "curl", "http://example.com/"]).code(1);
    let report = bare.json();
    let ids: Vec<_> = report["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["no-proxy-running", "not-set", "not-set"], "{report}");
    assert_eq!((&report["program"]["runtime"], &report["daemon"]["reachable"]), (&"curl".into(), &false.into()));
    assert!(
        report["findings"].as_array().unwrap().iter().all(|one| one["action"].as_str().is_some_and(|a| !a.is_empty()))
    );

    let within = place.sh("$ATTACHE doctor -- curl http://example.com/").code(0);
    assert!(within.stdout.contains("nothing here goes around the proxy"), "{within:#?}");
    let changed = place.sh("NO_PROXY='*' no_proxy='*' $ATTACHE doctor -- curl http://example.com/").code(1);
    assert!(changed.stdout.contains("NO_PROXY is *") && changed.stdout.contains("-> remove the *"), "{changed:#?}");
}

#[test]
fn run_with_intercept_gives_every_runtime_the_authority_and_takes_it_back() {
    let place = Place::new();
    let script = "$ATTACHE doctor -- curl x || exit 9; $ATTACHE status --json; stat -c %a $(dirname $SSL_CERT_FILE); \
                  dirname $SSL_CERT_FILE; echo $JAVA_TOOL_OPTIONS";

    let ran = place.run(&["run", "--intercept", "--", "sh", "-c", script]).code(0);

    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [mode, dir, java] = lines[lines.len() - 3..] else { panic!("{ran:#?}") };
    assert_eq!(mode, "700");
    assert!(java.contains(&format!("-Djavax.net.ssl.trustStore={dir}/java.p12")), "{java}");
    assert!(!Path::new(dir).exists(), "{dir}");
    let plain = place.sh("env").code(0);
    assert!(!plain.stdout.contains("SSL_CERT_FILE") && !plain.stdout.contains("trustStore"), "{plain:#?}");
}

#[test]
fn what_is_wrong_with_trust_is_told_before_a_request_fails() {
    let place = Place::new();
    let script = "unset GIT_SSL_CAINFO; $ATTACHE doctor --json -- git clone https://example.com/a";

    let ran = place.run(&["run", "--intercept", "--", "sh", "-c", script]).code(1);

    let report = ran.json();
    assert_eq!(report["findings"][0]["id"], "trust-not-set", "{report}");
    assert!(report["findings"][0]["what"].as_str().unwrap().starts_with("GIT_SSL_CAINFO is not set"), "{report}");
}
