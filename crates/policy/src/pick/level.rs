//! Which priority is in use: the first that is well enough.
//!
//! A level is passed over once more of its members are out than may be, not only when none is left: what is left of
//! it would have to carry all of its load. When no level is well enough it is the first that has anybody.

/// The priority in use. `serving[i]` says whether member `i` takes requests; `None` for one that does not count.
pub fn level(priorities: &[u32], serving: &[Option<bool>], max_out: f64) -> Option<u32> {
    let members = |level: u32| {
        let all = priorities.iter().zip(serving).filter(move |(own, _)| **own == level);
        all.filter_map(|(_, serving)| *serving)
    };
    let share = |level: u32| {
        let (total, out) = members(level).fold((0u32, 0u32), |(total, out), on| (total + 1, out + u32::from(!on)));
        (total, f64::from(out), f64::from(total) * max_out)
    };
    let well = |level: u32| matches!(share(level), (total, out, most) if out < f64::from(total) && out <= most);
    let first = |fits: &dyn Fn(u32) -> bool| priorities.iter().copied().filter(|level| fits(*level)).min();
    first(&well).or_else(|| first(&|level| members(level).any(|serving| serving)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ON: Option<bool> = Some(true);
    const OUT: Option<bool> = Some(false);
    const PRIORITIES: [u32; 5] = [0, 0, 0, 1, 1];

    #[test]
    fn the_first_level_that_is_well_enough_is_in_use() {
        for (serving, expected) in [
            ([ON, ON, ON, ON, ON], Some(0)),
            ([OUT, ON, ON, ON, ON], Some(0)),
            ([OUT, OUT, ON, ON, ON], Some(1)),
            ([OUT, OUT, OUT, OUT, ON], Some(1)),
            ([OUT, OUT, ON, OUT, OUT], Some(0)),
            ([OUT, OUT, OUT, OUT, OUT], None),
            ([None, None, ON, ON, ON], Some(0)),
            ([None, None, None, ON, ON], Some(1)),
        ] {
            assert_eq!(level(&PRIORITIES, &serving, 0.5), expected, "{serving:?}");
        }
    }

    proptest! {
        #[test]
        fn a_level_in_use_has_somebody(
            members in prop::collection::vec((0u32..4, prop::option::of(any::<bool>())), 0..12), max_out in 0.0..=1.0
        ) {
            let (priorities, serving): (Vec<_>, Vec<_>) = members.into_iter().unzip();

            let used = level(&priorities, &serving, max_out);

            let somebody = |level| priorities.iter().zip(&serving).any(|(own, on)| *own == level && *on == ON);
            match used {
                Some(level) => prop_assert!(somebody(level)),
                None => prop_assert!(!serving.contains(&ON)),
            }
        }
    }
}
