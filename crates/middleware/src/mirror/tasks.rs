//! Tasks that nobody waits for, and their owner: a worker, which ends them when it drains.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;

/// See the module. `None` once they were ended.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Mutex<Option<JoinSet<()>>>>);

impl Default for Tasks {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(JoinSet::new()))))
    }
}

impl Tasks {
    /// Starts one on this thread's runtime; none after the end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock();
        let Some(running) = &mut *tasks else {
            // What it holds is given back without the lock: it may tell others.
            drop(tasks);
            return drop(task);
        };
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Ends all of them, and whatever is yet to come.
    pub fn end(&self) {
        let ended = self.0.lock().take();
        drop(ended);
    }
}
