//! Harbors that watch two discoveries: that of their group and that of all harbors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use seaway::discovery::{InProcess, Member};
use seaway::{Incarnation, LogicalAddr, Node, StartError, StopCause};
use support::{addr, soon, until};

const ONE: &str = "1.1.1";
const HARBOR: &str = "1.255.1";
const FAR_HARBOR: &str = "2.255.1";

/// Nobody listens there.
fn member(address: &str) -> Member {
    Member::new(addr(address), "127.0.0.1:1")
}

/// A harbor that is a member of both discoveries.
async fn harbor(address: &str, own: &InProcess, common: &InProcess) -> Node {
    let builder = Node::builder(address).in_process(own).harbor_discovery(common.clone());
    common.put(said(own, address).unwrap()).unwrap();
    builder.start().await.unwrap()
}

fn said(discovery: &InProcess, address: &str) -> Option<Member> {
    discovery.members().into_iter().find(|member| member.address == addr(address))
}

fn knows(node: &Node, address: &str) -> bool {
    node.all_members().iter().any(|member| member.address == addr(address))
}

#[tokio::test]
async fn a_node_that_is_no_harbor_has_no_harbor_discovery() {
    let members = InProcess::new();
    let builder = Node::builder(ONE).in_process(&members).harbor_discovery(InProcess::new());
    let error = builder.start().await.unwrap_err();
    assert!(matches!(error, StartError::NotAHarbor(address) if address == addr(ONE)), "{error}");
    let text = error.to_string();
    assert!(text.contains("1.1.1 is no harbor") && text.contains("such as 1.255.1"), "{text}");
}

#[tokio::test]
async fn p17_a_harbor_that_is_in_one_discovery_only_does_not_start_and_says_which() {
    let (own, common) = (InProcess::new(), InProcess::new());
    let builder = Node::builder(HARBOR).in_process(&own).harbor_discovery(common.clone());
    common.put(member(FAR_HARBOR)).unwrap();
    let text = builder.start().await.unwrap_err().to_string();
    assert!(text.starts_with("the harbors' discovery: 1.255.1 is not in discovery"), "{text}");

    let builder = Node::builder(HARBOR).in_process(&common).discovery(own.clone());
    own.remove(addr(HARBOR));
    own.put(member(ONE)).unwrap();
    let builder = builder.harbor_discovery(common.clone());
    let text = builder.start().await.unwrap_err().to_string();
    assert!(text.starts_with("1.255.1 is not in discovery"), "{text}");
}

#[tokio::test]
async fn a_harbor_knows_its_group_from_one_discovery_and_harbors_from_the_other() {
    let (own, common) = (InProcess::new(), InProcess::new());
    own.put(member(ONE)).unwrap();
    common.put(member(FAR_HARBOR)).unwrap();
    common.put(member("1.1.2")).unwrap();
    let harbor = harbor(HARBOR, &own, &common).await;
    let known: Vec<LogicalAddr> = harbor.all_members().iter().map(|m| m.address).collect();
    assert_eq!(known, [addr(ONE), addr(HARBOR), addr(FAR_HARBOR)]);
    common.put(member("3.255.1")).unwrap();
    own.put(member("1.1.3")).unwrap();
    until("both", || knows(&harbor, "3.255.1") && knows(&harbor, "1.1.3")).await;
    common.remove(addr(FAR_HARBOR));
    until("the removal", || !knows(&harbor, FAR_HARBOR)).await;
}

#[tokio::test]
async fn a_harbor_announces_itself_to_both_discoveries_and_withdraws_from_both() {
    let (own, common) = (InProcess::new(), InProcess::new());
    let harbor = harbor(HARBOR, &own, &common).await;
    for discovery in [&own, &common] {
        let said = said(discovery, HARBOR).unwrap();
        assert!(said.available && said.incarnation == Some(harbor.incarnation()));
    }
    harbor.shutdown(std::time::Duration::from_secs(1)).await;
    for discovery in [&own, &common] {
        assert!(!said(discovery, HARBOR).unwrap().available);
    }
}

#[tokio::test]
async fn p17_a_harbor_stops_when_its_group_removes_it_but_not_when_the_harbors_do() {
    let (own, common) = (InProcess::new(), InProcess::new());
    common.put(member(FAR_HARBOR)).unwrap();
    let harbor = harbor(HARBOR, &own, &common).await;
    common.remove(addr(HARBOR));
    // What comes after it has been heard, so the removal was.
    common.remove(addr(FAR_HARBOR));
    until("what was said after it", || !knows(&harbor, FAR_HARBOR)).await;
    own.put(member(ONE)).unwrap();
    until("the member", || knows(&harbor, ONE) && knows(&harbor, HARBOR)).await;
    own.remove(addr(HARBOR));
    assert_eq!(soon("the end", harbor.stopped()).await, StopCause::Removed);
}

#[tokio::test]
async fn p15_a_harbor_that_learns_from_either_discovery_that_it_is_the_older_one_stops() {
    for which in 0..2 {
        let (own, common) = (InProcess::new(), InProcess::new());
        let harbor = harbor(HARBOR, &own, &common).await;
        let newer = Incarnation::from_bits(harbor.incarnation().bits() + 1);
        let discovery = [&own, &common][which];
        discovery.put(said(discovery, HARBOR).unwrap().incarnation(newer)).unwrap();
        assert_eq!(soon("the end", harbor.stopped()).await, StopCause::Superseded(newer));
    }
}
