//! One switch for a worker's connections: running, draining, stopping.

use tokio::sync::watch;

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Serving.
    Running,
    /// Finishing what is in flight; connections close after it.
    Draining,
    /// Leaving now.
    Stopping,
}

/// The switch's one end.
#[derive(Clone, Debug)]
pub struct Switch(watch::Sender<Mode>);

/// The switch's many ends.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Mode>);

impl Switch {
    /// Running.
    pub fn new() -> (Self, Drain) {
        let (sender, receiver) = watch::channel(Mode::Running);
        (Self(sender), Drain(receiver))
    }

    /// Moves on; never back.
    pub fn set(&self, mode: Mode) {
        self.0.send_if_modified(|now| {
            let later = mode > *now;
            if later {
                *now = mode;
            }
            later
        });
    }

    /// What the process is doing.
    pub fn mode(&self) -> Mode {
        *self.0.borrow()
    }
}

impl Drain {
    /// What the process is doing.
    pub fn mode(&self) -> Mode {
        *self.0.borrow()
    }

    /// Waits until `mode` or a later one. Cancel-safe.
    pub async fn reached(&mut self, mode: Mode) {
        // A switch that is gone means the process is leaving.
        let _ = self.0.wait_for(|now| *now >= mode).await;
    }
}
