use super::Source::{Cluster, Harbors};
use super::*;
use crate::incarnation::Incarnation;

const ME: &str = "1.255.1";

fn at(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn member(address: &str) -> Member {
    Member::new(at(address), "127.0.0.1:7001")
}

fn exported(address: &str) -> Member {
    member(address).exported(true)
}

fn run(number: u64) -> Incarnation {
    Incarnation::from_bits(number)
}

/// Tells all that a discovery has; the changes in short: `+` added, `~` updated, `-` removed.
fn tell(picture: &mut Picture, source: Source, members: &[Member]) -> Vec<String> {
    let members = members.to_vec();
    let applied = picture.apply(source, Event::Snapshot { revision: 1, members });
    let short = |change: &ViewChange| match change {
        ViewChange::Added(member) => format!("+{}", member.address),
        ViewChange::Updated { new, .. } => format!("~{}", new.address),
        ViewChange::Removed(member) => format!("-{}", member.address),
    };
    applied.changes.iter().map(short).collect()
}

fn picture(cluster: &[Member], harbors: &[Member]) -> Picture {
    let mut picture = Picture::new(at(ME));
    tell(&mut picture, Cluster, cluster);
    tell(&mut picture, Harbors, harbors);
    picture
}

fn known(picture: &Picture) -> Vec<String> {
    picture.table().members().map(|member| member.address.to_string()).collect()
}

fn load(picture: &Picture, into: Source) -> Vec<String> {
    picture.load(into).iter().map(|member| member.address.to_string()).collect()
}

#[test]
fn of_its_group_a_harbor_believes_that_groups_discovery_alone() {
    let mut picture = picture(&[member(ME), member("1.1.1")], &[member(ME), member("1.1.2")]);
    assert_eq!(known(&picture), ["1.1.1", ME]);
    let only_me = [member(ME)];
    assert_eq!(tell(&mut picture, Harbors, &only_me), [""; 0]);
    let elsewhere = [Member::new(at(ME), "10.0.0.1:7001")];
    assert_eq!(tell(&mut picture, Harbors, &elsewhere), [""; 0], "it may have two addresses");
    assert_eq!(tell(&mut picture, Cluster, &[member("1.1.1")]), ["-1.255.1"]);
}

#[test]
fn of_others_it_believes_both_and_first_the_harbors_discovery() {
    let near = Member::new(at("2.255.1"), "10.0.0.2:7001");
    let mut picture = Picture::new(at(ME));
    assert_eq!(tell(&mut picture, Cluster, std::slice::from_ref(&near)), ["+2.255.1"]);
    assert_eq!(tell(&mut picture, Harbors, &[member("2.255.1")]), ["~2.255.1"]);
    let network = |picture: &Picture| picture.table().get(at("2.255.1")).unwrap().network.clone();
    assert_eq!(network(&picture), "127.0.0.1:7001");
    let other = [member("3.255.1")];
    assert_eq!(tell(&mut picture, Harbors, &other), ["~2.255.1", "+3.255.1"]);
    assert_eq!(network(&picture), near.network);
    assert_eq!(tell(&mut picture, Cluster, &other), ["-2.255.1"]);
}

#[test]
fn p15_the_latest_run_that_either_has_heard_of_counts() {
    let (older, newer) = (member(ME).incarnation(run(1)), member(ME).incarnation(run(2)));
    for (cluster, harbors) in [(&older, &newer), (&newer, &older)] {
        let picture = picture(std::slice::from_ref(cluster), std::slice::from_ref(harbors));
        assert_eq!(picture.table().get(at(ME)).unwrap().incarnation, Some(run(2)));
    }
}

#[test]
fn what_is_exported_goes_out_of_its_group_and_into_others_and_no_further() {
    let brought_in = exported("3.1.1").carried_by(at("1.255.2"));
    let own = [member(ME), exported("1.1.1"), member("1.1.2"), exported("1.255.2"), brought_in];
    let out_of_home = exported("2.1.1").carried_by(at("2.255.1"));
    let echo = exported("1.1.1").carried_by(at(ME));
    let for_another_group = exported("4.1.1").carried_by(at("2.255.1"));
    let by_hand = exported("5.1.1");
    let all = [member(ME), exported("2.255.1"), out_of_home, echo, for_another_group, by_hand];
    let picture = picture(&own, &all);
    assert_eq!(load(&picture, Harbors), ["1.1.1"]);
    assert_eq!(load(&picture, Cluster), ["2.1.1", "5.1.1"]);
    let said_anew = picture.load(Cluster).iter().all(|member| member.carried_by.is_none());
    assert!(said_anew, "else it were news when another harbor of its group carries it");
}

#[test]
fn what_is_in_the_other_discovery_without_the_harbor_is_not_carried_there() {
    let by_hand = || exported("2.1.1");
    let from_home = || exported("3.1.1").carried_by(at("3.255.1"));
    let brought_in = exported("4.1.1").carried_by(at("1.255.2"));
    let own = [exported("1.1.1"), by_hand(), from_home(), brought_in];
    let picture = picture(&own, &[exported("1.1.1"), by_hand(), from_home(), exported("4.1.1")]);
    assert_eq!(load(&picture, Harbors), [""; 0]);
    assert_eq!(load(&picture, Cluster), ["4.1.1"], "each harbor carries it");
}

#[test]
fn p17_carried_members_that_a_discovery_has_forgotten_are_carried_on() {
    let far = exported("2.1.1").carried_by(at("2.255.1"));
    let mut picture = picture(&[member(ME)], &[member(ME), far]);
    picture.on_new_watch(Harbors);
    assert!(picture.is_unsure(Harbors) && !picture.is_unsure(Cluster));
    tell(&mut picture, Harbors, &[member(ME)]);
    assert!(picture.is_doubting(Harbors) && !picture.is_doubting(Cluster));
    assert_eq!(load(&picture, Cluster), ["2.1.1"]);
    assert_eq!(picture.settle(Harbors).changes.len(), 1);
    assert_eq!((load(&picture, Cluster), known(&picture)), (vec![], vec![ME.to_owned()]));
}
