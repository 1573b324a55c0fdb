//! Knows whether a socket that had nothing to read has spoken since it was last asked.
//!
//! hyper asks for bytes whenever its connection is polled, whoever woke it, and the runtime finds out each time anew
//! that there are none: four times a request. Here the socket wakes the bell instead of the task, and until it rang
//! the answer is known. Whatever makes a read wait (the socket, the task's budget) wakes what it was given, so
//! nothing is missed; another task that comes to read is answered by the socket. One allocation a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};

/// One reader's bell.
pub(super) struct Bell {
    shared: Arc<Shared>,
    /// Rings it.
    waker: Waker,
    /// Who found nothing, last.
    task: Option<Waker>,
}

#[derive(Default)]
struct Shared {
    rang: AtomicBool,
    /// Stays when it is woken: it is nearly always the same one that waits again.
    task: Mutex<Option<Waker>>,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Release);
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl Default for Bell {
    fn default() -> Self {
        // As if it had rung: nothing is known of the socket yet.
        let shared = Arc::new(Shared { rang: AtomicBool::new(true), ..Shared::default() });
        Self { waker: Arc::clone(&shared).into(), shared, task: None }
    }
}

impl Bell {
    /// Reads, unless it is known that nothing came.
    #[inline]
    pub(super) fn poll_read<R: AsyncRead>(
        &mut self,
        io: Pin<&mut R>,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.shared.rang.load(Acquire) && self.is_waited_for_by(cx.waker()) {
            return Poll::Pending;
        }
        self.shared.rang.store(false, Release);
        let polled = io.poll_read(&mut Context::from_waker(&self.waker), buf);
        if polled.is_pending() {
            self.wait(cx.waker());
        } else {
            // There may be more.
            self.shared.rang.store(true, Release);
        }
        polled
    }

    fn is_waited_for_by(&self, waker: &Waker) -> bool {
        self.task.as_ref().is_some_and(|task| task.will_wake(waker))
    }

    fn wait(&mut self, waker: &Waker) {
        if !self.is_waited_for_by(waker) {
            self.task = Some(waker.clone());
            *self.shared.task.lock() = Some(waker.clone());
        }
        // It rang before there was anybody to wake.
        if self.shared.rang.load(Acquire) {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Has nothing to read until it is given a byte; counts how often it is asked.
    #[derive(Default)]
    struct Socket {
        asked: usize,
        byte: Option<u8>,
        waker: Option<Waker>,
    }

    impl AsyncRead for Socket {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.asked += 1;
            match self.byte.take() {
                Some(byte) => {
                    buf.put_slice(&[byte]);
                    Poll::Ready(Ok(()))
                }
                None => {
                    self.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn read(bell: &mut Bell, socket: &mut Socket, waker: &Waker) -> Poll<usize> {
        let mut space = [0; 8];
        let mut buf = ReadBuf::new(&mut space);
        let polled = bell.poll_read(Pin::new(socket), &Context::from_waker(waker), &mut buf);
        polled.map(|_| buf.filled().len())
    }

    #[test]
    fn a_silent_socket_is_asked_once() {
        let (mut bell, mut socket) = (Bell::default(), Socket::default());
        let task = Waker::from(Arc::new(Task::default()));

        for _ in 0..3 {
            assert!(read(&mut bell, &mut socket, &task).is_pending());
        }

        assert_eq!(socket.asked, 1);
    }

    #[test]
    fn a_socket_that_speaks_wakes_the_task_and_is_asked_again() {
        let (mut bell, mut socket) = (Bell::default(), Socket::default());
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        for round in 1..3 {
            assert!(read(&mut bell, &mut socket, &waker).is_pending());

            socket.byte = Some(1);
            socket.waker.take().expect("waited for").wake();

            assert_eq!(task.0.load(Relaxed), round);
            assert_eq!(read(&mut bell, &mut socket, &waker), Poll::Ready(1));
        }
    }

    #[test]
    fn a_read_that_found_something_is_followed_by_another() {
        let (mut bell, mut socket) = (Bell::default(), Socket { byte: Some(1), ..Socket::default() });
        let task = Waker::from(Arc::new(Task::default()));
        assert!(read(&mut bell, &mut socket, &task).is_ready());
        socket.byte = Some(2);

        assert_eq!(read(&mut bell, &mut socket, &task), Poll::Ready(1));
    }

    #[test]
    fn another_task_is_heard_at_once_and_woken_from_then_on() {
        let (mut bell, mut socket) = (Bell::default(), Socket::default());
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        assert!(read(&mut bell, &mut socket, &Waker::from(Arc::clone(&first))).is_pending());

        assert!(read(&mut bell, &mut socket, &Waker::from(Arc::clone(&second))).is_pending());
        socket.waker.take().expect("waited for").wake();

        assert_eq!(socket.asked, 2);
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (0, 1));
    }
}
