//! Full buffers on their way to the thread that writes, and empty ones back.
//!
//! Bounded, and nobody waits to put something in. No lock is held while something is written.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Buffers that may wait: 16 to 64 KiB each.
const CAP: usize = 32;

/// Empty buffers kept for use.
const SPARE: usize = 8;

/// Lines that are complete.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is on its way, and an empty one is in its place.
    Taken,
    /// There is no room now.
    Full,
    /// There never will be.
    Closed,
}

/// What the thread is to do next.
#[derive(Debug)]
pub(super) enum Work {
    Write(Chunk),
    Reopen,
    End,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    end: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    reopen: bool,
    closed: bool,
    ended: bool,
}

impl Queue {
    pub(super) fn put(&self, chunk: &mut Chunk) -> Put {
        let mut state = self.state.lock();
        if state.closed {
            return Put::Closed;
        }
        if state.chunks.len() >= CAP {
            return Put::Full;
        }
        let empty = Chunk { bytes: state.spare.pop().unwrap_or_default(), lines: 0 };
        state.chunks.push_back(std::mem::replace(chunk, empty));
        self.work.notify_one();
        Put::Taken
    }

    pub(super) fn reopen(&self) {
        self.state.lock().reopen = true;
        self.work.notify_one();
    }

    /// Takes no more; waits until everything was written, but not longer than `patience`.
    pub(super) fn close(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        state.closed = true;
        self.work.notify_one();
        self.end.wait_while_for(&mut state, |state| !state.ended, patience);
        state.ended
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Work {
        let mut state = self.state.lock();
        loop {
            if std::mem::take(&mut state.reopen) {
                return Work::Reopen;
            }
            if let Some(chunk) = state.chunks.pop_front() {
                return Work::Write(chunk);
            }
            if state.closed {
                state.ended = true;
                self.end.notify_all();
                return Work::End;
            }
            self.work.wait(&mut state);
        }
    }

    /// Gives a buffer back.
    pub(super) fn recycle(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut state = self.state.lock();
        if state.spare.len() < SPARE {
            state.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Chunk {
        Chunk { bytes: b"line\n".to_vec(), lines: 1 }
    }

    #[test]
    fn is_bounded_and_keeps_what_it_did_not_take() {
        let queue = Queue::default();
        for _ in 0..CAP {
            assert_eq!(queue.put(&mut chunk()), Put::Taken);
        }
        let mut late = chunk();
        assert_eq!(queue.put(&mut late), Put::Full);
        assert_eq!(late.lines, 1);

        assert!(matches!(queue.next(), Work::Write(_)));

        assert_eq!(queue.put(&mut late), Put::Taken);
        assert_eq!((late.lines, late.bytes.len()), (0, 0));
    }

    #[test]
    fn after_close_what_was_taken_still_comes_out() {
        let queue = Queue::default();
        queue.put(&mut chunk());

        assert!(!queue.close(Duration::ZERO));

        assert_eq!(queue.put(&mut chunk()), Put::Closed);
        assert!(matches!(queue.next(), Work::Write(_)));
        assert!(matches!(queue.next(), Work::End));
        assert!(queue.close(Duration::ZERO));
    }
}
