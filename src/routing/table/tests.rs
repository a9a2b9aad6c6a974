use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn added(address: &str) -> ViewChange {
    ViewChange::Added(Arc::new(Member::new(at(address), "a:1")))
}

fn removed(address: &str) -> ViewChange {
    ViewChange::Removed(Arc::new(Member::new(at(address), "a:1")))
}

fn addresses<'a>(members: impl IntoIterator<Item = &'a Arc<Member>>) -> Vec<String> {
    members.into_iter().map(|member| member.address.to_string()).collect()
}

#[test]
fn members_of_a_type_come_own_group_first() {
    let table = Table::new(at("2.1.1")).with(&[
        added("2.255.1"),
        added("1.7.1"),
        added("2.7.9"),
        added("2.7.3"),
        added("2.8.1"),
        added("3.7.1"),
    ]);
    let rooms = table.candidates(NodeType::new(7));
    let all: Vec<_> = (0..rooms.len()).filter_map(|at| rooms.get(at)).collect();
    assert_eq!(addresses(all), ["2.7.3", "2.7.9", "1.7.1", "3.7.1"]);
    assert!(
        rooms
            .drawn(false)
            .addresses()
            .eq(addresses(rooms.drawn(false).members()).iter().map(|a| at(a)))
    );
    assert_eq!(table.candidates(NodeType::new(9)).len(), 0);
}

#[test]
fn harbors_are_told_by_group() {
    let table =
        Table::new(at("1.1.1")).with(&[added("1.255.2"), added("1.255.1"), added("2.255.1")]);
    assert_eq!(addresses(table.harbors(1).flatten()), ["1.255.1", "1.255.2"]);
    assert_eq!(addresses(table.harbors(3).flatten()), [""; 0]);
}

#[test]
fn a_table_does_not_change_when_another_is_made_from_it() {
    let before = Table::new(at("1.1.1")).with(&[added("1.1.1"), added("1.2.1")]);
    let after = before.with(&[removed("1.1.1"), added("1.1.2")]);
    assert!(before.get(at("1.1.1")).is_some() && before.get(at("1.1.2")).is_none());
    assert!(after.get(at("1.1.1")).is_none() && after.get(at("1.1.2")).is_some());
    assert_eq!((before.len(), after.len()), (2, 2));
}

#[test]
fn one_change_among_100_000_members_copies_one_list() {
    let all: Vec<_> = (0..100_000_u32)
        .map(|n| added(&format!("{}.{}.{}", 1 + n / 10_000, 1 + n / 1000 % 10, n % 1000)))
        .collect();
    let before = Table::new(at("1.1.1")).with(&all);
    assert_eq!(before.len(), 100_000);

    let after = before.with(&[removed("5.5.500")]);
    assert_eq!(after.len(), 99_999);
    let copied: Vec<_> = (1..=10_u8)
        .flat_map(|kind| (1..=10_u16).map(move |group| (NodeType::new(kind), group)))
        .filter(|(kind, group)| {
            let list = |table: &Table| Arc::clone(table.lists(*kind).unwrap().get(*group).unwrap());
            !Arc::ptr_eq(&list(&before), &list(&after))
        })
        .collect();
    assert_eq!(copied, [(NodeType::new(5), 5)]);
}

proptest! {
    #[test]
    fn a_table_is_the_sum_of_its_changes_in_any_order_and_grouping(
        changes in prop::collection::vec((1..3u16, 1..3u8, 0..4u16, 0..3u8), 0..60),
        chunk in 1..8usize,
    ) {
        let changes: Vec<_> = changes.into_iter().map(|(group, kind, id, what)| {
            let address = LogicalAddr::new(group, kind, id);
            let member = |network: &str| Arc::new(Member::new(address, network));
            match what {
                0 => ViewChange::Added(member("a:1")),
                1 => ViewChange::Updated { old: member("a:1"), new: member("b:1") },
                _ => ViewChange::Removed(member("b:1")),
            }
        }).collect();

        let mut model = BTreeMap::new();
        for change in &changes {
            match change {
                ViewChange::Added(new) | ViewChange::Updated { new, .. } => {
                    model.insert(new.address, Arc::clone(new));
                }
                ViewChange::Removed(old) => drop(model.remove(&old.address)),
            }
        }

        let start = Table::new(at("1.1.1"));
        let table = changes.chunks(chunk).fold(start, |table, changes| table.with(changes));
        prop_assert_eq!(table.len(), model.len());
        let mut lists = table.types.iter().flatten().flat_map(|lists| lists.values());
        prop_assert!(lists.all(|list| list.len() > 0));
        for (address, member) in &model {
            prop_assert_eq!(table.get(*address), Some(member));
        }
        let mut all: Vec<_> = table.members().collect();
        all.sort_by_key(|member| member.address);
        prop_assert!(all.into_iter().eq(model.values()));
    }
}
