//! The real binary as a child process: on free ports, asked over admin, signalled by pid, killed when dropped.
//!
//! `ATTACHE_BIN` names another binary than the one that cargo built with the tests, such as a release build.
#![allow(clippy::panic, reason = "a failed expectation fails the test that has it")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// For a process to say where it listens.
const START: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// A running `attache serve`.
pub struct Child {
    process: tokio::process::Child,
    program: PathBuf,
    /// Where it takes requests.
    pub listen: SocketAddr,
    /// Where it takes questions.
    pub admin: SocketAddr,
    said: Arc<Mutex<String>>,
}

/// The binary to test: the one that `ATTACHE_BIN` names, else `built`.
pub fn program(built: &str) -> PathBuf {
    std::env::var_os("ATTACHE_BIN").map_or_else(|| built.into(), Into::into)
}

/// Waits until `condition` holds; panics with `what` once `within` is over.
pub async fn until<F: Future<Output = bool>>(what: &str, within: Duration, mut condition: impl FnMut() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(within, holds).await.is_err() {
        panic!("not within {within:?}: {what}");
    }
}

impl Child {
    /// Starts it with the configuration at `config` on free ports, and waits until it listens.
    pub async fn start(program: &Path, config: &Path) -> Self {
        Self::start_at(program, config, "127.0.0.1:0", "127.0.0.1:0").await
    }

    /// The same on given addresses.
    pub async fn start_at(program: &Path, config: &Path, listen: &str, admin: &str) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ATTACHE_") {
                command.env_remove(name);
            }
        }
        let mut process = command
            .arg("-c")
            .arg(config)
            .args(["serve", "--listen", listen, "--admin", admin])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let said = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let heard = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(addresses) = addresses(&line) {
                    // Asked for once.
                    let _ = tell.try_send(addresses);
                }
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        let (listen, admin) = match tokio::time::timeout(START, told.recv()).await {
            Ok(Some(addresses)) => addresses,
            _ => panic!("it did not start:\n{}", said.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        Self { process, program: program.to_owned(), listen, admin, said }
    }

    /// What it wrote to stderr so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process id, as long as it has not been waited for.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    /// Waits for its end; panics once `within` is over.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        match tokio::time::timeout(within, self.process.wait()).await {
            Ok(status) => status.expect("waited for"),
            Err(_) => panic!("it still runs after {within:?}:\n{}", self.said()),
        }
    }

    /// Runs a subcommand of the same binary against this one's admin interface.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(arguments)
            .arg("--admin")
            .arg(self.admin.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("the subcommand runs")
    }

    /// All samples of `/metrics`, by name with labels.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = ask(self.admin, "/metrics").await.expect("admin answers");
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
    }

    /// One sample; `None` if it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        self.metrics().await.remove(name)
    }

    /// Resident memory in bytes, as the kernel counts it.
    pub fn resident(&self) -> u64 {
        self.memory()[1]
    }

    /// Resident memory in bytes without what is backed by files, such as code.
    pub fn anonymous(&self) -> u64 {
        let [_, resident, shared] = self.memory();
        resident - shared
    }

    /// Size, resident and shared, in bytes.
    fn memory(&self) -> [u64; 3] {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("/proc");
        let mut pages = text.split(' ').map(|pages| pages.parse::<u64>().expect("a number"));
        [(); 3].map(|()| pages.next().expect("three") * rustix::param::page_size() as u64)
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("/proc").count()
    }
}

/// `listening on http://A, admin http://B`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (listen, admin) = line.split_once("listening on http")?.1.split_once(", admin http://")?;
    let (_, listen) = listen.split_once("://")?;
    Some((listen.parse().ok()?, admin.parse().ok()?))
}

/// The body of a GET, on a connection of its own.
async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_is_read() {
        let line = "listening on http://127.0.0.1:39341, admin http://127.0.0.1:42099";

        assert_eq!(
            addresses(line).expect("both"),
            ("127.0.0.1:39341".parse().unwrap(), "127.0.0.1:42099".parse().unwrap())
        );
        assert_eq!(addresses("attache 0.1.0"), None);
    }
}
