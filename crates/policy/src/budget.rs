//! The retry budget: each request deposits, each retry withdraws.
//!
//! In any span of one window: withdrawals <= `per_second` x window + `ratio` x requests (Finagle's and
//! linkerd's rule). Not a share of what is in flight: that collapses just when everything fails.
//!
//! `level` is the sum of all slots and the only thing a withdrawal is decided on, by CAS. Slots remember what
//! their part of the window added, and others what it took, so that both can be undone when it leaves the
//! window. Every step that touches two of them goes in the order that leaves `level` too low in between, never
//! too high: a deposit is written to its slot first, a withdrawal to the level first, an expired credit is
//! taken off the level before its slot is cleared, an expired debit after. So no interleaving overspends.
//!
//! A slot is a twentieth of the window, and a window begins anywhere in one. A deposit counts for at most a
//! window, a withdrawal for at least one: were both forgotten at the same edge, what was spent as everything
//! began to fail could be spent again within the same ten seconds. The price is that of a steady stream of
//! retries nineteen in twenty are granted, and that one may be refused while another thread is in the middle
//! of a step.

use std::time::Duration;

use crate::Tick;
use crate::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use crate::pad::Padded;

/// Where every interleaving is tried, two show what twenty do.
const SLOTS: usize = if cfg!(loom) { 2 } else { 20 };
/// One retry, in the unit of all sums below.
const TOKEN: i64 = 1000;

/// A slot is a tag (low bits of its epoch) above a sum of this many bits.
const SUM_BITS: u32 = 40;
const SUM: u64 = (1 << SUM_BITS) - 1;
const TAG: u64 = (1 << (64 - SUM_BITS)) - 1;
/// Deposits beyond this (268 million retries in one slot) are dropped.
const SLOT_LIMIT: i64 = 1 << (SUM_BITS - 2);

/// The numbers of a retry budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Retries earned by one request, to a thousandth.
    pub ratio: f64,
    /// Retries granted without any request, `per_second` x `window` of them in each window.
    pub per_second: u32,
    /// How long a deposit or a withdrawal counts.
    pub window: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self { ratio: 0.2, per_second: 10, window: Duration::from_secs(10) }
    }
}

impl Params {
    fn reserve(&self) -> i64 {
        (f64::from(self.per_second) * self.window.as_secs_f64() * TOKEN as f64) as i64
    }

    fn credit(&self) -> i64 {
        (self.ratio.max(0.0) * TOKEN as f64).round().min(SLOT_LIMIT as f64) as i64
    }

    /// The number of the slot that `now` falls into.
    fn epoch(&self, now: Tick) -> u64 {
        let width = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX) / SLOTS as u64;
        now.as_nanos() / width.max(1)
    }
}

/// A budget shared by all workers; starts with its reserve.
#[derive(Debug, Default)]
pub struct Budget(Padded<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    level: AtomicI64,
    credits: [AtomicU64; SLOTS],
    /// One more: what was taken leaves later than what was given.
    debits: [AtomicU64; SLOTS + 1],
}

impl Ledger {
    /// Takes everything off the level that left the window ending with `epoch`.
    fn expire_all(&self, epoch: u64) {
        for back in 0..SLOTS as u64 {
            self.expire_credit(epoch.wrapping_sub(back));
        }
        for back in 0..=SLOTS as u64 {
            self.expire_debit(epoch.wrapping_sub(back));
        }
    }

    /// Makes the slot of `epoch` belong to it, or to a later one if a younger thread came first.
    fn expire_credit(&self, epoch: u64) {
        let slot = slot(&self.credits, epoch);
        let mut seen = slot.load(SeqCst);
        while outdated(seen, epoch) {
            self.level.fetch_sub(sum(seen), SeqCst);
            match slot.compare_exchange(seen, renewed(epoch), SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => {
                    self.level.fetch_add(sum(seen), SeqCst);
                    seen = now;
                }
            }
        }
    }

    /// The same of what was taken.
    fn expire_debit(&self, epoch: u64) {
        let slot = slot(&self.debits, epoch);
        let mut seen = slot.load(SeqCst);
        while outdated(seen, epoch) {
            match slot.compare_exchange(seen, renewed(epoch), SeqCst, SeqCst) {
                Ok(_) => {
                    self.level.fetch_add(sum(seen), SeqCst);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }
}

fn slot(slots: &[AtomicU64], epoch: u64) -> &AtomicU64 {
    &slots[(epoch % slots.len() as u64) as usize]
}

fn sum(slot: u64) -> i64 {
    (slot & SUM) as i64
}

fn renewed(epoch: u64) -> u64 {
    (epoch & TAG) << SUM_BITS
}

/// Whether a slot's tag is another than that of `epoch`, unless it is up to two windows ahead of it. Tags far
/// ahead come from a longer window's reload and are as good as expired.
fn outdated(slot: u64, epoch: u64) -> bool {
    let ahead = (slot >> SUM_BITS).wrapping_sub(epoch) & TAG;
    ahead > 2 * SLOTS as u64
}

impl Budget {
    /// Nothing deposited, nothing withdrawn.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request came: earns `ratio` of a retry.
    pub fn deposit(&self, params: &Params, now: Tick) {
        let (epoch, credit) = (params.epoch(now), params.credit());
        self.0.expire_credit(epoch);
        let slot = slot(&self.0.credits, epoch);
        if sum(slot.load(SeqCst)) < SLOT_LIMIT {
            slot.fetch_add(credit as u64, SeqCst);
            self.0.level.fetch_add(credit, SeqCst);
        }
    }

    /// Takes one retry out if there is one.
    #[must_use = "a retry may only be made when this is true"]
    pub fn withdraw(&self, params: &Params, now: Tick) -> bool {
        let epoch = params.epoch(now);
        self.0.expire_all(epoch);
        let least = TOKEN - params.reserve();
        let mut level = self.0.level.load(SeqCst);
        while level >= least {
            match self.0.level.compare_exchange_weak(level, level - TOKEN, SeqCst, SeqCst) {
                Ok(_) => {
                    // Never carries into the tag: a slot cannot be charged a billion retries.
                    slot(&self.0.debits, epoch).fetch_add(TOKEN as u64, SeqCst);
                    return true;
                }
                Err(seen) => level = seen,
            }
        }
        false
    }

    /// How many retries could be withdrawn now.
    pub fn balance(&self, params: &Params, now: Tick) -> u32 {
        self.0.expire_all(params.epoch(now));
        let left = (self.0.level.load(SeqCst) + params.reserve()) / TOKEN;
        u32::try_from(left.max(0)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::race;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    const START: Tick = Tick::from_nanos(1_000_000_000_000);

    fn after(millis: u64) -> Tick {
        START + Duration::from_millis(millis)
    }

    fn drain(budget: &Budget, params: &Params, now: Tick) -> u32 {
        (0..).take_while(|_| budget.withdraw(params, now)).count() as u32
    }

    #[test]
    fn starts_with_its_reserve() {
        let (budget, params) = (Budget::new(), Params::default());

        assert_eq!(budget.balance(&params, START), 100);
        assert_eq!(drain(&budget, &params, START), 100);
        assert_eq!(budget.balance(&params, START), 0);
    }

    #[test]
    fn five_requests_earn_one_retry() {
        let params = Params { per_second: 0, ..Params::default() };
        let budget = Budget::new();

        for _ in 0..4 {
            budget.deposit(&params, START);
        }
        assert!(!budget.withdraw(&params, START));
        budget.deposit(&params, START);

        assert!(budget.withdraw(&params, START));
        assert!(!budget.withdraw(&params, START));
    }

    #[test]
    fn deposits_expire_with_the_window() {
        let params = Params { per_second: 0, ..Params::default() };
        let budget = Budget::new();
        for _ in 0..50 {
            budget.deposit(&params, START);
        }

        assert_eq!(budget.balance(&params, after(9_999)), 10);
        assert_eq!(budget.balance(&params, after(10_000)), 0);
        assert!(!budget.withdraw(&params, after(10_000)));
    }

    #[test]
    fn withdrawals_are_forgotten_with_the_window() {
        let (budget, params) = (Budget::new(), Params::default());
        drain(&budget, &params, START);

        assert_eq!(budget.balance(&params, after(10_499)), 0);
        assert_eq!(drain(&budget, &params, after(10_500)), 100);
    }

    #[test]
    fn what_was_spent_at_once_is_not_spent_again_within_a_window() {
        // A hundred requests a second, of which all fail from a moment on that lies anywhere in a slot.
        let params = Params::default();
        for begin in (5_000..6_000).step_by(70) {
            let budget = Budget::new();
            let mut granted = 0;

            for millis in (0..begin + 10_000).step_by(10) {
                budget.deposit(&params, after(millis));
                granted += u32::from(millis >= begin && budget.withdraw(&params, after(millis)));
            }

            // A tenth of a second apart, a fifth of a thousand requests and ten times ten.
            assert!((280..=300).contains(&granted), "{granted} from {begin} ms on");
        }
    }

    #[test]
    fn long_silence_leaves_the_reserve() {
        let (budget, params) = (Budget::new(), Params::default());
        for _ in 0..50 {
            budget.deposit(&params, START);
        }
        drain(&budget, &params, START);

        assert_eq!(budget.balance(&params, after(1_000_000_000)), 100);
    }

    #[test]
    fn nothing_configured_grants_nothing() {
        let params = Params { ratio: 0.0, per_second: 0, window: Duration::ZERO };
        let budget = Budget::new();
        budget.deposit(&params, START);

        assert!(!budget.withdraw(&params, START));
    }

    #[test]
    fn new_numbers_keep_what_was_counted() {
        let (budget, params) = (Budget::new(), Params::default());
        drain(&budget, &params, START);

        let generous = Params { per_second: 12, ..params };

        assert_eq!(drain(&budget, &generous, START), 20);
    }

    #[test]
    fn changed_window_ends_with_an_even_account() {
        let (budget, params) = (Budget::new(), Params::default());
        let short = Params { window: Duration::from_secs(1), per_second: 100, ..params };
        for millis in 0..2000 {
            budget.deposit(&short, after(millis));
            let _ = budget.withdraw(&short, after(millis));
        }

        for millis in 2000..14_000 {
            let _ = budget.balance(&params, after(millis));
        }

        assert_eq!(budget.balance(&params, after(60_000)), 100);
    }

    #[test]
    fn threads_never_overspend_together() {
        let params = Params { ratio: 0.5, per_second: 10, ..Params::default() };
        let (budget, granted) = (Budget::new(), AtomicU32::new(0));

        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        budget.deposit(&params, START);
                        granted.fetch_add(u32::from(budget.withdraw(&params, START)), SeqCst);
                        granted.fetch_add(u32::from(budget.withdraw(&params, START)), SeqCst);
                    }
                });
            }
        });
        granted.fetch_add(drain(&budget, &params, START), SeqCst);

        assert_eq!(granted.into_inner(), 100 + 8_000 / 2);
    }

    #[test]
    fn threads_racing_over_expiry_keep_the_account_even() {
        // More credit than debit in even rounds, the reverse in odd ones: both kinds of slot expire.
        let params = Params { ratio: 0.5, per_second: 10, ..Params::default() };
        let budget = Budget::new();
        let (granted, deposited) = (AtomicU32::new(0), AtomicU32::new(0));

        race(
            5_000,
            |round| {
                let now = after(round * 10_500);
                let (deposits, withdrawals) = if round % 2 == 0 { (3, 1) } else { (1, 30) };
                for _ in 0..deposits {
                    budget.deposit(&params, now);
                    deposited.fetch_add(1, SeqCst);
                }
                for _ in 0..withdrawals {
                    granted.fetch_add(u32::from(budget.withdraw(&params, now)), SeqCst);
                }
            },
            |round| {
                let left = 100 * TOKEN + 500 * i64::from(deposited.swap(0, SeqCst))
                    - TOKEN * i64::from(granted.swap(0, SeqCst));
                assert!(left >= 0, "overspent in round {round}");
                assert_eq!(budget.0.level.load(SeqCst) + params.reserve(), left, "round {round}");
            },
        );
    }

    #[test]
    fn threads_never_share_the_last_retry() {
        let params = Params { ratio: 0.0, per_second: 0, ..Params::default() };
        let one = Params { ratio: 1.0, ..params };
        let (budget, granted) = (Budget::new(), AtomicU32::new(0));
        budget.deposit(&one, START);

        race(
            10_000,
            |_| _ = granted.fetch_add(u32::from(budget.withdraw(&params, START)), SeqCst),
            |_| {
                assert_eq!(granted.swap(0, SeqCst), 1);
                budget.deposit(&one, START);
            },
        );
    }

    proptest! {
        /// A plain list of what happened when is the reference.
        #[test]
        fn never_overspends_its_window(
            ratio in 0u32..1000, per_second in 0u32..5,
            steps in proptest::collection::vec((0u64..3_000_000_000, 0usize..4, 0usize..8), 1..80),
        ) {
            let params = Params { ratio: f64::from(ratio) / 1000.0, per_second, ..Params::default() };
            let budget = Budget::new();
            let mut now = START;
            let mut events: Vec<(u64, i64)> = Vec::new();
            // What was taken counts for a slot more.
            let counts = |event: &(u64, i64), slot: u64| event.0 + 20 + u64::from(event.1 < 0) > slot;

            for (pause, deposits, withdrawals) in steps {
                now = now + Duration::from_nanos(pause);
                let slot = now.as_nanos() / 500_000_000;
                for _ in 0..deposits {
                    budget.deposit(&params, now);
                    events.push((slot, i64::from(ratio)));
                }
                for _ in 0..withdrawals {
                    let left = i64::from(per_second) * 10_000
                        + events.iter().filter(|event| counts(event, slot)).map(|event| event.1).sum::<i64>();
                    prop_assert_eq!(i64::from(budget.balance(&params, now)), (left / 1000).max(0));
                    let granted = budget.withdraw(&params, now);
                    prop_assert_eq!(granted, left >= 1000);
                    if granted {
                        events.push((slot, -1000));
                    }
                }
            }
        }
    }
}
