use proptest::prelude::*;

use super::*;

fn member(id: u16, available: bool, weight: u32, zone: u8) -> Member {
    let member = Member::new(LogicalAddr::new(1, 7, id), "a:1").available(available);
    member.label("weight", weight.to_string()).label("zone", zone.to_string())
}

/// What is drawn from, made anew.
fn weighed<'a>(members: impl Iterator<Item = &'a Arc<Member>>) -> (Vec<LogicalAddr>, Vec<u32>) {
    let mut sum = 0;
    members
        .filter(|member| member.available)
        .map(|member| {
            sum += weight(member);
            (member.address, sum)
        })
        .unzip()
}

proptest! {
    #[test]
    fn what_is_drawn_from_is_always_what_its_members_say(
        changes in prop::collection::vec(
            (0..6u16, any::<bool>(), 0..4u32, 0..2u8, 0..3u8).prop_map(|(id, available, weight, zone, what)| {
                let member = Arc::new(member(id, available, weight, zone));
                if what == 0 { ViewChange::Removed(member) } else { ViewChange::Added(member) }
            }),
            0..40,
        ),
        chunk in 1..5usize,
        moved in any::<bool>(),
    ) {
        let mut list = List::default();
        for changes in changes.chunks(chunk) {
            list.change(changes, Some("0"));
        }
        let zone = if moved { "1" } else { "0" };
        if moved {
            list = list.in_zone(Some(zone));
        }
        let all = weighed(list.members());
        prop_assert_eq!((&list.all.addresses, &list.all.sums), (&all.0, &all.1));
        let near = list.members().filter(|member| member.labels["zone"] == zone);
        let near = weighed(near);
        prop_assert_eq!((&list.near.addresses, &list.near.sums), (&near.0, &near.1));
    }
}

#[test]
fn the_heaviest_list_there_can_be_has_a_weight() {
    let mut list = List::default();
    let heaviest = (0..=4095).map(|id| ViewChange::Added(Arc::new(member(id, true, u32::MAX, 0))));
    list.change(&heaviest.collect::<Vec<_>>(), None);
    assert_eq!(list.all.total(), 4096 * WEIGHT_MAX);
    assert_eq!(list.all.by_weight(0), Some(LogicalAddr::new(1, 7, 0)));
    assert_eq!(list.all.by_weight(4096 * WEIGHT_MAX - 1), Some(LogicalAddr::new(1, 7, 4095)));
    assert_eq!(list.all.by_weight(4096 * WEIGHT_MAX), None);
}
