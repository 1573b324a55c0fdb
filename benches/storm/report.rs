//! What a run amounts to: raw figures as JSON, for those who put many runs together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::endpoint::Call;
use crate::load::{Outcome, is_post};
use crate::plan::{PHASES, Plan};

/// Below this part of its fair share an endpoint counts as left out.
const OUT: f64 = 0.05;
/// From this part of its fair share on it counts as back.
const BACK: f64 = 0.5;
/// The time over which a share is judged: who is out is out for a second, who is back is so at once.
const OUT_FOR: Duration = Duration::from_secs(1);
const BACK_FOR: Duration = Duration::from_millis(200);
/// The grain of the time line.
const GRAIN: Duration = Duration::from_millis(100);

/// Everything that was seen.
pub struct Seen {
    pub outcomes: Vec<Outcome>,
    /// Of each endpoint.
    pub calls: Vec<Vec<Call>>,
    pub start: Instant,
    /// What the proxy counted as tries by phase, where it was asked.
    pub attempts: Vec<f64>,
}

impl Seen {
    /// All figures of the run.
    pub fn figures(&self, plan: &Plan) -> Value {
        let phases: BTreeMap<&str, Value> =
            PHASES.iter().enumerate().map(|(phase, name)| (*name, self.phase(plan, phase))).collect();
        json!({
            "phases": phases,
            "timeline": self.timeline(plan),
            "late": self.outcomes.iter().map(|outcome| outcome.late.as_micros() as u64).collect::<Vec<_>>(),
            "bad": self.gone(plan, 0, plan.fault()),
            "slow": plan.slow().map(|times| self.gone(plan, 1, times)),
        })
    }

    fn phase(&self, plan: &Plan, phase: usize) -> Value {
        let own = |number: usize| plan.phase(number) == Some(phase);
        let calls = self.calls.iter().flatten().filter(|call| own(call.number)).count();
        let requests = self.outcomes.iter().filter(|outcome| own(outcome.number)).count();
        let of = |post: bool| self.method(|number| own(number) && is_post(number) == post);
        let attempts = self.attempts.get(phase + 1).map(|after| after - self.attempts[phase]);
        json!({ "GET": of(false), "POST": of(true), "calls": calls, "requests": requests, "attempts": attempts })
    }

    fn method(&self, own: impl Fn(usize) -> bool) -> Value {
        let outcomes: Vec<_> = self.outcomes.iter().filter(|outcome| own(outcome.number)).collect();
        let micros = |outcome: &&Outcome| outcome.took.as_micros() as u64;
        // How fast somebody else refuses does not begin before he was asked.
        let waited = |outcome: &&Outcome| (outcome.took - outcome.late).as_micros() as u64;
        let mut answers: BTreeMap<String, u32> = BTreeMap::new();
        for outcome in &outcomes {
            let by = if outcome.forwarded { "" } else { " own" };
            let word = outcome.status.map_or_else(|| "none".to_owned(), |status| format!("{status}{by}"));
            *answers.entry(word).or_default() += 1;
        }
        let refused = |outcome: &&&Outcome| !outcome.forwarded && outcome.status == Some(503);
        let mut read: BTreeMap<usize, u32> = BTreeMap::new();
        for call in self.calls.iter().flatten().filter(|call| own(call.number)) {
            *read.entry(call.number).or_default() += 1;
        }
        json!({
            "requests": outcomes.len(),
            "good": outcomes.iter().filter(|outcome| outcome.is_good()).count(),
            "micros": outcomes.iter().map(micros).collect::<Vec<_>>(),
            "answers": answers,
            "refused_micros": outcomes.iter().filter(refused).map(waited).collect::<Vec<_>>(),
            "repeated": read.values().filter(|times| **times > 1).count(),
        })
    }

    /// Requests and good ones by a tenth of a second.
    fn timeline(&self, plan: &Plan) -> Value {
        let mut line: Vec<(u32, u32)> = Vec::new();
        for outcome in &self.outcomes {
            let slot = (plan.due(outcome.number).as_nanos() / GRAIN.as_nanos()) as usize;
            line.resize(line.len().max(slot + 1), (0, 0));
            line[slot].0 += 1;
            line[slot].1 += u32::from(outcome.is_good());
        }
        json!(line)
    }

    /// When an endpoint was left out after trouble began, and taken back after it ended: seconds, by what it saw.
    fn gone(&self, plan: &Plan, endpoint: usize, (from, to): (Duration, Duration)) -> Value {
        let Some(calls) = self.calls.get(endpoint) else { return Value::Null };
        let fair = |time: Duration| plan.rate() / self.calls.len() as f64 * time.as_secs_f64();
        let times: Vec<Duration> = calls.iter().map(|call| call.at.duration_since(self.start)).collect();
        let share = |at: Duration, time: Duration| {
            times.iter().filter(|call| (at..at + time).contains(*call)).count() as f64 / fair(time)
        };
        let grid =
            |from: Duration, to: Duration| (0u32..).map(move |step| from + GRAIN * step).take_while(move |at| *at < to);
        let out = grid(from, to.saturating_sub(OUT_FOR)).find(|at| share(*at, OUT_FOR) < OUT);
        let back = grid(to, plan.end().saturating_sub(BACK_FOR)).find(|at| share(*at, BACK_FOR) >= BACK);
        json!({
            "eject": out.map(|at| (at - from).as_secs_f64()),
            "return": back.map(|at| (at - to).as_secs_f64()),
            "calls": times.iter().filter(|time| (from..to).contains(*time)).count(),
        })
    }
}
