//! A worker's own buffer of lines.

use std::fmt;
use std::sync::Arc;

use exchange::Exchange;
use parking_lot::Mutex;
use policy::Tick;

use super::queue::{Chunk, Put, Queue};
use super::{Format, json, text};
use crate::metrics::Events;
use crate::outcome;

/// Handed over when this many bytes are in it.
const HAND_OVER: usize = 48 * 1024;

/// While the queue is full it grows up to here; then lines are lost.
const FULL: usize = 64 * 1024;

/// See the module. The lock is contended by nothing but a flush from outside.
pub struct Writer {
    queue: Arc<Queue>,
    events: Arc<Events>,
    format: Format,
    /// Successful requests with an id below are logged: ids are random, and all lines of one id are there or none.
    below: Option<u64>,
    chunk: Mutex<Chunk>,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, events: Arc<Events>, format: Format, sample: f64) -> Self {
        let below = (sample < 1.0).then_some((sample * u64::MAX as f64) as u64);
        Self { queue, events, format, below, chunk: Mutex::default() }
    }

    /// Appends the line of a finished exchange.
    pub fn write(&self, exchange: &Exchange, route: &str, now: Tick) {
        let status = outcome::status(exchange);
        if self.below.is_some_and(|below| exchange.head.id >= below) && !outcome::is_failure(exchange, status) {
            return;
        }
        let mut chunk = self.chunk.lock();
        let before = chunk.bytes.len();
        match self.format {
            Format::Json => json::line(&mut chunk.bytes, exchange, route, status, now),
            Format::Text { colour } => text::line(&mut chunk.bytes, exchange, route, status, now, colour),
        }
        if chunk.bytes.len() > FULL {
            chunk.bytes.truncate(before);
            self.events.log_dropped(1);
        } else {
            chunk.lines += 1;
        }
        if chunk.bytes.len() >= HAND_OVER {
            self.hand_over(&mut chunk);
        }
    }

    /// Hands over what there is; for a timer.
    pub fn flush(&self) {
        let mut chunk = self.chunk.lock();
        if chunk.lines > 0 {
            self.hand_over(&mut chunk);
        }
    }

    fn hand_over(&self, chunk: &mut Chunk) {
        match self.queue.put(chunk) {
            Put::Taken | Put::Full => {}
            Put::Closed => {
                self.events.log_dropped(chunk.lines);
                *chunk = Chunk::default();
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Work;
    use super::*;
    use crate::fixture::{after, exchange};

    #[test]
    fn a_buffer_is_handed_over_when_full_or_flushed() {
        let queue = Arc::new(Queue::default());
        let writer = Writer::new(queue.clone(), Arc::default(), Format::Text { colour: false }, 1.0);
        let exchange = exchange("/");
        let mut lines = 0;
        loop {
            writer.write(&exchange, "api", after(1));
            lines += 1;
            if writer.chunk.lock().lines == 0 {
                break;
            }
        }
        writer.write(&exchange, "api", after(1));
        writer.flush();
        writer.flush();
        queue.close(std::time::Duration::ZERO);

        let Work::Write(full) = queue.next() else { panic!("a full buffer") };
        assert_eq!((full.lines, full.bytes.iter().filter(|byte| **byte == b'\n').count()), (lines, lines as usize));
        assert!((HAND_OVER..HAND_OVER + 200).contains(&full.bytes.len()), "{}", full.bytes.len());
        let Work::Write(flushed) = queue.next() else { panic!("a flushed buffer") };
        assert_eq!(flushed.lines, 1);
        assert!(matches!(queue.next(), Work::End));
    }
}
