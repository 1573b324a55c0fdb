//! Systems without Unix signals: Ctrl-C, and otherwise what their defaults give.

use std::io;
use std::path::Path;
use std::process::ExitStatus;

use tempfile::TempDir;

use super::Signal;

/// Ctrl-C, if it was asked for.
pub(crate) struct Signals(bool);

impl Signals {
    /// Listens for `wanted`; only an interrupt can come.
    pub(crate) fn listen(wanted: &[Signal]) -> io::Result<Self> {
        Ok(Self(wanted.contains(&Signal::Interrupt)))
    }

    /// The next Ctrl-C. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        if !self.0 || tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}

/// The console sends Ctrl-C to the child itself; nothing else can be sent.
pub(crate) fn forward(_: Signal, _: u32) {}

/// The console sends Ctrl-C to every process attached to it.
pub(crate) fn reached_by_terminal() -> bool {
    true
}

/// The size of a console is not asked for, so nothing is redrawn.
pub(crate) fn can_redraw(_: usize, _: usize) -> bool {
    false
}

/// The low byte of the child's code.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

/// There is no such limit to raise.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    Ok(())
}

/// Who may read another process's memory is decided by the system alone.
pub(crate) fn hide_memory() -> io::Result<()> {
    Ok(())
}

/// A fresh directory in the user's own temporary one, removed when dropped.
pub(crate) fn private_dir() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("attache-").tempdir()
}

/// A free port on loopback, since there are no unix sockets.
pub(crate) fn private_address(_: &Path) -> String {
    "127.0.0.1:0".to_owned()
}
