//! A breaker written for one thread and plainly, run beside the real one through random histories.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Admit { repeatable: bool },
    Finish { which: usize, sample: Sample },
    Release { which: usize },
    Late { which: usize },
    Completed { which: usize },
    Reachable,
    Force(Option<Force>),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = (0u8..4, prop_oneof![Just(5u64), Just(500)]).prop_map(|(kind, millis)| {
        let latency = Duration::from_millis(millis);
        let whole = kind == 3;
        if kind == 0 || whole {
            Sample::Success { latency, whole }
        } else {
            Sample::Failure { connect: kind == 1, latency }
        }
    });
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|repeatable| Step::Admit { repeatable }),
        6 => (any::<usize>(), sample).prop_map(|(which, sample)| Step::Finish { which, sample }),
        1 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => any::<usize>().prop_map(|which| Step::Late { which }),
        1 => any::<usize>().prop_map(|which| Step::Completed { which }),
        1 => Just(Step::Reachable),
        1 => prop_oneof![2 => Just(None), 1 => Just(Some(Force::Open)), 1 => Just(Some(Force::Closed))]
            .prop_map(Step::Force),
        2 => (0u64..2000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..250)
}

fn params() -> impl Strategy<Value = Params> {
    (prop::option::of(1u32..5), 1u32..5, 1u32..8, prop::option::of(Just(0.5)), 1u32..4).prop_map(
        |(failures, connect_failures, min_requests, slow, successes)| Params {
            failures,
            connect_failures,
            min_requests,
            slow: slow.map(|rate| Slow { over: Duration::from_millis(100), rate }),
            open: Duration::from_millis(800),
            max_open: Duration::from_millis(3000),
            jitter: 0.0,
            successes,
            patience: Duration::from_millis(1500),
            ..Params::default()
        },
    )
}

/// The reference. An attempt is known by the number of the period it was admitted in.
struct Model {
    params: Params,
    period: u32,
    phase: Phase,
    reopens: u32,
    /// When a repeatable request last asked while it was not closed.
    asked: Option<Tick>,
}

enum Phase {
    Closed {
        row: u32,
        connect_row: u32,
        calls: Vec<Call>,
    },
    /// `probe`: since when it is out.
    HalfOpen {
        probe: Option<u64>,
        successes: u32,
    },
    Open {
        until: u64,
        connect: bool,
    },
    Forced(Force),
}

struct Call {
    second: u64,
    counted: bool,
    failed: bool,
    slow: bool,
}

/// The breaker's own resolution of the open time.
fn units(tick: Tick) -> u64 {
    tick.as_nanos() >> 20
}

impl Model {
    fn new(params: Params) -> Self {
        Self { params, period: 0, phase: Self::closed(), reopens: 0, asked: None }
    }

    fn closed() -> Phase {
        Phase::Closed { row: 0, connect_row: 0, calls: Vec::new() }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } | Phase::Forced(Force::Closed) => State::Closed,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Open { .. } | Phase::Forced(Force::Open) => State::Open,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.period += 1;
        self.phase = phase;
    }

    fn open(&mut self, now: Tick, connect: bool) {
        self.reopens = if matches!(self.phase, Phase::HalfOpen { .. }) { self.reopens + 1 } else { 0 };
        let time = (self.params.open * 2u32.pow(self.reopens.min(8))).min(self.params.max_open);
        self.enter(Phase::Open { until: units(now + time), connect });
    }

    fn admit(&mut self, now: Tick, repeatable: bool) -> bool {
        if let Phase::Closed { .. } | Phase::Forced(_) = self.phase {
            return self.state() == State::Closed;
        }
        if repeatable {
            self.asked = Some(now);
        }
        let best = repeatable || self.asked.is_none_or(|asked| now.since(asked) >= Duration::from_secs(1));
        match &mut self.phase {
            Phase::HalfOpen { probe: probe @ None, .. } if best => {
                *probe = Some(units(now));
                true
            }
            Phase::HalfOpen { probe: Some(since), successes }
                if best && Duration::from_nanos((units(now) - *since) << 20) > self.params.patience =>
            {
                let successes = *successes;
                self.enter(Phase::HalfOpen { probe: Some(units(now)), successes });
                true
            }
            Phase::Open { until, .. } if best && units(now) >= *until => {
                self.enter(Phase::HalfOpen { probe: Some(units(now)), successes: 0 });
                true
            }
            _ => false,
        }
    }

    fn finish(&mut self, period: u32, sample: Sample, now: Tick) {
        let slow = self.params.slow.is_some_and(|slow| sample.latency() > slow.over);
        let counts_rows = self.params.failures.is_some();
        let failure = match sample {
            Sample::Success { .. } => None,
            Sample::Failure { connect, .. } => Some(connect),
        };
        if period != self.period {
            return;
        }
        match &mut self.phase {
            Phase::HalfOpen { .. } if failure.is_some() || slow => self.open(now, failure == Some(true)),
            Phase::HalfOpen { probe, successes } => {
                (*probe, *successes) = (None, *successes + 1);
                if *successes >= self.params.successes {
                    self.enter(Self::closed());
                }
            }
            Phase::Closed { row, connect_row, calls } => {
                let open_ended = matches!(sample, Sample::Success { whole: false, .. }) && counts_rows;
                *row = if failure.is_some() {
                    *row + 1
                } else if open_ended {
                    *row
                } else {
                    0
                };
                *connect_row = if failure == Some(true) { *connect_row + 1 } else { 0 };
                let second = now.as_nanos() / 1_000_000_000;
                calls.push(Call { second, counted: true, failed: failure.is_some(), slow });
                self.judge(now);
            }
            Phase::Forced(_) => {}
            Phase::Open { .. } => unreachable!("nothing is admitted while open"),
        }
    }

    fn late(&mut self, period: u32, now: Tick) {
        if period != self.period {
            return;
        }
        match &mut self.phase {
            Phase::HalfOpen { .. } => self.open(now, false),
            Phase::Closed { row, calls, .. } => {
                *row += 1;
                let second = now.as_nanos() / 1_000_000_000;
                calls.push(Call { second, counted: false, failed: true, slow: false });
                self.judge(now);
            }
            Phase::Forced(_) => {}
            Phase::Open { .. } => unreachable!("nothing is admitted while open"),
        }
    }

    fn completed(&mut self, period: u32) {
        if let Phase::Closed { row, connect_row, .. } = &mut self.phase
            && period == self.period
        {
            (*row, *connect_row) = (0, 0);
        }
    }

    fn force(&mut self, force: Option<Force>) {
        match (force, &self.phase) {
            (Some(force), Phase::Forced(now)) if force == *now => {}
            (Some(force), _) => self.enter(Phase::Forced(force)),
            (None, _) => self.enter(Self::closed()),
        }
    }

    fn judge(&mut self, now: Tick) {
        let Phase::Closed { row, connect_row, calls } = &self.phase else { return };
        let limit = self.params.failures.unwrap_or(self.params.connect_failures);
        let long = if self.params.failures.is_some() { *row } else { *connect_row };
        if long >= limit {
            let connect = *connect_row > 0;
            return self.open(now, connect);
        }
        let second = now.as_nanos() / 1_000_000_000;
        let recent = || calls.iter().filter(|call| call.second + 10 > second);
        let failed = recent().filter(|call| call.failed).count();
        let slow = recent().filter(|call| call.slow).count();
        let total = recent().filter(|call| call.counted).count().max(failed);
        let too_slow = slow > 0 && self.params.slow.is_some_and(|params| slow as f64 >= params.rate * total as f64);
        let too_bad = failed > 0 && failed as f64 >= self.params.rate * total as f64;
        if total >= self.params.min_requests as usize && (too_bad || too_slow) {
            self.open(now, false);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn breaker_does_what_the_model_does(params in params(), steps in steps()) {
        let (breaker, mut model) = (Breaker::new(), Model::new(params.clone()));
        let mut rng = fastrand::Rng::with_seed(0);
        let mut now = Tick::from_nanos(1_000_000_000_000);
        let (mut out, mut ended) = (Vec::<(Admission, u32)>::new(), Vec::<(u32, u32)>::new());

        for step in steps {
            let before = breaker.state();
            let mut change = None;
            match step {
                Step::Admit { repeatable } => {
                    let admitted = breaker.admit(&params, now, repeatable);
                    prop_assert_eq!(admitted.is_ok(), model.admit(now, repeatable));
                    match admitted {
                        Ok((admission, transition)) => {
                            change = transition;
                            out.push((admission, model.period));
                        }
                        Err(wait) => prop_assert!(!wait.is_zero()),
                    }
                }
                Step::Finish { which, sample } if !out.is_empty() => {
                    let (admission, period) = out.swap_remove(which % out.len());
                    ended.push((admission.generation(), period));
                    model.finish(period, sample, now);
                    change = breaker.record(admission, sample, &params, now, &mut rng);
                }
                Step::Release { which } if !out.is_empty() => {
                    let (admission, period) = out.swap_remove(which % out.len());
                    if let Phase::HalfOpen { probe, .. } = &mut model.phase && period == model.period {
                        *probe = None;
                    }
                    breaker.release(admission);
                }
                Step::Late { which } if !ended.is_empty() => {
                    let (generation, period) = ended.swap_remove(which % ended.len());
                    model.late(period, now);
                    change = breaker.late_failure(generation, &params, now, &mut rng);
                }
                Step::Completed { which } if !ended.is_empty() => {
                    let (generation, period) = ended.swap_remove(which % ended.len());
                    model.completed(period);
                    breaker.completed(generation);
                }
                Step::Force(force) => {
                    model.force(force);
                    change = breaker.force(force, now);
                }
                Step::Reachable => {
                    if let Phase::Open { connect: true, .. } = model.phase {
                        model.enter(Phase::HalfOpen { probe: None, successes: 0 });
                    }
                    change = breaker.reachable(&params, now);
                }
                Step::Wait(millis) => now = now + Duration::from_millis(millis),
                _ => {}
            }

            prop_assert_eq!(breaker.state(), model.state());
            prop_assert_eq!(breaker.load().generation(), model.period);
            prop_assert_eq!(change.map(|change| (change.from, change.to)),
                (before != model.state()).then(|| (before, model.state())));
            prop_assert_eq!(breaker.opened_by_connect(), matches!(model.phase, Phase::Open { connect: true, .. }));
            let probes = out.iter().filter(|(admission, period)| admission.probe() && *period == model.period).count();
            prop_assert!(probes <= 1);
            prop_assert_eq!(breaker.load().probing(), probes == 1);
        }
    }
}
