use super::*;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

const QUICK: Duration = Duration::from_millis(5);
const OK: Sample = Sample::Success { latency: QUICK, whole: true };
const ERROR: Sample = Sample::Failure { connect: false, latency: QUICK };
const REFUSED: Sample = Sample::Failure { connect: true, latency: QUICK };

/// A breaker with a clock and a generator, so that a test reads as what happens.
struct Bench {
    breaker: Breaker,
    params: Params,
    now: Tick,
    rng: fastrand::Rng,
}

impl Bench {
    fn new() -> Self {
        Self::with(Params { jitter: 0.0, ..Params::default() })
    }

    fn with(params: Params) -> Self {
        let now = Tick::from_nanos(1_000_000_000_000);
        Self { breaker: Breaker::new(), params, now, rng: fastrand::Rng::with_seed(1) }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn admit(&self) -> Admission {
        self.breaker.admit(&self.params, self.now, true).expect("admitted").0
    }

    fn refused(&self) -> Option<Duration> {
        match self.breaker.admit(&self.params, self.now, true) {
            Ok((admission, _)) => {
                self.breaker.release(admission);
                None
            }
            Err(wait) => Some(wait),
        }
    }

    fn record(&mut self, admission: Admission, sample: Sample) -> Option<Transition> {
        self.breaker.record(admission, sample, &self.params, self.now, &mut self.rng)
    }

    fn call(&mut self, sample: Sample) -> Option<Transition> {
        let admission = self.admit();
        self.record(admission, sample)
    }

    fn calls(&mut self, times: usize, sample: Sample) -> Option<Transition> {
        (0..times).filter_map(|_| self.call(sample)).last()
    }

    fn late(&mut self, generation: u32) -> Option<Transition> {
        self.breaker.late_failure(generation, &self.params, self.now, &mut self.rng)
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn open(mut self) -> Self {
        let times = self.params.connect_failures as usize;
        self.calls(times, REFUSED).expect("trips");
        self
    }

    fn half_open(mut self) -> Self {
        self = self.open();
        self.wait(self.params.open);
        let probe = self.admit();
        self.breaker.release(probe);
        self
    }
}

#[test]
fn fifth_connect_failure_in_a_row_trips() {
    let mut bench = Bench::new();

    assert_eq!(bench.calls(4, REFUSED), None);
    let transition = bench.call(REFUSED).expect("trips");

    assert_eq!((transition.from, transition.to, transition.cause), (State::Closed, State::Open, Cause::Connect));
    assert!(transition.open_for > Duration::from_millis(4998) && transition.open_for <= Duration::from_secs(5));
    assert!(bench.breaker.opened_by_connect());
    assert_eq!(bench.refused(), Some(transition.open_for));
}

#[test]
fn anything_that_connected_ends_the_row() {
    for between in [OK, ERROR] {
        let mut bench = Bench::new();

        bench.calls(4, REFUSED);
        bench.call(between);
        bench.calls(4, REFUSED);

        assert_eq!(bench.state(), State::Closed);
        assert!(bench.call(REFUSED).is_some());
    }
}

#[test]
fn explicit_number_counts_every_failure_in_a_row() {
    let mut bench = Bench::with(Params { failures: Some(3), ..Params::default() });

    bench.calls(2, ERROR);
    bench.call(OK);
    bench.call(ERROR);
    assert_eq!(bench.call(REFUSED), None);
    let transition = bench.call(ERROR).expect("trips");

    assert_eq!(transition.cause, Cause::Row);
    assert!(!bench.breaker.opened_by_connect());
}

#[test]
fn explicit_number_replaces_the_connect_failures() {
    let mut bench = Bench::with(Params { failures: Some(7), ..Params::default() });

    assert_eq!(bench.calls(6, REFUSED), None);
    assert!(bench.call(REFUSED).is_some());

    assert!(bench.breaker.opened_by_connect());
}

#[test]
fn a_restart_that_resets_before_it_refuses_is_looked_for_by_dials() {
    for (row, dialed) in [([ERROR, ERROR, REFUSED], true), ([REFUSED, REFUSED, ERROR], false)] {
        let mut bench = Bench::with(Params { failures: Some(3), ..Params::default() });

        let tripped = row.map(|sample| bench.call(sample)).into_iter().flatten().count();

        assert_eq!((tripped, bench.breaker.opened_by_connect()), (1, dialed), "{row:?}");
    }
}

#[test]
fn half_of_twenty_calls_failing_trips() {
    let mut bench = Bench::new();

    assert_eq!(bench.calls(10, OK), None);
    assert_eq!(bench.calls(9, ERROR), None);
    let transition = bench.call(ERROR).expect("trips");

    assert_eq!(transition.cause, Cause::Rate);
    assert!(!bench.breaker.opened_by_connect());
}

#[test]
fn success_trips_when_it_makes_the_calls_enough_to_judge() {
    let mut bench = Bench::new();

    assert_eq!(bench.calls(10, ERROR), None);
    assert_eq!(bench.calls(9, OK), None);
    let transition = bench.call(OK).expect("trips");

    assert_eq!(transition.cause, Cause::Rate);
}

#[test]
fn less_than_half_does_not_trip() {
    let mut bench = Bench::new();

    bench.calls(21, OK);

    assert_eq!(bench.calls(20, ERROR), None);
    assert!(bench.call(ERROR).is_some());
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut bench = Bench::new();
    bench.calls(19, ERROR);

    bench.wait(Duration::from_secs(10));

    assert_eq!(bench.calls(19, ERROR), None);
    assert!(bench.call(ERROR).is_some());
}

#[test]
fn slow_calls_trip_by_their_share() {
    let over = Duration::from_millis(100);
    let mut bench = Bench::with(Params { slow: Some(Slow { over, rate: 0.8 }), ..Params::default() });
    let slow = Sample::Success { latency: Duration::from_millis(101), whole: true };

    bench.calls(4, Sample::Success { latency: over, whole: true });
    assert_eq!(bench.calls(15, slow), None);
    let transition = bench.call(slow).expect("trips");

    assert_eq!(transition.cause, Cause::Slow);
}

#[test]
fn slow_calls_count_only_where_configured() {
    let mut bench = Bench::new();

    assert_eq!(bench.calls(100, Sample::Success { latency: Duration::from_secs(60), whole: true }), None);
}

#[test]
fn open_refuses_until_its_time_is_over() {
    let mut bench = Bench::new().open();

    bench.wait(Duration::from_millis(4900));
    assert!(bench.refused().is_some_and(|wait| wait <= Duration::from_millis(100)));
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.state(), State::Open);
    let (probe, transition) = bench.breaker.admit(&bench.params, bench.now, true).expect("admitted");

    assert!(probe.probe());
    assert_eq!(transition.map(|change| (change.to, change.cause)), Some((State::HalfOpen, Cause::Elapsed)));
    assert_eq!(bench.refused(), Some(PROBE_WAIT));
}

#[test]
fn three_probes_in_a_row_close_it() {
    let mut bench = Bench::new().half_open();

    assert_eq!(bench.calls(2, OK), None);
    assert_eq!(bench.state(), State::HalfOpen);
    let transition = bench.call(OK).expect("closes");

    assert_eq!((transition.to, transition.cause), (State::Closed, Cause::Recovered));
    assert_eq!(bench.calls(4, REFUSED), None);
    assert!(!bench.admit().probe());
}

#[test]
fn failed_probe_opens_it_for_twice_as_long() {
    let mut bench = Bench::new().half_open();
    let mut times = Vec::new();

    for _ in 0..6 {
        let open_for = bench.call(ERROR).expect("opens").open_for;
        times.push(open_for.as_millis().div_ceil(1000));
        bench.wait(open_for);
    }

    assert_eq!(times, [10, 20, 40, 60, 60, 60]);
    assert!(!bench.breaker.opened_by_connect());
}

#[test]
fn open_time_starts_over_once_it_has_closed() {
    let mut bench = Bench::new().half_open();
    let open_for = bench.call(REFUSED).expect("opens").open_for;
    bench.wait(open_for);
    bench.calls(3, OK).expect("closes");

    let again = bench.calls(5, REFUSED).expect("opens").open_for;

    assert!(again <= Duration::from_secs(5));
}

#[test]
fn jitter_only_adds_and_differs() {
    let mut seen = Vec::new();
    for seed in 0..50 {
        let mut bench = Bench::with(Params::default());
        bench.rng = fastrand::Rng::with_seed(seed);
        seen.push(bench.calls(5, REFUSED).expect("opens").open_for);
    }

    assert!(seen.iter().all(|time| (4.998..=6.0).contains(&time.as_secs_f64())), "{seen:?}");
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 40);
}

#[test]
fn slow_probe_counts_as_failed() {
    let slow = Slow { over: Duration::from_millis(100), rate: 0.5 };
    let mut bench = Bench::with(Params { slow: Some(slow), jitter: 0.0, ..Params::default() }).half_open();

    let transition = bench.call(Sample::Success { latency: Duration::from_millis(101), whole: true }).expect("opens");

    assert_eq!((transition.to, transition.cause), (State::Open, Cause::Probe));
}

#[test]
fn released_probe_makes_room_and_counts_nothing() {
    let mut bench = Bench::new().half_open();
    bench.calls(2, OK);

    let probe = bench.admit();
    assert_eq!(bench.refused(), Some(PROBE_WAIT));
    bench.breaker.release(probe);

    assert_eq!(bench.state(), State::HalfOpen);
    assert!(bench.call(OK).is_some());
}

#[test]
fn released_call_counts_nothing_while_closed() {
    let mut bench = Bench::new();
    bench.calls(4, REFUSED);

    let admission = bench.admit();
    bench.breaker.release(admission);

    assert!(bench.call(REFUSED).is_some());
}

#[test]
fn results_of_an_earlier_generation_are_ignored() {
    let bench = Bench::new();
    let late: Vec<_> = (0..40).map(|_| bench.admit()).collect();
    let mut bench = bench.half_open();
    let before = bench.breaker.load();

    for (at, admission) in late.into_iter().enumerate() {
        let sample = if at % 2 == 0 { OK } else { REFUSED };
        assert_eq!(bench.record(admission, sample), None);
    }
    assert_eq!(bench.late(0), None);

    assert_eq!(bench.breaker.load(), before);
}

#[test]
fn late_release_does_not_free_the_probe_of_another_generation() {
    let mut bench = Bench::new().half_open();
    let stale = bench.admit();
    assert!(bench.late(stale.generation()).is_some(), "opens under the probe");
    bench.wait(Duration::from_secs(10));
    let _probe = bench.admit();

    bench.breaker.release(stale);

    assert_eq!(bench.refused(), Some(PROBE_WAIT));
}

#[test]
fn bodies_cut_later_count_as_failures_of_the_same_calls() {
    let mut bench = Bench::new();
    bench.calls(20, OK);

    assert!((0..9).all(|_| bench.late(0).is_none()));
    let transition = bench.late(0).expect("trips");

    assert_eq!(transition.cause, Cause::Rate);
}

#[test]
fn calls_that_all_fail_late_are_a_row() {
    let mut bench = Bench::with(Params { failures: Some(3), ..Params::default() });
    let head = Sample::Success { latency: QUICK, whole: false };

    for _ in 0..2 {
        assert_eq!(bench.call(head), None);
        assert_eq!(bench.late(0), None);
    }
    bench.call(head);
    let transition = bench.late(0).expect("trips");

    assert_eq!((transition.cause, bench.state()), (Cause::Row, State::Open));
}

#[test]
fn call_that_ended_well_ends_the_row_and_one_under_way_does_not() {
    let mut bench = Bench::with(Params { failures: Some(3), ..Params::default() });
    let head = Sample::Success { latency: QUICK, whole: false };

    bench.calls(2, ERROR);
    bench.call(head);
    bench.breaker.completed(0);
    bench.calls(2, ERROR);
    bench.call(head);

    assert!(bench.call(ERROR).is_some());
}

#[test]
fn forced_breaker_counts_nothing_until_it_is_reset() {
    let mut bench = Bench::new();
    let early = bench.admit();

    let opened = bench.breaker.force(Some(Force::Open), bench.now).expect("opens");
    assert_eq!((opened.to, opened.cause, opened.open_for), (State::Open, Cause::Operator, Duration::ZERO));
    bench.wait(Duration::from_secs(86_400));
    assert_eq!(bench.refused(), Some(bench.params.open));
    assert_eq!(bench.record(early, OK), None);
    assert_eq!(bench.breaker.reachable(&bench.params, bench.now), None);

    assert_eq!(bench.breaker.force(Some(Force::Closed), bench.now).map(|change| change.to), Some(State::Closed));
    assert_eq!(bench.calls(100, REFUSED), None);
    assert_eq!((bench.state(), bench.breaker.forced()), (State::Closed, Some(Force::Closed)));

    assert_eq!(bench.breaker.force(None, bench.now), None);
    assert_eq!(bench.calls(4, REFUSED), None);
    assert!(bench.call(REFUSED).is_some(), "counts again");
}

#[test]
fn probe_is_a_repeatable_request_while_there_are_any() {
    let mut bench = Bench::new().open();
    bench.wait(Duration::from_millis(4_500));
    assert!(bench.refused().is_some(), "a repeatable one that asks too early");
    bench.wait(Duration::from_millis(600));

    assert_eq!(bench.breaker.admit(&bench.params, bench.now, false), Err(PROBE_WAIT));
    assert!(bench.breaker.admit(&bench.params, bench.now, true).is_ok());
    assert_eq!(bench.breaker.admit(&bench.params, bench.now, false), Err(PROBE_WAIT));
}

#[test]
fn probe_is_any_request_once_no_repeatable_one_was_around_for_a_second() {
    let mut bench = Bench::new().open();
    bench.refused();
    bench.wait(bench.params.open);

    assert!(bench.breaker.admit(&bench.params, bench.now, false).is_ok());
}

#[test]
fn probe_that_is_out_for_too_long_makes_way_and_counts_no_more() {
    let mut bench = Bench::new().half_open();
    let hanging = bench.admit();
    bench.wait(PATIENCE);
    assert_eq!(bench.refused(), Some(PROBE_WAIT));
    bench.wait(Duration::from_millis(2));

    let second = bench.admit();

    assert!(second.probe() && bench.refused() == Some(PROBE_WAIT));
    assert_eq!(bench.record(hanging, ERROR), None);
    assert_eq!(bench.state(), State::HalfOpen);
    bench.record(second, OK);
    assert!(bench.calls(2, OK).is_some(), "closes");
}

#[test]
fn outlier_is_ejected_once_and_only_by_what_it_did_in_this_generation() {
    let mut bench = Bench::new();
    bench.calls(6, OK);
    bench.calls(4, ERROR);
    let (generation, calls) = bench.breaker.calls(bench.now).expect("counts");
    assert_eq!(calls, Calls { total: 10, failed: 4 });

    let Bench { breaker, params, now, rng } = &mut bench;
    assert_eq!(breaker.eject(generation + 1, params, *now, rng), None);
    let ejected = breaker.eject(generation, params, *now, rng).expect("opens");

    assert_eq!((ejected.to, ejected.cause), (State::Open, Cause::Outlier));
    assert_eq!((breaker.eject(generation, params, *now, rng), breaker.calls(*now)), (None, None));
}

#[test]
fn late_failure_leaves_a_row_of_connect_failures_alone() {
    let mut bench = Bench::new();
    bench.calls(4, REFUSED);

    assert_eq!(bench.late(0), None);

    assert!(bench.call(REFUSED).is_some());
}

#[test]
fn late_failure_of_a_probe_reopens() {
    let mut bench = Bench::new().half_open();
    let probe = bench.admit();
    let generation = probe.generation();
    bench.record(probe, OK);

    let transition = bench.late(generation).expect("opens");

    assert_eq!((transition.to, transition.cause), (State::Open, Cause::Probe));
}

#[test]
fn reachable_endpoint_is_probed_at_once() {
    let mut bench = Bench::new().open();

    let transition = bench.breaker.reachable(&bench.params, bench.now).expect("half-open");

    assert_eq!((transition.to, transition.cause), (State::HalfOpen, Cause::Reachable));
    assert!(!bench.breaker.opened_by_connect());
    assert_eq!(bench.breaker.reachable(&bench.params, bench.now), None);
    assert!(bench.calls(3, OK).is_some_and(|change| change.to == State::Closed));
}

#[test]
fn dial_says_nothing_about_an_endpoint_that_answers_errors() {
    let mut bench = Bench::new();
    bench.calls(20, ERROR).expect("trips");

    assert_eq!(bench.breaker.reachable(&bench.params, bench.now), None);

    assert_eq!(bench.state(), State::Open);
}

#[test]
fn new_numbers_apply_to_what_was_counted() {
    let mut bench = Bench::new();
    bench.calls(3, REFUSED);

    bench.params.connect_failures = 4;

    assert!(bench.call(REFUSED).is_some());
}

#[test]
fn extreme_numbers_do_not_panic() {
    for open in [Duration::ZERO, Duration::MAX] {
        for jitter in [f64::NAN, -1.0, f64::INFINITY] {
            let mut bench = Bench::with(Params { open, max_open: open, jitter, ..Params::default() });

            bench.calls(5, REFUSED).expect("opens");

            assert_eq!(bench.refused().is_none(), open.is_zero());
        }
    }
}

#[test]
fn threads_see_one_probe_and_one_transition_at_a_time() {
    // The threads' clocks are up to half a minute apart.
    let patience = Duration::from_secs(60);
    let params = Params { failures: Some(3), open: Duration::ZERO, successes: 2, patience, ..Params::default() };
    let (breaker, out, opened, left) = (Breaker::new(), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));

    thread::scope(|scope| {
        for seed in 0..4 {
            let (breaker, params, out, opened, left) = (&breaker, &params, &out, &opened, &left);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let count = |change: Option<Transition>| match change {
                    Some(change) if change.to == State::Open => _ = opened.fetch_add(1, SeqCst),
                    Some(change) if change.from == State::Open => _ = left.fetch_add(1, SeqCst),
                    _ => {}
                };
                for step in 0..30_000u64 {
                    let now = Tick::from_nanos(step * 1_000_000);
                    let Ok((admission, change)) = breaker.admit(params, now, true) else { continue };
                    count(change);
                    let probe = admission.probe();
                    if probe {
                        assert_eq!(out.fetch_add(1, SeqCst), 0, "two probes at once");
                        out.fetch_sub(1, SeqCst);
                    }
                    match rng.u8(..4) {
                        0 => breaker.release(admission),
                        1 => count(breaker.record(admission, OK, params, now, &mut rng)),
                        _ => count(breaker.record(admission, ERROR, params, now, &mut rng)),
                    }
                }
            });
        }
    });

    let (opened, left) = (opened.into_inner(), left.into_inner());
    assert!(opened > 10);
    assert_eq!(opened - left, u32::from(breaker.state() == State::Open));
}
