use tokio::time::advance;

use super::*;
use crate::discovery::{MemberError, View};

fn at(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn member(address: &str) -> Member {
    Member::new(at(address), "127.0.0.1:7001")
}

fn run(number: u64) -> Incarnation {
    Incarnation::from_bits(number)
}

fn one(discovery: &InProcess) -> Member {
    let mut members = discovery.members();
    assert_eq!(members.len(), 1);
    members.remove(0)
}

fn delta(base: u64, changes: Vec<Change>) -> Option<Event> {
    Some(Event::Delta { base, revision: base + changes.len() as u64, changes })
}

#[tokio::test]
async fn a_watcher_gets_a_snapshot_first_even_an_empty_one_and_then_what_changes() {
    let discovery = InProcess::new();
    let mut watch = discovery.watch().await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Snapshot { revision: 0, members: vec![] }));

    discovery.put(member("1.1.1")).unwrap();
    assert_eq!(watch.next().await, delta(0, vec![Change::Put(member("1.1.1"))]));

    discovery.set_exported(at("1.1.1"), true).unwrap();
    let exported = member("1.1.1").exported(true);
    assert_eq!(watch.next().await, delta(1, vec![Change::Put(exported.clone())]));

    let mut second = discovery.watch().await.unwrap();
    let all = Event::Snapshot { revision: 2, members: vec![exported.clone()] };
    assert_eq!(second.next().await, Some(all));

    assert_eq!(discovery.remove(at("1.1.1")), Some(exported));
    for watch in [&mut watch, &mut second] {
        assert_eq!(watch.next().await, delta(2, vec![Change::Remove(at("1.1.1"))]));
    }
}

#[tokio::test]
async fn what_changes_nothing_is_not_told() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    let mut watch = discovery.watch().await.unwrap();
    watch.next().await.unwrap();

    discovery.put(member("1.1.1")).unwrap();
    discovery.set_available(at("1.1.1"), true).unwrap();
    assert_eq!(discovery.remove(at("1.1.2")), None);
    discovery.set_network(at("1.1.1"), "10.0.0.1:1").unwrap();

    let moved = Member::new(at("1.1.1"), "10.0.0.1:1");
    assert_eq!(watch.next().await, delta(1, vec![Change::Put(moved)]));
}

#[tokio::test]
async fn a_slow_watcher_is_told_a_sum_or_a_snapshot_instead_of_a_backlog() {
    let discovery = InProcess::new();
    let mut watch = discovery.watch().await.unwrap();
    watch.next().await.unwrap();
    let flip = |count: usize| {
        for round in 0..count {
            discovery.put(member("1.1.1").available(round % 2 == 0)).unwrap();
        }
    };

    flip(LOG_MAX);
    let Some(Event::Delta { changes, .. }) = watch.next().await else { panic!("no delta") };
    assert_eq!(changes.len(), LOG_MAX);

    flip(LOG_MAX + 1);
    let Some(Event::Snapshot { members, .. }) = watch.next().await else { panic!("no snapshot") };
    assert_eq!(members, discovery.members());
}

#[tokio::test]
async fn p17_a_slow_watcher_believes_that_all_were_removed() {
    let discovery = InProcess::new();
    let mut view = View::new(at("1.1.1"));
    let mut watch = discovery.watch().await.unwrap();
    for id in 0..=LOG_MAX {
        discovery.put(member(&format!("1.1.{id}"))).unwrap();
    }
    view.apply(watch.next().await.unwrap());
    assert_eq!(view.len(), LOG_MAX + 1);

    for id in 0..=LOG_MAX {
        discovery.remove(at(&format!("1.1.{id}"))).unwrap();
    }
    while view.len() > 0 {
        let applied = view.apply(watch.next().await.unwrap());
        assert_eq!((applied.reports, applied.rewatch), (vec![], false));
    }
}

#[tokio::test]
async fn an_announcement_is_laid_over_what_is_configured() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1").label("zone", "a").label("tier", "x")).unwrap();
    let me = Announcement::new(at("1.1.1"), run(5)).label("tier", "y").label("build", "7");
    discovery.announce(&me).await.unwrap();

    let told = one(&discovery);
    assert_eq!((told.incarnation, told.available), (Some(run(5)), true));
    let labels = ["build 7", "tier y", "zone a"];
    assert!(told.labels.iter().map(|(k, v)| format!("{k} {v}")).eq(labels));

    // What is not announced any more is gone again.
    discovery.announce(&Announcement::new(at("1.1.1"), run(5))).await.unwrap();
    assert_eq!(
        one(&discovery),
        member("1.1.1").label("zone", "a").label("tier", "x").incarnation(run(5))
    );
}

#[tokio::test]
async fn a_member_is_available_only_if_both_its_owner_and_itself_say_so() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    let me = Announcement::new(at("1.1.1"), run(1));

    discovery.set_available(at("1.1.1"), false).unwrap();
    discovery.announce(&me).await.unwrap();
    assert!(!one(&discovery).available);

    discovery.set_available(at("1.1.1"), true).unwrap();
    assert!(one(&discovery).available);

    discovery.announce(&me.available(false)).await.unwrap();
    assert!(!one(&discovery).available);
}

#[tokio::test]
async fn p15_an_older_incarnation_is_told_that_it_is_superseded() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    discovery.announce(&Announcement::new(at("1.1.1"), run(2))).await.unwrap();

    let older = discovery.announce(&Announcement::new(at("1.1.1"), run(1))).await;
    assert!(matches!(
        older,
        Err(DiscoveryError::Superseded { announced, recorded, .. })
            if announced == run(1) && recorded == run(2)
    ));
    // Also when somebody configures the member again in between.
    discovery.put(member("1.1.1")).unwrap();
    assert!(discovery.announce(&Announcement::new(at("1.1.1"), run(1))).await.is_err());
    discovery.announce(&Announcement::new(at("1.1.1"), run(3))).await.unwrap();
    assert_eq!(one(&discovery).incarnation, Some(run(3)));
}

#[tokio::test]
async fn withdrawing_concerns_only_the_recorded_incarnation() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    discovery.announce(&Announcement::new(at("1.1.1"), run(2))).await.unwrap();

    for other in [1, 3] {
        discovery.withdraw(at("1.1.1"), run(other)).await.unwrap();
        assert!(one(&discovery).available);
    }
    discovery.withdraw(at("1.1.2"), run(2)).await.unwrap();
    discovery.withdraw(at("1.1.1"), run(2)).await.unwrap();
    assert!(!one(&discovery).available);

    discovery.announce(&Announcement::new(at("1.1.1"), run(3))).await.unwrap();
    assert!(one(&discovery).available);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_says_nothing_for_its_ttl_expires_until_it_speaks_again() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    let me = Announcement::new(at("1.1.1"), run(1)).ttl(Duration::from_secs(3));
    for _ in 0..3 {
        discovery.announce(&me).await.unwrap();
        advance(Duration::from_millis(2_999)).await;
        discovery.expire();
        assert!(one(&discovery).available);
    }
    let mut watch = discovery.watch().await.unwrap();
    watch.next().await.unwrap();
    advance(Duration::from_millis(1)).await;
    discovery.expire();
    let silent = member("1.1.1").incarnation(run(1)).available(false);
    assert_eq!(watch.next().await, delta(2, vec![Change::Put(silent)]));

    // Neither looking again nor configuring it anew makes it speak.
    discovery.expire();
    discovery.put(member("1.1.1").label("zone", "a")).unwrap();
    assert!(!one(&discovery).available);
    discovery.announce(&me).await.unwrap();
    assert!(one(&discovery).available);
}

#[tokio::test(start_paused = true)]
async fn a_new_member_has_ten_seconds_to_announce_itself() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    advance(Duration::from_millis(9_999)).await;
    discovery.expire();
    assert!(one(&discovery).available);
    advance(Duration::from_millis(1)).await;
    assert!(one(&discovery).available, "expired without being told to");
    discovery.expire();
    assert!(!one(&discovery).available);
    assert!(discovery.configured()[0].available);
}

#[tokio::test]
async fn a_ttl_of_ages_never_ends() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1")).unwrap();
    let me = Announcement::new(at("1.1.1"), run(1)).ttl(Duration::MAX);
    discovery.announce(&me).await.unwrap();
    discovery.expire();
    assert!(one(&discovery).available);
}

#[tokio::test]
async fn what_was_configured_is_told_without_what_was_announced() {
    let discovery = InProcess::new();
    discovery.put(member("1.1.1").label("zone", "a")).unwrap();
    let me = Announcement::new(at("1.1.1"), run(1)).available(false).label("zone", "b");
    discovery.announce(&me).await.unwrap();
    discovery.set_exported(at("1.1.1"), true).unwrap();
    assert_eq!(discovery.configured(), [member("1.1.1").label("zone", "a").exported(true)]);
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused_and_change_nothing() {
    let discovery = InProcess::new();
    let stranger = Announcement::new(at("1.1.1"), run(1));
    let not_a_member =
        |outcome| matches!(outcome, Err(DiscoveryError::NotAMember(who)) if who == at("1.1.1"));
    assert!(not_a_member(discovery.announce(&stranger).await));
    assert!(not_a_member(discovery.set_available(at("1.1.1"), true)));

    discovery.put(member("1.1.1").label("zone", "a")).unwrap();
    let before = discovery.members();
    let nowhere = discovery.set_network(at("1.1.1"), "nowhere");
    assert!(matches!(nowhere, Err(DiscoveryError::Invalid(MemberError::Network(_)))));
    let too_much = stranger.label("big", "x".repeat(4090));
    let too_much = discovery.announce(&too_much).await;
    assert!(matches!(too_much, Err(DiscoveryError::Invalid(MemberError::LabelBytes(_)))));
    assert_eq!(discovery.members(), before);
}

#[tokio::test]
async fn a_watch_ends_when_the_last_handle_is_gone() {
    let discovery = InProcess::new();
    let mut watch = discovery.clone().watch().await.unwrap();
    watch.next().await.unwrap();
    drop(discovery);
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_watch_leaves_no_task_behind() {
    let discovery = InProcess::new();
    let mut watch = discovery.watch().await.unwrap();
    watch.next().await.unwrap();
    drop(watch);
    // Virtual time only moves on if the task waits for ever.
    let ended = discovery.state.closed();
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
}

// What harbors carry.

const HOME: &str = "2.255.1";

fn far() -> Member {
    member("2.1.1").exported(true)
}

async fn carry(discovery: &InProcess, carrier: &str, members: &[Member]) {
    discovery.carry(at(carrier), members, Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn what_a_harbor_carries_is_told_until_its_next_word() {
    let discovery = InProcess::new();
    let mut watch = discovery.watch().await.unwrap();
    watch.next().await.unwrap();
    carry(&discovery, HOME, &[far()]).await;
    let told = far().carried_by(at(HOME));
    assert_eq!(watch.next().await, delta(0, vec![Change::Put(told.clone())]));
    assert_eq!(discovery.members(), [told]);
    assert_eq!(discovery.carried(), BTreeMap::from([(at(HOME), 1)]));
    assert!(discovery.configured().is_empty(), "nobody put it");

    carry(&discovery, HOME, &[far()]).await;
    carry(&discovery, HOME, &[]).await;
    assert_eq!(watch.next().await, delta(1, vec![Change::Remove(at("2.1.1"))]));
    assert!(discovery.members().is_empty() && discovery.carried().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_harbor_carries_is_forgotten_unless_it_is_said_again() {
    let discovery = InProcess::new();
    for _ in 0..3 {
        carry(&discovery, HOME, &[far()]).await;
        advance(Duration::from_secs(9)).await;
        discovery.expire();
        assert_eq!(discovery.members().len(), 1);
    }
    advance(Duration::from_secs(1)).await;
    discovery.expire();
    assert!(discovery.members().is_empty());
}

#[tokio::test]
async fn what_was_put_is_told_before_what_is_carried() {
    let discovery = InProcess::new();
    carry(&discovery, HOME, &[far()]).await;
    let put = Member::new(at("2.1.1"), "10.0.0.1:7001");
    discovery.put(put.clone().carried_by(at(HOME))).unwrap();
    carry(&discovery, HOME, &[far().available(false)]).await;
    assert_eq!(one(&discovery), put);
    discovery.announce(&Announcement::new(at("2.1.1"), run(1))).await.unwrap();
    discovery.remove(at("2.1.1"));
    assert_eq!(one(&discovery), far().available(false).carried_by(at(HOME)));
    assert!(discovery.announce(&Announcement::new(at("2.1.1"), run(1))).await.is_err());
    assert!(discovery.set_available(at("2.1.1"), true).is_err());
}

#[tokio::test]
async fn of_several_harbors_the_latest_news_count_and_one_at_home_before_all() {
    let discovery = InProcess::new();
    let (old, new) = (far(), far().available(false));
    carry(&discovery, "1.255.2", std::slice::from_ref(&old)).await;
    carry(&discovery, "1.255.1", std::slice::from_ref(&new)).await;
    // One that is cut off from where it has it from goes on to say the same.
    carry(&discovery, "1.255.2", std::slice::from_ref(&old)).await;
    assert_eq!(one(&discovery), new.carried_by(at("1.255.1")));
    carry(&discovery, HOME, std::slice::from_ref(&old)).await;
    carry(&discovery, "1.255.1", &[old.clone().label("zone", "b")]).await;
    assert_eq!(one(&discovery), old.clone().carried_by(at(HOME)));
    carry(&discovery, HOME, &[]).await;
    carry(&discovery, "1.255.1", &[]).await;
    assert_eq!(one(&discovery), old.carried_by(at("1.255.2")));
}

#[tokio::test]
async fn a_harbor_that_carries_something_invalid_changes_nothing() {
    let discovery = InProcess::new();
    let wrong = [far(), Member::new(at("2.1.2"), "nowhere")];
    let outcome = discovery.carry(at(HOME), &wrong, Duration::from_secs(10)).await;
    assert!(matches!(outcome, Err(DiscoveryError::Invalid(_))), "{outcome:?}");
    assert!(discovery.members().is_empty());
}

#[tokio::test]
async fn a_watcher_that_missed_many_changes_believes_that_nothing_is_carried_any_more() {
    let discovery = InProcess::new();
    carry(&discovery, HOME, &[far()]).await;
    let mut watch = discovery.watch().await.unwrap();
    let mut view = View::new(at("1.1.1"));
    view.apply(watch.next().await.unwrap());
    assert_eq!(view.len(), 1);
    tokio::task::yield_now().await;
    for n in 0..LOG_MAX {
        carry(&discovery, HOME, &[far().label("n", n.to_string())]).await;
    }
    carry(&discovery, HOME, &[]).await;
    while view.len() > 0 {
        view.apply(watch.next().await.unwrap());
    }
}
