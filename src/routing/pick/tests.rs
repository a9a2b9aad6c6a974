use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;
use crate::discovery::ViewChange;
use crate::routing::Table;
use crate::routing::rendezvous::mix;

const ROOMS: NodeType = NodeType::new(7);

fn at(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn room(address: &str) -> Member {
    Member::new(at(address), "a:1")
}

fn candidates(members: impl IntoIterator<Item = Member>) -> Candidates {
    let added = |member| ViewChange::Added(Arc::new(member));
    let changes: Vec<_> = members.into_iter().map(added).collect();
    Candidates::new(&Table::new(at("1.1.1")).with(&changes), ROOMS)
}

fn ten() -> impl Iterator<Item = Member> {
    (1..=10).map(|id| room(&format!("1.7.{id}")))
}

/// How often each was picked, of 10,000 times.
fn picked(
    pick: &Pick,
    candidates: &Candidates,
    is_good: impl Fn(LogicalAddr) -> bool,
) -> BTreeMap<LogicalAddr, u32> {
    let (random, turn) = (Cell::new(0), Cell::new(0));
    let mut times = BTreeMap::new();
    for _ in 0..10_000 {
        let next = || {
            random.set(random.get() + 1);
            mix(random.get())
        };
        let next_turn = || turn.replace(turn.get() + 1);
        let found = pick.choose(candidates, next, next_turn, &is_good).unwrap();
        *times.entry(found).or_default() += 1;
    }
    times
}

fn all_good(_: LogicalAddr) -> bool {
    true
}

fn by_key(key: impl Into<Key>, candidates: &Candidates) -> Option<LogicalAddr> {
    Pick::by_key(ROOMS, key).choose(candidates, || 0, || 0, all_good)
}

#[test]
fn any_picks_all_alike() {
    let times = picked(&Pick::any(ROOMS), &candidates(ten()), all_good);
    assert_eq!(times.len(), 10);
    // Six standard deviations of 30.
    assert!(times.values().all(|times| times.abs_diff(1_000) < 180), "{times:?}");
}

#[test]
fn round_robin_takes_one_after_another() {
    let times = picked(&Pick::round_robin(ROOMS), &candidates(ten()), all_good);
    assert!(times.values().all(|times| *times == 1_000), "{times:?}");
}

#[test]
fn what_a_bad_one_does_not_get_is_spread_over_the_others() {
    let bad = at("1.7.4");
    for pick in [Pick::any(ROOMS), Pick::round_robin(ROOMS), Pick::weighted(ROOMS)] {
        let times = picked(&pick, &candidates(ten()), |address| address != bad);
        assert!(!times.contains_key(&bad), "{pick}");
        assert!(times.values().all(|times| times.abs_diff(1_111) < 200), "{pick}: {times:?}");
    }
}

#[test]
fn among_bad_ones_only_one_is_picked_all_the_same() {
    for pick in [Pick::any(ROOMS), Pick::round_robin(ROOMS), Pick::weighted(ROOMS)] {
        assert_eq!(picked(&pick, &candidates(ten()), |_| false).len(), 10, "{pick}");
    }
}

#[test]
fn a_weight_is_how_often_one_is_picked() {
    let weights = [("1.7.1", "3"), ("1.7.2", "0"), ("1.7.3", "six"), ("1.7.4", "6")];
    let weighed = weights.map(|(address, weight)| room(address).label("weight", weight));
    let times = picked(&Pick::weighted(ROOMS), &candidates(weighed), all_good);
    assert_eq!(times.get(&at("1.7.2")), None);
    for (address, wanted) in [("1.7.1", 3_000_u32), ("1.7.3", 1_000), ("1.7.4", 6_000)] {
        assert!(times[&at(address)].abs_diff(wanted) < 300, "{times:?}");
    }
}

#[test]
fn one_who_weighs_nothing_is_not_picked_even_alone() {
    let weightless = candidates([room("1.7.1").label("weight", "0")]);
    assert_eq!(Pick::weighted(ROOMS).choose(&weightless, || 0, || 0, all_good), None);
    assert_eq!(weightless.to_string(), "discovery has 1 of this type, 1 of which none was chosen");
}

#[test]
fn the_same_key_leads_to_the_same_node_on_every_build_and_machine() {
    let rooms = candidates(ten());
    // From a program in another language that does the same.
    let numbers = [1_u64, 2, 3].map(|key| by_key(key, &rooms).unwrap().id());
    assert_eq!(numbers, [10, 9, 3]);
    let words = ["ann", "bob", "cid"].map(|key| by_key(key, &rooms).unwrap().id());
    assert_eq!(words, [7, 5, 9]);
}

#[test]
fn when_a_node_goes_only_its_keys_move() {
    let (all, fewer) = (candidates(ten()), candidates(ten().filter(|m| m.address.id() != 4)));
    let mut moved = BTreeMap::<LogicalAddr, u32>::new();
    for key in 0..10_000_u64 {
        let (before, after) = (by_key(key, &all).unwrap(), by_key(key, &fewer).unwrap());
        if before == at("1.7.4") {
            *moved.entry(after).or_default() += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    assert_eq!(moved.len(), 9);
    assert!(moved.values().all(|keys| keys.abs_diff(111) < 65), "{moved:?}");
}

#[test]
fn a_function_sees_all_that_may_be_picked_and_chooses() {
    let rooms = candidates(ten().map(|member| {
        let version = member.address.id() % 4;
        member.label("version", version.to_string())
    }));
    let newest = Pick::with(ROOMS, |rooms| {
        assert_eq!(rooms.len(), 10);
        rooms.iter().max_by_key(|room| room.labels.get("version")).map(|room| room.address)
    });
    assert_eq!(newest.choose(&rooms, || 0, || 0, all_good), Some(at("1.7.7")));
}

#[test]
fn near_ones_go_first_and_others_when_there_are_none() {
    let zoned = |zone: &str| {
        let rooms = ten().map(|member| {
            let zone = if member.address.id() <= 3 { "a" } else { "b" };
            member.label("zone", zone)
        });
        candidates(rooms.chain([Member::new(at("1.1.1"), "a:1").label("zone", zone)]))
    };
    let near = Pick::any(ROOMS).near();
    assert_eq!(picked(&near, &zoned("a"), all_good).len(), 3);
    assert_eq!(picked(&near, &zoned("c"), all_good).len(), 10);
    assert_eq!(picked(&Pick::any(ROOMS), &zoned("a"), all_good).len(), 10);
    assert_eq!(picked(&near, &candidates(ten()), all_good).len(), 10, "no zone is no zone");
}

#[test]
fn who_finds_nobody_is_told_what_was_seen() {
    let nobody = candidates([]);
    assert_eq!(by_key(1_u64, &nobody), None);
    assert_eq!(
        nobody.to_string(),
        "discovery has no member of this type in this group, and no exported one in another"
    );
    let few = candidates([
        room("1.7.1").available(false),
        room("1.7.2").available(false),
        room("2.7.1").exported(true),
    ]);
    assert_eq!(by_key(1_u64, &few), None);
    let seen = "discovery has 3 of this type, 2 not available, \
                1 in groups that no harbor leads to";
    assert_eq!(few.to_string(), seen);
}

#[test]
fn exported_ones_of_other_groups_are_picked_where_a_harbor_leads_to_them() {
    let members = [room("1.7.1"), room("2.7.1").exported(true), room("1.255.1")];
    assert_eq!(picked(&Pick::any(ROOMS), &candidates(members), all_good).len(), 2);
}

#[test]
fn a_change_is_seen_by_the_next_pick() {
    let changed = |table: &Table, change| table.with(&[change]).candidates(ROOMS).len();
    let table = Table::new(at("1.1.1")).with(&[
        ViewChange::Added(Arc::new(room("1.7.1"))),
        ViewChange::Added(Arc::new(room("2.7.1").exported(true))),
    ]);
    assert_eq!(table.candidates(ROOMS).len(), 1);
    let added = |member| ViewChange::Added(Arc::new(member));
    assert_eq!(changed(&table, added(room("1.7.2"))), 2);
    assert_eq!(changed(&table, added(room("1.255.1"))), 2, "now a way leads to 2.7.1");
    assert_eq!(changed(&table, ViewChange::Removed(Arc::new(room("1.7.1")))), 0);
}

#[test]
fn what_is_picked_from_is_made_once() {
    let table = Table::new(at("1.1.1")).with(&[ViewChange::Added(Arc::new(room("1.7.1")))]);
    let before = table.candidates(ROOMS);
    let other = ViewChange::Added(Arc::new(Member::new(at("1.8.1"), "a:1")));
    assert!(Arc::ptr_eq(&before, &table.with(&[other]).candidates(ROOMS)));
}
