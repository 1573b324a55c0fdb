//! What happens when: the words of the command line, and the times that follow from them.

use std::time::Duration;

use crate::endpoint::Mode;

/// The parts of a run, after a second that is not looked at.
pub const PHASES: [&str; 3] = ["healthy", "fault", "recovery"];
const WARM: Duration = Duration::from_secs(1);

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the endpoints listen.
    pub ports: Vec<u16>,
    /// What fails, and how: `Unavailable`, `Reset` or `Refuse`.
    pub fault: Mode,
    /// All endpoints fail, rather than the first alone beside a slow second one.
    pub outage: bool,
    rate: u32,
    lengths: [Duration; 3],
}

impl Plan {
    /// Reads `ports=1,2,3 rate=300 healthy=5 fault=15 recovery=10 how=unavailable scene=ejection`.
    pub fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let second = Duration::from_secs(1);
        let mut plan =
            Self { ports: Vec::new(), fault: Mode::Unavailable, outage: false, rate: 300, lengths: [second; 3] };
        for word in words {
            let (key, value) = word.split_once('=')?;
            match (key, value) {
                ("ports", _) => plan.ports = value.split(',').map(|port| port.parse().ok()).collect::<Option<_>>()?,
                ("rate", _) => plan.rate = value.parse().ok().filter(|rate| *rate > 0)?,
                ("how", "unavailable") => plan.fault = Mode::Unavailable,
                ("how", "reset") => plan.fault = Mode::Reset,
                ("how", "refuse") => plan.fault = Mode::Refuse,
                ("scene", "ejection") => plan.outage = false,
                ("scene", "outage") => plan.outage = true,
                _ => {
                    let phase = PHASES.iter().position(|phase| *phase == key)?;
                    plan.lengths[phase] = Duration::from_secs(value.parse().ok()?);
                }
            }
        }
        (!plan.ports.is_empty()).then_some(plan)
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.rate)
    }

    /// Between two requests.
    pub fn period(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Requests in all.
    pub fn count(&self) -> usize {
        (self.end().as_secs_f64() * self.rate()) as usize
    }

    /// When a request is due.
    pub fn due(&self, number: usize) -> Duration {
        self.period() * number as u32
    }

    /// The index of the phase a request is due in; `None` in the first second.
    pub fn phase(&self, number: usize) -> Option<usize> {
        let due = self.due(number);
        (0..PHASES.len()).rev().find(|phase| due >= self.begin(*phase))
    }

    /// When a phase begins; that of the one after the last is the end.
    pub fn begin(&self, phase: usize) -> Duration {
        WARM + self.lengths[..phase].iter().sum::<Duration>()
    }

    /// When the last request is due.
    pub fn end(&self) -> Duration {
        self.begin(PHASES.len())
    }

    /// From when to when something fails.
    pub fn fault(&self) -> (Duration, Duration) {
        (self.begin(1), self.begin(2))
    }

    /// From when to when the second endpoint is slow: the first two thirds of the fault.
    pub fn slow(&self) -> Option<(Duration, Duration)> {
        (!self.outage).then(|| (self.begin(1), self.begin(1) + self.lengths[1] * 2 / 3))
    }
}
