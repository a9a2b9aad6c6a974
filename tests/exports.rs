//! Exported members, seen in groups that have discoveries of their own: harbors carry them across.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use seaway::discovery::{Discovery, InProcess, Member};
use seaway::{LogicalAddr, Node, NodeType, StopCause};
use support::{addr, soon, until};

const ONE: &str = "1.1.1";
const ROOM: &str = "2.7.1";
const HARBOR: &str = "1.255.1";
const SECOND_HARBOR: &str = "1.255.2";
const FAR_HARBOR: &str = "2.255.1";
const ROOMS: NodeType = NodeType::new(7);
/// How long a change may take from one group to the other.
const ACROSS: Duration = Duration::from_secs(1);

/// Two groups and what their harbors share.
#[derive(Clone, Default)]
struct World {
    first: InProcess,
    second: InProcess,
    common: InProcess,
}

impl World {
    fn own(&self, address: &str) -> &InProcess {
        if addr(address).group() == 1 { &self.first } else { &self.second }
    }

    async fn harbor(&self, address: &str) -> Node {
        let own = self.own(address);
        let builder = Node::builder(address).in_process(own).harbor_discovery(self.common.clone());
        self.common.put(said(own, address).unwrap()).unwrap();
        builder.start().await.unwrap()
    }

    /// A harbor that can be killed: nothing of it runs any more, and it says goodbye to nobody.
    fn mortal_harbor(&self, address: &'static str) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let world = self.clone();
        let start = async move { std::mem::forget(world.harbor(address).await) };
        let started = runtime.spawn(start);
        std::thread::spawn(move || {
            runtime.block_on(started).unwrap();
            runtime
        })
        .join()
        .unwrap()
    }

    async fn node(&self, address: &str) -> Node {
        Node::builder(address).in_process(self.own(address)).start().await.unwrap()
    }

    /// Adds an exported member to the second group; nobody listens there.
    fn room(&self) {
        self.second.put(Member::new(addr(ROOM), "127.0.0.1:1").exported(true)).unwrap();
    }

    /// A node of the first group and the harbors that it needs to see an exported room.
    async fn with_a_room() -> (Self, Node, [Node; 2]) {
        let world = Self::default();
        world.room();
        let harbors = [world.harbor(HARBOR).await, world.harbor(FAR_HARBOR).await];
        let one = world.node(ONE).await;
        until("the room", || rooms(&one) == [addr(ROOM)]).await;
        (world, one, harbors)
    }
}

fn said(discovery: &InProcess, address: &str) -> Option<Member> {
    discovery.members().into_iter().find(|member| member.address == addr(address))
}

/// The rooms that a pick would choose from.
fn rooms(node: &Node) -> Vec<LogicalAddr> {
    node.members(ROOMS).map(|member| member.address).collect()
}

async fn within_a_second(what: &str, is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    until(what, is_so).await;
    assert!(began.elapsed() < 3 * ACROSS, "{what} took {:?}", began.elapsed());
}

#[tokio::test]
async fn pickers_see_what_another_group_exports_though_each_has_its_own_discovery() {
    let (world, one, _harbors) = World::with_a_room().await;
    // It is as its group has it, and nobody has entered it.
    let member = one.members(ROOMS).next().unwrap();
    let expected = said(&world.second, ROOM).unwrap().carried_by(addr(HARBOR));
    assert_eq!(*member, expected);
    assert_eq!(world.first.configured().len(), 2);
    assert_eq!(world.common.configured().len(), 2);
    // Members of a group do not learn of foreign harbors.
    assert_eq!(said(&world.first, FAR_HARBOR), None);
}

#[tokio::test]
async fn a_member_that_is_not_exported_stays_in_its_group() {
    let (world, one, harbors) = World::with_a_room().await;
    world.second.set_exported(addr(ROOM), false).unwrap();
    within_a_second("the end of the export", || rooms(&one).is_empty()).await;
    assert_eq!(said(&world.common, ROOM), None);
    let far = &harbors[1];
    assert!(far.all_members().iter().any(|member| member.address == addr(ROOM)));
    world.second.set_exported(addr(ROOM), true).unwrap();
    within_a_second("the export", || rooms(&one) == [addr(ROOM)]).await;
}

#[tokio::test]
async fn what_changes_about_an_exported_member_is_seen_in_other_groups_within_a_second() {
    let (world, one, _harbors) = World::with_a_room().await;
    for available in [false, true] {
        world.second.set_available(addr(ROOM), available).unwrap();
        within_a_second("the availability", || rooms(&one).is_empty() != available).await;
    }
    world.second.put(said(&world.second, ROOM).unwrap().label("zone", "b")).unwrap();
    let is_labelled = || one.members(ROOMS).any(|room| room.labels.contains_key("zone"));
    within_a_second("the label", is_labelled).await;
    world.second.remove(addr(ROOM));
    within_a_second("the removal", || rooms(&one).is_empty()).await;
    until("its end", || world.first.carried().is_empty()).await;
    assert_eq!(world.common.members().len(), 2);
}

#[tokio::test]
async fn a_harbor_that_stops_takes_back_what_it_carried() {
    let (world, one, [harbor, far]) = World::with_a_room().await;
    far.shutdown(Duration::from_secs(1)).await;
    assert!(world.common.carried().is_empty());
    until("the end of the room", || rooms(&one).is_empty()).await;
    let far = world.harbor(FAR_HARBOR).await;
    until("the room", || rooms(&one) == [addr(ROOM)]).await;
    harbor.shutdown(Duration::from_secs(1)).await;
    assert!(world.first.carried().is_empty());
    drop(far);
}

#[tokio::test]
async fn what_a_killed_harbor_carried_goes_when_its_time_is_over() {
    let world = World::default();
    world.room();
    let far = world.mortal_harbor(FAR_HARBOR);
    let _harbor = world.harbor(HARBOR).await;
    let one = world.node(ONE).await;
    until("the room", || rooms(&one) == [addr(ROOM)]).await;
    far.shutdown_background();
    let began = Instant::now();
    until("the end of the room", || {
        world.common.expire();
        rooms(&one).is_empty()
    })
    .await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(6), "it was taken back after {took:?}");
}

#[tokio::test]
async fn p18_what_two_harbors_carry_is_seen_without_a_gap_when_one_is_killed() {
    let world = World::default();
    world.room();
    let _far = world.harbor(FAR_HARBOR).await;
    let first = world.mortal_harbor(HARBOR);
    let _second = world.harbor(SECOND_HARBOR).await;
    let one = world.node(ONE).await;
    until("both", || world.first.carried().len() == 2).await;
    until("the room", || rooms(&one) == [addr(ROOM)]).await;
    first.shutdown_background();
    until("the end of what the first carried", || {
        assert_eq!(rooms(&one), [addr(ROOM)], "it was never away, and never there twice");
        world.first.expire();
        world.first.carried().len() == 1
    })
    .await;
    world.second.set_available(addr(ROOM), false).unwrap();
    within_a_second("the news", || rooms(&one).is_empty()).await;
}

#[tokio::test]
async fn in_one_discovery_for_all_nothing_is_carried() {
    let all = InProcess::new();
    let world = World { first: all.clone(), second: all.clone(), common: all.clone() };
    world.room();
    let _harbors = [world.harbor(HARBOR).await, world.harbor(FAR_HARBOR).await];
    let one = world.node(ONE).await;
    until("the room", || rooms(&one) == [addr(ROOM)]).await;
    all.set_exported(addr(ONE), true).unwrap();
    for number in 2..6 {
        let room = LogicalAddr::new(2, 7, number);
        all.put(Member::new(room, "127.0.0.1:1").exported(true)).unwrap();
        within_a_second("the next room", || rooms(&one).contains(&room)).await;
        until("that nothing is carried", || all.carried().is_empty()).await;
    }
    all.remove(addr(ROOM));
    within_a_second("the removal", || !rooms(&one).contains(&addr(ROOM))).await;
    until("the end of what was carried", || all.carried().is_empty()).await;
}

#[tokio::test]
async fn a_member_that_was_entered_in_the_group_that_picks_it_is_there_once() {
    let (world, one, _harbors) = World::with_a_room().await;
    let by_hand = Member::new(addr(ROOM), "10.0.0.7:7001").exported(true);
    world.first.put(by_hand.clone()).unwrap();
    until("the entry", || one.members(ROOMS).all(|room| *room == by_hand)).await;
    assert_eq!(rooms(&one), [addr(ROOM)]);
    world.first.remove(addr(ROOM));
    until("the carried one", || one.members(ROOMS).all(|room| room.carried_by.is_some())).await;
    assert_eq!(rooms(&one), [addr(ROOM)]);
}

#[tokio::test]
async fn p17_a_node_that_its_group_removes_stops_though_a_harbor_carries_it_there() {
    let world = World::default();
    let one = world.node(ONE).await;
    let echo = said(&world.first, ONE).unwrap().exported(true);
    world.first.carry(addr(HARBOR), &[echo], Duration::from_secs(10)).await.unwrap();
    world.first.remove(addr(ONE));
    assert!(said(&world.first, ONE).is_some());
    assert_eq!(soon("the end", one.stopped()).await, StopCause::Removed);
}
