use proptest::prelude::*;

use super::*;
use crate::discovery::{Event, View, ViewChange};

fn at(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn member(address: &str) -> Member {
    Member::new(at(address), "a:1")
}

/// The table of `me` when discovery knows these members.
fn table(me: &str, members: &[Member]) -> Table {
    let event = Event::Snapshot { revision: 1, members: members.to_vec() };
    Table::new(at(me)).with(&View::new(at(me)).apply(event).changes)
}

fn two_clusters() -> Vec<Member> {
    let mut members: Vec<_> =
        ["1.1.1", "1.1.2", "1.255.1", "2.1.2", "2.255.1"].map(member).to_vec();
    members.push(member("2.1.1").exported(true));
    members
}

/// The hop in short: `local`, the address, or the address after `via`.
fn hop(table: &Table, from: &str, to: &str) -> Result<String, NoRoute> {
    table.next_hop(at(from), at(to), |_| false).map(|hop| match hop {
        Hop::Local => "local".to_owned(),
        Hop::Direct(member) => member.address.to_string(),
        Hop::Harbor(member) => format!("via {}", member.address),
    })
}

fn not_on_the_way(from: &str, to: &str) -> Result<String, NoRoute> {
    Err(NoRoute::NotOnTheWay { from: at(from), to: at(to) })
}

#[test]
fn a_node_reaches_its_group_directly_and_others_through_a_harbor() {
    let node = table("1.1.1", &two_clusters());
    for (to, expected) in [
        ("1.1.1", Ok("local")),
        ("1.1.2", Ok("1.1.2")),
        ("1.255.1", Ok("1.255.1")),
        ("2.1.1", Ok("via 1.255.1")), // exported, so in the table; still not directly
        ("2.1.2", Ok("via 1.255.1")), // not exported, but a reply may go there
        ("2.255.1", Ok("via 1.255.1")),
        ("1.1.9", Err(NoRoute::NotAMember(at("1.1.9")))),
    ] {
        assert_eq!(hop(&node, "1.1.1", to), expected.map(str::to_owned), "{to}");
    }
}

#[test]
fn a_harbor_relays_out_of_its_group_and_into_it() {
    let harbor = table("1.255.1", &two_clusters());
    for (from, to, expected) in [
        ("1.1.1", "2.1.1", Ok("via 2.255.1".to_owned())),
        ("1.1.1", "2.255.1", Ok("2.255.1".to_owned())),
        ("2.1.1", "1.1.1", Ok("1.1.1".to_owned())),
        ("2.1.1", "1.255.1", Ok("local".to_owned())),
        ("1.255.1", "2.1.2", Ok("via 2.255.1".to_owned())),
        ("1.255.1", "1.1.2", Ok("1.1.2".to_owned())),
        ("2.1.1", "1.1.9", Err(NoRoute::NotAMember(at("1.1.9")))),
        ("1.1.1", "3.1.1", Err(NoRoute::NoHarbor(3))),
    ] {
        assert_eq!(hop(&harbor, from, to), expected, "{from} {to}");
    }
}

#[test]
fn what_has_no_business_here_is_not_relayed() {
    let harbor = table("1.255.1", &two_clusters());
    let node = table("1.1.1", &two_clusters());
    for (table, from, to) in [
        (&harbor, "1.1.1", "1.1.2"),
        (&harbor, "2.1.1", "2.1.2"),
        (&harbor, "2.1.1", "3.1.1"),
        (&node, "2.1.1", "1.1.2"),
        (&node, "1.1.2", "2.1.1"),
    ] {
        assert_eq!(hop(table, from, to), not_on_the_way(from, to));
    }
}

#[test]
fn without_a_harbor_there_is_no_way_out() {
    let node = table("1.1.1", &[member("1.1.1"), member("2.1.1").exported(true)]);
    assert_eq!(hop(&node, "1.1.1", "2.1.1"), Err(NoRoute::NoHarbor(1)));
}

#[test]
fn p18_a_bad_harbor_is_taken_only_if_there_is_no_better_one() {
    let choice = |available: [bool; 2], down: &[&str]| {
        let [a, b] = available;
        let members = [member("1.255.1").available(a), member("1.255.2").available(b)];
        let is_down = |addr: LogicalAddr| down.contains(&addr.to_string().as_str());
        match table("1.1.1", &members).next_hop(at("1.1.1"), at("2.1.1"), is_down) {
            Ok(Hop::Harbor(harbor)) => harbor.address.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = ("1.255.1", "1.255.2");
    assert_eq!(choice([true, false], &[]), first);
    assert_eq!(choice([false, true], &[]), second);
    assert_eq!(choice([true, true], &[first]), second);
    assert_eq!(choice([true, true], &[second]), first);
    // A harbor that drains is better than one that is gone.
    assert_eq!(choice([true, false], &[first]), second);
    // If all are equally bad, the pair keeps the one that it has when all are well.
    let usual = choice([true, true], &[]);
    assert_eq!(choice([false, false], &[]), usual);
    assert_eq!(choice([true, true], &[first, second]), usual);
}

#[test]
fn pairs_spread_over_the_harbors_and_each_pair_keeps_its_own() {
    let harbors = ["1.255.1", "1.255.2", "1.255.3"].map(member);
    let node = table("1.1.1", &harbors);
    let taken = |to: u16| hop(&node, "1.1.1", &format!("2.1.{to}")).unwrap();
    for harbor in &harbors {
        let via = format!("via {}", harbor.address);
        let share = (0..300).filter(|to| taken(*to) == via).count();
        assert!((60..=140).contains(&share), "{via}: {share}");
    }
}

fn any_address() -> impl Strategy<Value = LogicalAddr> {
    (1..=3u16, prop_oneof![Just(1u8), Just(255)], 0..2u16)
        .prop_map(|(group, kind, id)| at(&format!("{group}.{kind}.{id}")))
}

proptest! {
    #[test]
    fn p18_no_frame_circles_whatever_the_members_believe(
        from in any_address(),
        to in any_address(),
        beliefs in prop::collection::vec(
            prop::collection::vec((any_address(), any::<bool>()), 0..10),
            5,
        ),
    ) {
        let mut me = from;
        for (hops, belief) in beliefs.into_iter().enumerate() {
            // At each node other members, some of them down.
            let down: Vec<_> = belief.iter().filter(|(_, down)| *down).map(|(at, _)| *at).collect();
            let changes: Vec<_> = belief
                .into_iter()
                .map(|(address, _)| Member::new(address, "a:1").exported(true))
                .map(|member| ViewChange::Added(Arc::new(member)))
                .collect();
            let table = Table::new(me).with(&changes);
            match table.next_hop(from, to, |addr| down.contains(&addr)) {
                Ok(Hop::Direct(next)) => {
                    prop_assert_eq!(next.address, to);
                    me = next.address;
                }
                Ok(Hop::Harbor(next)) => {
                    prop_assert!(next.address.is_harbor() && next.address != me);
                    me = next.address;
                }
                Ok(Hop::Local) => {
                    prop_assert_eq!(me, to);
                    prop_assert!(hops <= 3);
                    return Ok(());
                }
                Err(_) => return Ok(()),
            }
            prop_assert!(hops < 3, "still under way after {} hops", hops + 1);
        }
    }
}
