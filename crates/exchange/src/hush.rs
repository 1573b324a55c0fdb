//! Keeps hyper's HTTP/1 connection asleep when the last piece of a body is taken from it.
//!
//! hyper's channel between a connection and the body it feeds wakes the connection for each piece that is taken, also
//! after the last one, which nobody waits for the taking of: one poll of the connection in two thirds of all requests,
//! with all that it looks at. The connection is therefore polled with a waker that can be held back (`Drowsy`), and
//! the body holds it back while it takes a piece (`hush`). Only what is woken on this thread within that call is held.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

thread_local! {
    static HUSHED: Cell<bool> = const { Cell::new(false) };
    static HELD: RefCell<Option<Arc<Sleeper>>> = const { RefCell::new(None) };
}

/// Takes something of a connection's; wakes the connection for it only if the outcome says so.
pub(crate) fn hush<T>(take: impl FnOnce() -> T, wakes: impl FnOnce(&T) -> bool) -> T {
    let taken = {
        let _hushed = Hushed::begin();
        take()
    };
    if let Some(sleeper) = HELD.take()
        && wakes(&taken)
    {
        sleeper.0.wake_by_ref();
    }
    taken
}

/// While it lives; a panic ends it too.
struct Hushed;

impl Hushed {
    fn begin() -> Self {
        HUSHED.set(true);
        Self
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        HUSHED.set(false);
    }
}

pin_project! {
    /// A connection that `hush` keeps asleep.
    pub struct Drowsy<F> {
        #[pin]
        connection: F,
        // The task's, and what stands for it.
        wakers: Option<(Waker, Waker)>,
    }
}

impl<F> Drowsy<F> {
    /// Of a connection's future.
    pub const fn new(connection: F) -> Self {
        Self { connection, wakers: None }
    }
}

impl<F: Future> Future for Drowsy<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let (_, waker) = match this.wakers {
            Some(wakers) if wakers.0.will_wake(cx.waker()) => wakers,
            wakers => wakers.insert((cx.waker().clone(), Arc::new(Sleeper(cx.waker().clone())).into())),
        };
        this.connection.poll(&mut Context::from_waker(waker))
    }
}

struct Sleeper(Waker);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        if HUSHED.get() {
            HELD.set(Some(self));
        } else {
            self.0.wake_by_ref();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if HUSHED.get() {
            HELD.set(Some(Arc::clone(self)));
        } else {
            self.0.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A task, and the waker that its connection saw.
    fn connection() -> (Arc<Task>, Waker) {
        let (task, mut seen) = (Arc::<Task>::default(), None);
        let mut drowsy = Box::pin(Drowsy::new(poll_fn(|cx| {
            seen = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        let waker = Waker::from(Arc::clone(&task));
        assert!(drowsy.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(drowsy);
        (task, seen.expect("polled"))
    }

    #[test]
    fn a_connection_is_woken_by_whatever_happens_outside() {
        let (task, waker) = connection();

        waker.wake_by_ref();
        hush(|| (), |()| false);
        waker.wake();

        assert_eq!(task.0.load(Relaxed), 2);
    }

    #[test]
    fn a_wake_is_held_back_and_passed_on_only_if_it_is_wanted() {
        let (task, waker) = connection();

        hush(|| waker.wake_by_ref(), |()| false);
        assert_eq!(task.0.load(Relaxed), 0);
        hush(|| waker.wake_by_ref(), |()| true);
        assert_eq!(task.0.load(Relaxed), 1);
        hush(|| (), |()| true);
        assert_eq!(task.0.load(Relaxed), 1);
    }

    #[test]
    fn a_wake_from_another_thread_meanwhile_is_not_held_back() {
        let (task, waker) = connection();

        hush(|| std::thread::spawn(move || waker.wake()).join().expect("no panic"), |()| false);

        assert_eq!(task.0.load(Relaxed), 1);
    }

    #[test]
    fn a_waker_of_another_task_replaces_the_first() {
        let (first, second) = (Arc::<Task>::default(), Arc::<Task>::default());
        let mut drowsy = Box::pin(Drowsy::new(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })));

        for task in [&first, &second, &second] {
            let waker = Waker::from(Arc::clone(task));
            assert!(drowsy.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }

        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 2));
    }
}
