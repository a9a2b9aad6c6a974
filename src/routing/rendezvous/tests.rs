use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn harbors(count: u16) -> Vec<LogicalAddr> {
    (0..count).map(|id| LogicalAddr::harbor(2, id)).collect()
}

fn choose(key: u64, candidates: &[LogicalAddr]) -> LogicalAddr {
    candidates.iter().copied().max_by_key(|candidate| score(key, *candidate)).unwrap()
}

/// Keys as they really come: pairs of addresses that differ in few bits.
fn keys() -> impl Iterator<Item = u64> {
    let pair = |from: u64, to: u64| (0x0010_1000 | from) << 32 | 0x0020_1000 | to;
    (0..100).flat_map(move |from| (0..100).map(move |to| pair(from, to)))
}

#[test]
fn mixing_is_that_of_the_published_generator() {
    // The first outputs of splitmix64.c for the seed 1234567, as published on Rosetta Code.
    let published = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    let mut state = 1_234_567_u64;
    for number in published {
        assert_eq!(mix(state), number);
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
}

#[test]
fn scores_never_change_between_versions() {
    // Worked out by another program from the two formulas.
    let addr = |text: &str| text.parse::<LogicalAddr>().unwrap();
    for (key, candidate, expected) in [
        (0, "1.255.0", 0xf026_e976_d5b9_a356),
        (0, "1.255.1", 0xb302_7725_4996_c9d2),
        (0x0010_1001_0020_1001, "1.255.1", 0x1102_ebe0_1723_a935),
        (0x0010_1001_0020_1001, "1.255.2", 0x3627_1744_8b51_3837),
        (u64::MAX, "4095.255.4095", 0xe956_7729_9c66_e604),
    ] {
        assert_eq!(score(key, addr(candidate)), expected, "{key:#x} {candidate}");
    }
}

#[test]
fn keys_spread_evenly() {
    let candidates = harbors(5);
    let mut counts = [0_u32; 5];
    for key in keys() {
        counts[usize::from(choose(key, &candidates).id())] += 1;
    }
    // 10,000 keys: 2,000 each, give or take 5 standard deviations of 40.
    assert!(counts.iter().all(|count| (1800..=2200).contains(count)), "{counts:?}");
}

#[test]
fn a_candidate_that_goes_moves_only_its_own_keys_and_evenly() {
    let before = harbors(5);
    let gone = before[2];
    let after: Vec<_> = before.iter().copied().filter(|candidate| *candidate != gone).collect();
    let mut moved = [0_u32; 5];
    for key in keys() {
        let (old, new) = (choose(key, &before), choose(key, &after));
        if old == gone {
            moved[usize::from(new.id())] += 1;
        } else {
            assert_eq!(old, new);
        }
    }
    moved.iter().enumerate().filter(|(id, _)| *id != 2).for_each(|(_, count)| {
        assert!((400..=600).contains(count), "{moved:?}");
    });
}

proptest! {
    #[test]
    fn no_two_candidates_tie(key: u64) {
        let scores: BTreeSet<_> = harbors(64).into_iter().map(|addr| score(key, addr)).collect();
        prop_assert_eq!(scores.len(), 64);
    }
}
