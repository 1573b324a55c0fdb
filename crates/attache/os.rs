//! What differs between systems: signals, limits, private places, how a child ended.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{
    Signals, can_redraw, exit_code, forward, hide_memory, private_address, private_dir, raise_file_limit,
    reached_by_terminal,
};

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
pub(crate) use other::{
    Signals, can_redraw, exit_code, forward, hide_memory, private_address, private_dir, raise_file_limit,
    reached_by_terminal,
};

/// A request from outside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Interrupt,
    Quit,
    Hangup,
    User1,
    User2,
}
