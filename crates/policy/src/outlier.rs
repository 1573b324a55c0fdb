//! Which endpoint of a set fails so much more than the others that it had better be left out.
//!
//! The breaker judges an endpoint by itself, so one that fails a third of its calls stays in for ever. Beside others
//! that fail none it is the endpoint, not the weather: its share of failures is compared with that of all others
//! together, and one a look may go, the worst. Where all fail alike nobody stands out, which is what the breakers and
//! the panic rule are for.

/// When an endpoint stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// So much, 0..=1, its share of failures lies above that of the others.
    pub margin: f64,
    /// The fewest calls by which a share is judged, its own and that of the others together.
    pub min_requests: u32,
}

/// What became of the calls of one endpoint lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All of them.
    pub total: u64,
    /// Those that failed; late failures may outlive the count of their call.
    pub failed: u64,
}

impl Calls {
    fn share(self) -> f64 {
        self.failed as f64 / self.total.max(self.failed).max(1) as f64
    }
}

/// The index of the endpoint that stands out most. Those without a count are left out of account: they are not called.
pub fn worst(all: &[Option<Calls>], params: &Params) -> Option<usize> {
    let sum = all.iter().flatten().fold(Calls::default(), |sum, calls| Calls {
        total: sum.total + calls.total,
        failed: sum.failed + calls.failed,
    });
    let excess = |own: Calls| {
        let others = Calls { total: sum.total - own.total, failed: sum.failed - own.failed };
        let enough = own.total.min(others.total) >= u64::from(params.min_requests).max(1);
        Some(own.share() - others.share()).filter(|excess| enough && own.failed > 0 && *excess >= params.margin)
    };
    let outliers = all.iter().enumerate().filter_map(|(index, own)| Some((index, excess((*own)?)?)));
    outliers.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARAMS: Params = Params { margin: 0.25, min_requests: 20 };

    fn calls(total: u64, failed: u64) -> Option<Calls> {
        Some(Calls { total, failed })
    }

    #[test]
    fn one_that_fails_a_third_among_healthy_ones_stands_out() {
        assert_eq!(worst(&[calls(100, 0), calls(60, 20), calls(100, 1)], &PARAMS), Some(1));
    }

    #[test]
    fn nobody_stands_out_where_all_fail_alike() {
        assert_eq!(worst(&[calls(100, 40), calls(100, 50), calls(100, 45)], &PARAMS), None);
    }

    #[test]
    fn the_margin_counts_from_the_others_without_it() {
        assert_eq!(worst(&[calls(100, 25), calls(100, 0)], &PARAMS), Some(0));
        assert_eq!(worst(&[calls(100, 24), calls(100, 0)], &PARAMS), None);
        assert_eq!(worst(&[calls(100, 30), calls(100, 6)], &PARAMS), None);
    }

    #[test]
    fn few_calls_say_nothing_on_either_side() {
        assert_eq!(worst(&[calls(19, 19), calls(100, 0)], &PARAMS), None);
        assert_eq!(worst(&[calls(20, 20), calls(19, 0)], &PARAMS), None);
        assert_eq!(worst(&[calls(20, 20), calls(20, 0)], &PARAMS), Some(0));
    }

    #[test]
    fn the_worst_goes_first_and_one_that_is_not_called_does_not_count() {
        assert_eq!(worst(&[calls(50, 30), None, calls(50, 45), calls(500, 0), calls(500, 0)], &PARAMS), Some(2));
    }

    proptest! {
        #[test]
        fn whoever_stands_out_fails_more_than_all_others_together(
            all in prop::collection::vec(prop::option::of((0u64..200, 0u64..250)), 0..8)
        ) {
            let all: Vec<_> = all.into_iter().map(|one| one.map(|(total, failed)| Calls { total, failed })).collect();

            if let Some(index) = worst(&all, &PARAMS) {
                let own = all[index].expect("only those with calls");
                let others = all.iter().enumerate().filter(|(other, _)| *other != index).filter_map(|(_, calls)| *calls);
                let sum = others.fold((0, 0), |sum, calls| (sum.0 + calls.total, sum.1 + calls.failed));
                let others = Calls { total: sum.0, failed: sum.1 };
                prop_assert!(own.total >= 20 && others.total >= 20);
                prop_assert!(own.share() - others.share() >= 0.25);
            }
        }
    }
}
