//! One line for each finished exchange.
//!
//! A worker appends to a buffer of its own ([`Writer`]); full buffers go through a bounded queue to one thread that
//! writes. So a full disk or a stuck pipe never stops a request: then lines are lost, and counted
//! (`attache_access_log_dropped_total`). A line is at most as late as the caller's flush timer.

mod json;
mod output;
mod queue;
mod redact;
mod text;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use self::output::Output;
use self::queue::Queue;
pub use self::writer::Writer;
use crate::metrics::Events;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To the end of a file.
    File(PathBuf),
}

/// What lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// Columns for people.
    Text {
        /// With ANSI colours.
        colour: bool,
    },
}

/// The log of the process.
#[derive(Debug)]
pub struct AccessLog {
    format: Format,
    sample: f64,
    events: Arc<Events>,
    running: Option<Running>,
    writers: Mutex<Vec<Weak<Writer>>>,
}

#[derive(Debug)]
struct Running {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Opens the sink and starts the thread that writes. `sample` is the share of successful requests that are
    /// logged; failures always are. Losses are counted in `events`.
    pub fn new(sink: Sink, format: Format, sample: f64, events: Arc<Events>) -> io::Result<Self> {
        let output = match sink {
            Sink::Off => None,
            Sink::Stdout => Some(Output::stdout()),
            Sink::File(path) => Some(Output::file(path)?),
        };
        Self::start(output, format, sample, events)
    }

    fn start(output: Option<Output>, format: Format, sample: f64, events: Arc<Events>) -> io::Result<Self> {
        let start = |output: Output| {
            let queue = Arc::new(Queue::default());
            let (work, lost) = (queue.clone(), events.clone());
            let thread = thread::Builder::new().name("access-log".into()).spawn(move || output.run(&work, &lost))?;
            io::Result::Ok(Running { queue, thread: Mutex::new(Some(thread)) })
        };
        let running = output.map(start).transpose()?;
        Ok(Self { format, sample, events, running, writers: Mutex::default() })
    }

    /// A worker's own writer; `None` if nothing is to be written.
    pub fn writer(&self) -> Option<Arc<Writer>> {
        let queue = self.running.as_ref()?.queue.clone();
        let writer = Arc::new(Writer::new(queue, self.events.clone(), self.format, self.sample));
        let mut writers = self.writers.lock();
        writers.retain(|writer| writer.strong_count() > 0);
        writers.push(Arc::downgrade(&writer));
        Some(writer)
    }

    /// Opens the file anew (after it was renamed); if that fails, the old one goes on.
    pub fn reopen(&self) {
        if let Some(running) = &self.running {
            running.queue.reopen();
        }
    }

    /// Hands over what all writers hold.
    pub fn flush(&self) {
        let writers: Vec<_> = self.writers.lock().iter().filter_map(Weak::upgrade).collect();
        writers.iter().for_each(|writer| writer.flush());
    }

    /// Writes what there is and ends the thread. Blocks for at most `patience`; false if that was not enough.
    pub fn close(&self, patience: Duration) -> bool {
        self.flush();
        let Some(running) = &self.running else { return true };
        let written = running.queue.close(patience);
        if written && let Some(thread) = running.thread.lock().take() {
            let _ = thread.join();
        }
        written
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
