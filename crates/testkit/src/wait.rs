//! Waiting for something, never for some time.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// How long anything is waited for before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks at what nobody announces.
const LOOK: Duration = Duration::from_millis(10);

/// The result of `future`, or a failure that names `what`.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Looks again and again until `look` has something to return.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    within(what, async {
        loop {
            if let Some(value) = look().await {
                return value;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}

/// Closed until a test opens it.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Gate {
    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        self.0.subscribe().wait_for(|open| *open).await.expect("the gate is held");
    }
}
