//! Breaker states and in-flight counts: read where they live, at the scrape, instead of being kept twice.

use std::collections::BTreeMap;

use crate::labels;

/// Whoever knows all endpoints.
pub trait EndpointSource: Send + Sync {
    /// Calls `each` with upstream, endpoint, breaker state (0 closed, 1 half-open, 2 open) and requests in flight.
    fn each(&self, each: &mut dyn FnMut(&str, &str, u8, u32));

    /// Endpoints that were used without being remembered, for want of room.
    fn overflows(&self) -> u64;
}

/// State and in-flight count by (upstream, endpoint): states under one label (an address with two TLS identities, hosts
/// that no route names) become one, the worst state and the sum, since a series must not occur twice.
pub(super) fn read(source: &dyn EndpointSource) -> BTreeMap<(String, String), (u8, u64)> {
    let mut all = BTreeMap::new();
    source.each(&mut |upstream, endpoint, state, inflight| {
        let key = (upstream.to_owned(), labels::endpoint(upstream, endpoint).to_owned());
        let (worst, sum) = all.entry(key).or_insert((state, 0));
        *worst = state.max(*worst);
        *sum += u64::from(inflight);
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scripted(&'static str, Vec<(String, u8, u32)>);

    impl EndpointSource for Scripted {
        fn each(&self, each: &mut dyn FnMut(&str, &str, u8, u32)) {
            for (endpoint, state, inflight) in &self.1 {
                each(self.0, endpoint, *state, *inflight);
            }
        }

        fn overflows(&self) -> u64 {
            0
        }
    }

    #[test]
    fn the_same_label_is_one_series() {
        let source = Scripted("api", vec![("a:1".into(), 0, 3), ("b:1".into(), 1, 1), ("a:1".into(), 2, 4)]);

        let all = read(&source);

        assert_eq!(all[&("api".into(), "a:1".into())], (2, 7));
        assert_eq!(all[&("api".into(), "b:1".into())], (1, 1));
    }

    #[test]
    fn hosts_that_no_route_names_are_one_series() {
        let hosts = (0..2000).map(|at| (format!("h{at}:443"), u8::from(at == 700) * 2, 1)).collect();

        let all = read(&Scripted("_default", hosts));

        assert_eq!(all.into_iter().collect::<Vec<_>>(), [(("_default".into(), "_other".into()), (2, 2000))]);
    }
}
