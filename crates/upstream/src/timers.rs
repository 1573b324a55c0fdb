//! One coarse timer for all attempts of a worker.
//!
//! Nearly every attempt ends long before its limit, so what counts is the price of a timer that never fires. The
//! runtime's costs about a thousand instructions to set and clear; this one writes a slot of a list and is looked at
//! every ten milliseconds while there is anything to look at. The imprecision is that step: never early, at most one
//! step late.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use exchange::clock;
use parking_lot::Mutex;
use policy::Tick;

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);
/// Looks at an empty list before the looking stops.
const PATIENCE: u32 = 100;

/// A worker's timers.
#[derive(Default)]
pub struct Timers(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
    looking: bool,
}

enum Slot {
    Free,
    Set(Tick, Waker),
    Fired,
}

/// One limit; dropping it clears it.
pub(crate) struct Timer {
    timers: Arc<Timers>,
    at: Tick,
    slot: Option<usize>,
}

impl Timer {
    /// Not set before it is polled.
    pub(crate) fn new(timers: &Arc<Timers>, at: Tick) -> Self {
        Self { timers: Arc::clone(timers), at, slot: None }
    }

    /// Sets it to another time, after it fired.
    pub(crate) fn again(&mut self, at: Tick, cx: &Context<'_>) {
        if let Some(slot) = self.slot.take() {
            self.timers.clear(slot);
        }
        self.at = at;
        self.slot = Some(self.timers.set(at, cx.waker()));
    }

    /// Ready once the time has come.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.slot {
            None => {
                self.slot = Some(self.timers.set(self.at, cx.waker()));
                Poll::Pending
            }
            Some(slot) => self.timers.check(slot, cx.waker()),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.timers.clear(slot);
        }
    }
}

impl Timers {
    fn set(self: &Arc<Self>, at: Tick, waker: &Waker) -> usize {
        let mut slots = self.0.lock();
        let set = Slot::Set(at, waker.clone());
        let index = match slots.free.pop() {
            Some(index) => {
                slots.all[index] = set;
                index
            }
            None => {
                slots.all.push(set);
                slots.all.len() - 1
            }
        };
        if !slots.looking {
            slots.looking = true;
            drop(slots);
            tokio::spawn(look(Arc::clone(self)));
        }
        index
    }

    fn check(&self, index: usize, waker: &Waker) -> Poll<()> {
        match &mut self.0.lock().all[index] {
            Slot::Fired => Poll::Ready(()),
            Slot::Set(_, known) => {
                known.clone_from(waker);
                Poll::Pending
            }
            Slot::Free => Poll::Pending,
        }
    }

    fn clear(&self, index: usize) {
        let mut slots = self.0.lock();
        slots.all[index] = Slot::Free;
        slots.free.push(index);
    }

    /// Fires what is due; whether anything is set at all.
    fn fire(&self, now: Tick) -> bool {
        let mut due = Vec::new();
        let mut slots = self.0.lock();
        for slot in &mut slots.all {
            if matches!(slot, Slot::Set(at, _) if *at <= now)
                && let Slot::Set(_, waker) = std::mem::replace(slot, Slot::Fired)
            {
                due.push(waker);
            }
        }
        let any = slots.free.len() < slots.all.len();
        drop(slots);
        due.into_iter().for_each(Waker::wake);
        any
    }

    /// Ends the looking, unless something was set meanwhile.
    fn rest(&self) -> bool {
        let mut slots = self.0.lock();
        let empty = slots.free.len() == slots.all.len();
        if empty {
            *slots = Slots::default();
        }
        empty
    }
}

async fn look(timers: Arc<Timers>) {
    let mut empty = 0;
    loop {
        tokio::time::sleep(STEP).await;
        empty = if timers.fire(clock::now()) { 0 } else { empty + 1 };
        if empty >= PATIENCE && timers.rest() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_never_early_and_at_most_a_step_late() {
        let timers = Arc::new(Timers::default());
        let start = clock::now();
        let mut timer = Timer::new(&timers, start + Duration::from_millis(105));

        poll_fn(|cx| timer.poll(cx)).await;

        let took = clock::now().since(start);
        assert!((105..=116).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_used_again_and_the_looking_stops_when_nothing_is_set() {
        let timers = Arc::new(Timers::default());
        for _ in 0..1000 {
            let mut timer = Timer::new(&timers, clock::now() + Duration::from_secs(15));
            assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        }
        assert_eq!(timers.0.lock().all.len(), 1);

        tokio::time::sleep(STEP * (PATIENCE + 2)).await;

        assert!(!timers.0.lock().looking);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_after_the_looking_stopped_fires_as_well() {
        let timers = Arc::new(Timers::default());
        for _ in 0..2 {
            let mut timer = Timer::new(&timers, clock::now() + Duration::from_millis(20));
            poll_fn(|cx| timer.poll(cx)).await;
            drop(timer);
            tokio::time::sleep(STEP * (PATIENCE + 2)).await;
        }

        assert!(!timers.0.lock().looking);
    }
}
