//! One coarse timer for all client connections of a worker, and one place to tell them to end.
//!
//! hyper's own header timer costs an instruction budget per request and also fires on an idle keep-alive
//! connection. Here a connection only notes in which phase it is since when, in half seconds; a sweep twice a
//! second ends those that overstayed. The imprecision is one sweep.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use exchange::exchange::Connection;
use exchange::{Exchange, Interim};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use policy::Tick;

/// Bytes of interim heads that wait for a client that does not read; more are dropped.
const MAX_INTERIMS: usize = 32 * 1024;
/// Between two sweeps.
pub const EVERY: Duration = Duration::from_millis(500);

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Reading a request head.
    Head = 0,
    /// At least one exchange runs.
    Busy = 1,
    /// Between two requests.
    Idle = 2,
}

/// How long a connection may stay in a phase.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without the client taking a byte of what is written to it.
    pub stall: Duration,
}

/// One connection's pulse.
pub struct Pulse {
    clock: Arc<AtomicU64>,
    phase: AtomicU8,
    since: AtomicU64,
    running: AtomicU32,
    /// Since when a write waits; 0 while none does.
    stalled: AtomicU64,
    order: AtomicU8,
    /// Part of a request body is left on the connection for good.
    unread: AtomicBool,
    /// The request that came last is there to its end.
    whole: AtomicBool,
    /// There is something in `interims`: most connections never have it, and lock nothing.
    interim: AtomicBool,
    interims: Mutex<VecDeque<(Bytes, Weak<Exchange>)>>,
    waker: AtomicWaker,
    /// What is written ends with the connection (HTTP/1.0).
    open_ended: AtomicBool,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Nothing.
    None = 0,
    /// Finish what runs, then close.
    Drain = 1,
    /// It has overstayed in its phase.
    Overstayed = 2,
    /// Close now.
    Stop = 3,
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pulse")
    }
}

impl Pulse {
    /// Bytes arrived: if nothing was going on, a head begins.
    pub fn read(&self) {
        if self.phase.load(Relaxed) == Phase::Idle as u8 {
            self.enter(Phase::Head);
        }
    }

    /// A write was taken, or has to wait.
    pub fn wrote(&self, waits: bool) {
        match (waits, self.stalled.load(Relaxed)) {
            (true, 0) => self.stalled.store(self.clock.load(Relaxed).max(1), Relaxed),
            (false, since) if since != 0 => self.stalled.store(0, Relaxed),
            _ => {}
        }
    }

    /// An answer is written that may end with the connection.
    pub fn set_open_ended(&self) {
        self.open_ended.store(true, Relaxed);
    }

    /// Only a reset tells the client that an answer was cut.
    pub fn is_open_ended(&self) -> bool {
        self.open_ended.load(Relaxed)
    }

    /// A write waits.
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Relaxed) != 0
    }

    /// Wakes this task for an order or an interim head that comes from now on: to be called before looking for either.
    pub fn listen(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// What the connection is told beyond `known`.
    pub fn poll_order(&self, known: Order) -> Poll<Order> {
        match self.order() {
            order if order > known => Poll::Ready(order),
            _ => Poll::Pending,
        }
    }

    /// Interim heads are there, or were until the last look.
    pub fn has_interims(&self) -> bool {
        self.interim.load(Acquire)
    }

    /// The next interim head to write. One whose exchange has its final answer is dropped: the connection's own task
    /// notes that answer before it writes a byte of it, and the same task asks here, so none can come late.
    pub fn next_interim(&self) -> Option<Bytes> {
        let mut interims = self.interims.lock();
        while let Some((head, exchange)) = interims.pop_front() {
            if exchange.upgrade().is_some_and(|exchange| exchange.status() == 0) {
                return Some(head);
            }
        }
        self.interim.store(false, Release);
        None
    }

    /// Part of a request body is left on the connection.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// The client has sent its request and waits: all it can do is leave, or send the next one early.
    pub fn is_client_waiting(&self) -> bool {
        self.whole.load(Acquire) && self.phase.load(Relaxed) == Phase::Busy as u8
    }

    /// Takes `Overstayed` back: a request came in before the connection heard of it.
    pub fn forgive(&self, known: Order) {
        // Whoever orders more meanwhile is heard.
        let _ = self.order.compare_exchange(Order::Overstayed as u8, known as u8, Release, Relaxed);
    }

    fn order(&self) -> Order {
        match self.order.load(Acquire) {
            0 => Order::None,
            1 => Order::Drain,
            2 => Order::Overstayed,
            _ => Order::Stop,
        }
    }

    fn tell(&self, order: Order) {
        if self.order.fetch_max(order as u8, Release) < order as u8 {
            self.waker.wake();
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Head,
            1 => Phase::Busy,
            _ => Phase::Idle,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.clock.load(Relaxed), Relaxed);
    }

    fn has_overstayed(&self, limits: &Limits, now: Tick) -> bool {
        let stayed = now.since(Tick::from_nanos(self.since.load(Relaxed)));
        match self.phase() {
            Phase::Head => stayed >= limits.head,
            Phase::Idle => stayed >= limits.idle,
            // What is waited for has timers of its own; a client that does not read has only this one.
            Phase::Busy => match self.stalled.load(Relaxed) {
                0 => false,
                since => now.since(Tick::from_nanos(since)) >= limits.stall,
            },
        }
    }
}

impl Connection for Pulse {
    fn begin(&self) {
        self.running.fetch_add(1, Relaxed);
        self.whole.store(false, Relaxed);
        self.phase.store(Phase::Busy as u8, Relaxed);
    }

    fn end(&self) {
        if self.running.fetch_sub(1, Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    fn unread(&self) {
        self.unread.store(true, Relaxed);
    }

    fn whole(&self, late: bool) {
        self.whole.store(true, Release);
        // A body's end is seen by its reader; the connection's task has not looked whether the client leaves.
        if late {
            self.waker.wake();
        }
    }

    /// hyper says it, once the body is read.
    fn wanted(&self) {}

    fn interim(&self, interim: Interim, exchange: Weak<Exchange>) {
        if let Some(head) = interim.head() {
            self.queue(head, exchange);
        }
    }
}

impl Pulse {
    /// A head that waits to be written.
    pub(super) fn queue(&self, head: Bytes, exchange: Weak<Exchange>) {
        let mut interims = self.interims.lock();
        let waiting: usize = interims.iter().map(|(head, _)| head.len()).sum();
        if waiting + head.len() > MAX_INTERIMS {
            return;
        }
        interims.push_back((head, exchange));
        self.interim.store(true, Release);
        drop(interims);
        self.waker.wake();
    }
}

/// All pulses of a worker.
#[derive(Default)]
pub struct Pulses {
    clock: Arc<AtomicU64>,
    /// Told to every connection, those to come included.
    order: AtomicU8,
    all: Mutex<Vec<Weak<Pulse>>>,
}

impl Pulses {
    /// A connection that is about to send its first head.
    pub fn start(&self) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            clock: Arc::clone(&self.clock),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(self.clock.load(Relaxed)),
            running: AtomicU32::new(0),
            stalled: AtomicU64::new(0),
            order: AtomicU8::new(self.order.load(Acquire)),
            unread: AtomicBool::new(false),
            whole: AtomicBool::new(false),
            interim: AtomicBool::new(false),
            interims: Mutex::default(),
            waker: AtomicWaker::new(),
            open_ended: AtomicBool::new(false),
        });
        self.all.lock().push(Arc::downgrade(&pulse));
        pulse
    }

    /// Tells all connections, and those to come.
    pub fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Release);
        for pulse in self.all.lock().iter().filter_map(Weak::upgrade) {
            pulse.tell(order);
        }
    }

    /// Moves the coarse clock on and ends those that overstayed.
    pub fn sweep(&self, limits: &Limits, now: Tick) {
        self.clock.store(now.as_nanos(), Relaxed);
        self.all.lock().retain(|pulse| match pulse.upgrade() {
            Some(pulse) => {
                if pulse.has_overstayed(limits, now) {
                    pulse.tell(Order::Overstayed);
                }
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { head: Duration::from_secs(10), idle: Duration::from_secs(75), stall: Duration::from_secs(300) };

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(1000 + seconds)
    }

    fn is_over(pulse: &Pulse) -> bool {
        pulse.order() == Order::Overstayed
    }

    #[test]
    fn a_head_has_its_own_limit_whatever_trickles_in() {
        let pulses = Pulses::default();
        pulses.sweep(&LIMITS, at(0));
        let pulse = pulses.start();

        pulses.sweep(&LIMITS, at(9));
        pulse.read();
        assert!(!is_over(&pulse));

        pulses.sweep(&LIMITS, at(10));
        assert!(is_over(&pulse));
    }

    #[test]
    fn a_busy_connection_is_left_alone_and_idles_from_its_last_exchange_on() {
        let pulses = Pulses::default();
        pulses.sweep(&LIMITS, at(0));
        let pulse = pulses.start();
        pulse.begin();
        pulse.begin();

        pulses.sweep(&LIMITS, at(500));
        pulse.end();
        pulses.sweep(&LIMITS, at(600));
        assert!(!is_over(&pulse));

        pulse.end();
        pulses.sweep(&LIMITS, at(674));
        assert!(!is_over(&pulse));
        pulses.sweep(&LIMITS, at(675));
        assert!(is_over(&pulse));
    }

    #[test]
    fn a_client_that_takes_no_byte_has_a_limit_and_one_that_takes_some_has_none() {
        let pulses = Pulses::default();
        pulses.sweep(&LIMITS, at(0));
        let pulse = pulses.start();
        pulse.begin();

        pulse.wrote(true);
        pulses.sweep(&LIMITS, at(299));
        pulse.wrote(false);
        pulse.wrote(true);
        pulses.sweep(&LIMITS, at(500));
        assert!(!is_over(&pulse));

        pulses.sweep(&LIMITS, at(600));
        assert!(is_over(&pulse) && pulse.is_stalled());
    }

    #[test]
    fn an_order_wakes_the_connection_and_reaches_those_to_come() {
        let pulses = Pulses::default();
        let pulse = pulses.start();
        let woken = Arc::new(Woken::default());
        pulse.listen(&Context::from_waker(&Arc::clone(&woken).into()));
        assert!(pulse.poll_order(Order::None).is_pending());

        pulses.tell(Order::Drain);

        assert!(woken.0.load(Relaxed));
        assert_eq!(pulse.poll_order(Order::None), Poll::Ready(Order::Drain));
        assert!(pulse.poll_order(Order::Drain).is_pending());
        assert_eq!(pulses.start().poll_order(Order::None), Poll::Ready(Order::Drain));
    }
}
