//! Who did not take a certificate of ours: clients that trust other authorities, that pin a certificate, or that ask for
//! another name than they told the proxy.
//!
//! Kept by host, with the last reason, so that somebody finds the app that needs the authority installed, or the host
//! that needs `intercept: false`. Said once a host, and not more often than every ten seconds however many hosts a
//! client makes up; 64 hosts are kept, and the one that was quiet for longest makes room.

use std::time::Duration;

use exchange::Host;
use parking_lot::Mutex;
use policy::Tick;
use telemetry::metrics::Refused;

/// Hosts that are kept.
const KEPT: usize = 64;
/// Between two messages.
const QUIET: Duration = Duration::from_secs(10);

/// A host whose clients refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub host: Host,
    /// Why, the last time.
    pub reason: Refused,
    /// How often.
    pub count: u64,
    /// When, the last time.
    pub last: Tick,
    told: bool,
}

impl Refusal {
    /// What helps.
    pub const fn next(&self) -> &'static str {
        next(self.reason)
    }
}

/// What helps against a reason.
pub(super) const fn next(reason: Refused) -> &'static str {
    match reason {
        Refused::Name => "let the client tell the proxy the name it asks for, or `intercept: false` for this host",
        _ => "trust the authority (`attache ca show` says how), or `intercept: false` for this host",
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    all: Vec<Refusal>,
    said: Option<Tick>,
}

impl Refusals {
    /// A client refused; `true` if that is worth a message.
    pub(super) fn note(&self, host: &Host, reason: Refused, now: Tick) -> bool {
        let Kept { all, said } = &mut *self.0.lock();
        let known = all.iter().position(|one| one.host == *host).unwrap_or_else(|| {
            if all.len() >= KEPT
                && let Some((quietest, _)) = all.iter().enumerate().min_by_key(|(_, one)| one.last)
            {
                all.swap_remove(quietest);
            }
            all.push(Refusal { host: host.clone(), reason, count: 0, last: now, told: false });
            all.len() - 1
        });
        let known = &mut all[known];
        (known.count, known.last) = (known.count + 1, now);
        // Browsers open connections in advance: that some were not used says less than a refusal.
        let is_doubtful = reason == Refused::Unused;
        if !is_doubtful {
            known.reason = reason;
        }
        let speaks = !is_doubtful && !known.told && said.is_none_or(|said| now.since(said) >= QUIET);
        if speaks {
            (known.told, *said) = (true, Some(now));
        }
        speaks
    }

    /// All that are kept, the latest first.
    pub(super) fn all(&self) -> Vec<Refusal> {
        let mut all = self.0.lock().all.clone();
        all.sort_by_key(|one| std::cmp::Reverse(one.last));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host::parse(name).expect("a host")
    }

    #[test]
    fn a_host_is_said_once_and_counted_always() {
        let refusals = Refusals::default();
        let later = Tick::ZERO + QUIET * 2;

        assert!(refusals.note(&host("a.test"), Refused::UnknownCa, Tick::ZERO));
        assert!(!refusals.note(&host("a.test"), Refused::Closed, later));

        let all = refusals.all();
        assert_eq!((all[0].count, all[0].reason, all[0].last), (2, Refused::Closed, later));
    }

    #[test]
    fn one_that_was_only_not_used_is_listed_and_nobody_is_called() {
        let refusals = Refusals::default();

        assert!(!refusals.note(&host("a.test"), Refused::Unused, Tick::ZERO));
        assert_eq!(refusals.all()[0].reason, Refused::Unused);
        assert!(refusals.note(&host("a.test"), Refused::BadCertificate, Tick::ZERO));
        assert!(!refusals.note(&host("a.test"), Refused::Unused, Tick::ZERO));

        assert_eq!((refusals.all()[0].reason, refusals.all()[0].count), (Refused::BadCertificate, 3));
    }

    #[test]
    fn what_could_not_be_said_at_once_is_said_later() {
        let refusals = Refusals::default();

        assert!(refusals.note(&host("a.test"), Refused::Closed, Tick::ZERO));
        assert!(!refusals.note(&host("b.test"), Refused::Closed, Tick::ZERO));
        assert!(refusals.note(&host("b.test"), Refused::Closed, Tick::ZERO + QUIET));
        assert!(!refusals.note(&host("b.test"), Refused::Closed, Tick::ZERO + QUIET * 2));
    }

    #[test]
    fn names_that_a_client_makes_up_fill_neither_the_list_nor_the_log() {
        let refusals = Refusals::default();
        let mut said = 0;
        for number in 0..1000u32 {
            // A new host every second.
            let now = Tick::ZERO + Duration::from_secs(u64::from(number));
            said += u32::from(refusals.note(&host(&format!("h{number}.test")), Refused::Closed, now));
        }

        assert_eq!((said, refusals.all().len()), (100, KEPT));
        assert_eq!(refusals.all()[0].host, host("h999.test"));
        assert_eq!(refusals.all()[KEPT - 1].host, host("h936.test"));
    }
}
