//! Tunnels that were opened, by the route that asks for it, and why others could not be.
//!
//! Behind a lock: a handshake costs a thousand times as much.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Why a tunnel could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client does not know the authority: the alert `unknown_ca`.
    UnknownCa,
    /// The client takes another certificate only: the alert `bad_certificate`.
    BadCertificate,
    /// It has some other reason not to take it: `certificate_unknown`, or that it was revoked or is of no use.
    CertificateUnknown,
    /// It takes it for over: `certificate_expired`.
    Expired,
    /// It left when it had seen the certificate, without a word.
    Closed,
    /// It finished the handshake, and left without asking for anything: some apps look at the certificate only then.
    Unused,
    /// It asked for another name than the tunnel's.
    Name,
    /// It took too long.
    Timeout,
    /// Anything else: another alert, or nothing that both speak.
    Tls,
}

impl Refused {
    pub(super) const ALL: [Self; 9] = [
        Self::UnknownCa,
        Self::BadCertificate,
        Self::CertificateUnknown,
        Self::Expired,
        Self::Closed,
        Self::Unused,
        Self::Name,
        Self::Timeout,
        Self::Tls,
    ];

    /// The word used in metric and message.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownCa => "unknown_ca",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateUnknown => "certificate_unknown",
            Self::Expired => "expired",
            Self::Closed => "closed",
            Self::Unused => "unused",
            Self::Name => "name",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Intercepts(Mutex<BTreeMap<Arc<str>, Counts>>);

#[derive(Debug, Default)]
struct Counts {
    opened: u64,
    refused: [u64; Refused::ALL.len()],
}

impl Intercepts {
    /// A tunnel was opened, since `route` asks for it.
    pub fn opened(&self, route: &Arc<str>) {
        self.0.lock().entry(Arc::clone(route)).or_default().opened += 1;
    }

    /// A tunnel could not be.
    pub fn refused(&self, route: &Arc<str>, why: Refused) {
        self.0.lock().entry(Arc::clone(route)).or_default().refused[why as usize] += 1;
    }

    /// Tunnels that were opened, and that could not be.
    pub fn totals(&self) -> (u64, u64) {
        let counts = self.0.lock();
        counts
            .values()
            .fold((0, 0), |(opened, refused), of| (opened + of.opened, refused + of.refused.iter().sum::<u64>()))
    }

    pub(super) fn each(&self, mut each: impl FnMut(&str, u64, &[u64])) {
        self.0.lock().iter().for_each(|(route, counts)| each(route, counts.opened, &counts.refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_word_and_place() {
        let intercepts = Intercepts::default();
        let route: Arc<str> = "api".into();
        for (count, why) in (1..).zip(Refused::ALL) {
            (0..count).for_each(|_| intercepts.refused(&route, why));
        }
        intercepts.opened(&route);

        let mut seen = Vec::new();
        intercepts.each(|route, opened, refused| seen.push((route.to_owned(), opened, refused.to_vec())));

        assert_eq!(seen, [("api".to_owned(), 1, (1..=9).collect())]);
        assert_eq!(intercepts.totals(), (1, 45));
        let words: std::collections::BTreeSet<_> = Refused::ALL.iter().map(|why| why.label()).collect();
        assert_eq!(words.len(), Refused::ALL.len());
    }
}
