//! Breaker states and in-flight counts: read where they live, at the scrape, instead of being kept twice.

use std::collections::BTreeMap;

/// More are left out of a scrape.
const CAP: usize = 1024;

/// Whoever knows all endpoints.
pub trait EndpointSource: Send + Sync {
    /// Calls `each` with upstream, endpoint, breaker state (0 closed, 1 half-open, 2 open) and requests in flight.
    fn each(&self, each: &mut dyn FnMut(&str, &str, u8, u32));

    /// Endpoints that were used without being remembered, for want of room.
    fn overflows(&self) -> u64;
}

/// State and in-flight count by (upstream, endpoint): states under one label (an address with two TLS identities)
/// become one, the worst state and the sum, since a series must not occur twice.
pub(super) fn read(source: &dyn EndpointSource) -> BTreeMap<(String, String), (u8, u64)> {
    let mut all = BTreeMap::new();
    source.each(&mut |upstream, endpoint, state, inflight| {
        let key = (upstream.to_owned(), endpoint.to_owned());
        if all.len() >= CAP && !all.contains_key(&key) {
            return;
        }
        let (worst, sum) = all.entry(key).or_insert((state, 0));
        *worst = state.max(*worst);
        *sum += u64::from(inflight);
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scripted(Vec<(String, u8, u32)>);

    impl EndpointSource for Scripted {
        fn each(&self, each: &mut dyn FnMut(&str, &str, u8, u32)) {
            for (endpoint, state, inflight) in &self.0 {
                each("api", endpoint, *state, *inflight);
            }
        }

        fn overflows(&self) -> u64 {
            0
        }
    }

    #[test]
    fn the_same_label_is_one_series() {
        let source = Scripted(vec![("a:1".into(), 0, 3), ("b:1".into(), 1, 1), ("a:1".into(), 2, 4)]);

        let all = read(&source);

        assert_eq!(all[&("api".into(), "a:1".into())], (2, 7));
        assert_eq!(all[&("api".into(), "b:1".into())], (1, 1));
    }

    #[test]
    fn endpoints_beyond_the_cap_are_left_out() {
        for (given, shown) in [(CAP - 1, CAP - 1), (CAP, CAP), (CAP + 1, CAP)] {
            let source = Scripted((0..given).map(|at| (format!("{at}"), 0, 0)).collect());

            assert_eq!(read(&source).len(), shown, "{given}");
        }
    }
}
