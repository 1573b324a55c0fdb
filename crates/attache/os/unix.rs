//! Unix: signals through tokio, limits and terminals through rustix.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use rustix::process::{Pid, Resource, Rlimit};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::Signal;

const KINDS: [(Signal, fn() -> SignalKind); 6] = [
    (Signal::Terminate, SignalKind::terminate),
    (Signal::Interrupt, SignalKind::interrupt),
    (Signal::Quit, SignalKind::quit),
    (Signal::Hangup, SignalKind::hangup),
    (Signal::User1, SignalKind::user_defined1),
    (Signal::User2, SignalKind::user_defined2),
];

/// The signals that are asked for; once this exists they no longer end the process.
pub(crate) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    /// Listens for `wanted`; must be called within a runtime.
    pub(crate) fn listen(wanted: &[Signal]) -> io::Result<Self> {
        let kinds = KINDS.iter().filter(|(name, _)| wanted.contains(name));
        kinds.map(|&(name, kind)| Ok((name, signal(kind())?))).collect::<io::Result<_>>().map(Self)
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let mut ready =
                self.0.iter_mut().filter_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name));
            ready.next().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }
}

/// Sends a signal to a child that has not been waited for; one that is just gone is no error.
pub(crate) fn forward(signal: Signal, child: u32) {
    let signal = match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::Quit => rustix::process::Signal::QUIT,
        Signal::Hangup => rustix::process::Signal::HUP,
        Signal::User1 => rustix::process::Signal::USR1,
        Signal::User2 => rustix::process::Signal::USR2,
    };
    if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether the terminal itself sends Ctrl-C and Ctrl-\ to us and to our children: we are its foreground group.
pub(crate) fn reached_by_terminal() -> bool {
    let group = File::open("/dev/tty").ok().and_then(|tty| rustix::termios::tcgetpgrp(tty).ok());
    group.is_some_and(|group| group == rustix::process::getpgrp())
}

/// Whether standard output is a terminal large enough to redraw `lines` lines of `columns` columns in place.
pub(crate) fn can_redraw(lines: usize, columns: usize) -> bool {
    rustix::termios::tcgetwinsize(io::stdout())
        .is_ok_and(|size| usize::from(size.ws_row) > lines && usize::from(size.ws_col) >= columns)
}

/// The exit code a shell would give: the child's own, or 128 + the signal that ended it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Raises the soft limit of open files to the hard one: each exchange takes two.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    Ok(rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Keeps what this process knows out of core dumps, and from other processes of the same user: what it sends for an app
/// the app must not read from it. Root still can.
#[cfg(target_os = "linux")]
pub(crate) fn hide_memory() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Here only core dumps can be turned off.
#[cfg(not(target_os = "linux"))]
pub(crate) fn hide_memory() -> io::Result<()> {
    Ok(rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// A fresh directory that only this user can enter, removed when dropped.
pub(crate) fn private_dir() -> io::Result<TempDir> {
    let create = |base: &Path| {
        tempfile::Builder::new().prefix("attache-").permissions(Permissions::from_mode(0o700)).tempdir_in(base)
    };
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute());
    runtime.and_then(|dir| create(Path::new(&dir)).ok()).map_or_else(|| create(&std::env::temp_dir()), Ok)
}

/// Where the admin interface of a private proxy listens.
pub(crate) fn private_address(dir: &Path) -> String {
    format!("unix:{}", dir.join("admin.sock").display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_128_plus_its_number() {
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
    }

    #[test]
    fn the_private_directory_is_private_and_goes_away() {
        let dir = private_dir().unwrap();
        let path = dir.path().to_owned();

        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(dir);
        assert!(!path.exists());
    }
}
