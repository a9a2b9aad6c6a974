//! Calls and messages to one of many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seaway::discovery::{Member, MembersFile};
use seaway::{CallError, LogicalAddr, Node, NodeType, Pick, Reason, Target};
use support::recorder::Recorder;
use support::{Cluster, ECHO, addr, soon, text, until};
use tokio::sync::Notify;

const ECHOES: NodeType = NodeType::new(2);

/// A node of type 2 that answers with its own address.
async fn echo(cluster: &Cluster, address: &str) -> Node {
    let reply = text(address);
    let builder = cluster.builder(address).on_call(ECHO, move |_, _| {
        let reply = reply.clone();
        async move { Ok(reply) }
    });
    builder.start().await.unwrap()
}

/// Who answered how often.
async fn answers(node: &Node, pick: &Pick, calls: u32) -> BTreeMap<String, u32> {
    let mut answers = BTreeMap::new();
    for _ in 0..calls {
        let reply = soon("a reply", node.call(pick.clone(), ECHO, text("who?"))).await.unwrap();
        *answers.entry(reply.text).or_default() += 1;
    }
    answers
}

#[tokio::test]
async fn a_call_goes_to_one_of_those_that_discovery_calls_available() {
    let cluster = Cluster::new();
    let _echoes = [echo(&cluster, "1.2.1").await, echo(&cluster, "1.2.2").await];
    let node = cluster.node("1.1.1").await;
    let turns = Pick::round_robin(ECHOES);
    let both = BTreeMap::from([("1.2.1".to_owned(), 5), ("1.2.2".to_owned(), 5)]);
    assert_eq!(answers(&node, &turns, 10).await, both);

    cluster.discovery.put(cluster.member("1.2.1").available(false)).unwrap();
    until("the change", || node.members(ECHOES).count() == 1).await;
    let one = BTreeMap::from([("1.2.2".to_owned(), 10)]);
    assert_eq!(answers(&node, &turns, 10).await, one);
    assert_eq!(answers(&node, &Pick::by_key(ECHOES, "ann"), 10).await, one);
}

#[tokio::test]
async fn who_waits_for_members_waits_until_they_are_as_wanted() {
    let cluster = Cluster::empty();
    let node = cluster.node("1.1.1").await;
    let mut asked = 0;
    let three = node.members_until(|node| {
        asked += 1;
        node.all_members().len() == 3
    });
    let join = async {
        for address in ["1.2.1", "1.2.2"] {
            cluster.node(address).await;
        }
    };
    soon("three members", async { tokio::join!(three, join) }).await;
    assert_eq!(node.all_members().len(), 3);
    assert!(asked > 1, "it was not so at first");
    soon("no wait for what is so", node.members_until(|_| true)).await;
}

#[tokio::test]
async fn a_pick_that_finds_nobody_says_what_it_looked_for_and_what_it_saw() {
    let cluster = Cluster::new();
    let node = cluster.node("1.1.1").await;
    let pick = Pick::any(NodeType::new(9));
    let outcome = node.call(pick.clone(), ECHO, text("who?")).await;
    let Err(CallError::NotSent { to, reason, .. }) = &outcome else { panic!("{outcome:?}") };
    assert_eq!((to, *reason), (&Target::from(pick.clone()), Reason::NotAMember));
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "call of test.Echo/Echo to any node of type 9 did not run: \
         discovery has no member of this type in this group, and no exported one in another"
    );
    let error = node.try_send(pick, &text("who?")).unwrap_err();
    assert!(error.to_string().contains("to any node of type 9 was not accepted"), "{error}");
}

#[tokio::test]
async fn an_error_names_the_node_that_was_picked() {
    let cluster = Cluster::new();
    let _deaf = cluster.node("1.2.1").await;
    let node = cluster.node("1.1.1").await;
    cluster.discovery.put(cluster.member("1.2.2").available(false)).unwrap();
    until("the change", || node.members(ECHOES).count() == 1).await;
    let outcome = node.call(Pick::any(ECHOES), ECHO, text("who?")).await;
    let Err(CallError::NotSent { to, reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((to, reason), (addr("1.2.1").into(), Reason::Unimplemented));
}

#[tokio::test]
async fn p16_one_that_has_said_that_it_stops_is_passed_over_though_discovery_calls_it_available() {
    // A members file, in which nobody notes that a node goes.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("members.toml");
    let sockets = ["1.1.1", "1.2.1", "1.2.2"].map(|address| {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let network = socket.local_addr().unwrap();
        let member = format!("[[member]]\naddress = \"{address}\"\nnetwork = \"{network}\"\n");
        (Node::builder(address).discovery(MembersFile::open(&file)).listener(socket), member)
    });
    std::fs::write(&file, sockets.each_ref().map(|(_, member)| member.as_str()).concat()).unwrap();
    let [node, going, staying] = sockets.map(|(builder, _)| builder);
    let end = Arc::new(Notify::new());
    let ends = Arc::clone(&end);
    let going = going.on_call(ECHO, move |_, _| {
        let ends = Arc::clone(&ends);
        async move {
            ends.notified().await;
            Ok(text("at last"))
        }
    });
    let going = going.start().await.unwrap();
    let staying = staying.on_call(ECHO, |_, _| async { Ok(text("1.2.2")) }).start().await.unwrap();
    let node = node.start().await.unwrap();
    let last = tokio::spawn(node.call(addr("1.2.1"), ECHO, text("last")).detached());
    until("the last call", || going.stats().requests == 1).await;
    let stop = tokio::spawn(async move { going.shutdown(Duration::from_secs(20)).await });
    soon("the go-away", async {
        let call = || node.call(addr("1.2.1"), ECHO, text("?")).within(Duration::from_millis(100));
        while !matches!(call().await, Err(CallError::NotSent { reason: Reason::Draining, .. })) {}
    })
    .await;
    let only = BTreeMap::from([("1.2.2".to_owned(), 10)]);
    assert_eq!(answers(&node, &Pick::round_robin(ECHOES), 10).await, only);
    assert_eq!(answers(&node, &Pick::any(ECHOES), 10).await, only);
    end.notify_one();
    assert_eq!(soon("the last reply", last).await.unwrap().unwrap().text, "at last");
    assert!(soon("the stop", stop).await.unwrap().is_clean());
    drop(staying);
}

#[tokio::test]
async fn one_that_could_not_be_connected_to_is_passed_over_for_a_while() {
    let cluster = Cluster::new();
    let _refuses = cluster.absent("1.2.1");
    let _echo = echo(&cluster, "1.2.2").await;
    let node = cluster.node("1.1.1").await;
    let call = || node.call(Pick::round_robin(ECHOES), ECHO, text("?"));
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(call().within(Duration::from_millis(100)).await.is_err());
    }
    assert!(failed <= 2, "{failed} of 20 calls went to one that cannot be reached");
}

#[tokio::test]
async fn messages_for_a_key_arrive_in_order_at_one_node() {
    let cluster = Cluster::new();
    let inbox = Recorder::<(LogicalAddr, String)>::new();
    let mut nodes = Vec::new();
    for address in ["1.2.1", "1.2.2"] {
        let (inbox, me) = (inbox.clone(), addr(address));
        let builder = cluster.builder(address).on_message(move |_, said: support::Text| {
            let inbox = inbox.clone();
            async move { inbox.add((me, said.text)) }
        });
        nodes.push(builder.start().await.unwrap());
    }
    let node = cluster.node("1.1.1").await;
    for n in 0..100 {
        node.send(Pick::by_key(ECHOES, 42_u64), &text(&n.to_string())).await.unwrap();
    }
    let all = inbox.until_len(100).await;
    assert!(all.iter().all(|(to, _)| *to == all[0].0), "more than one node got them");
    let numbers: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(all.into_iter().map(|(_, said)| said).collect::<Vec<_>>(), numbers);
}

#[tokio::test]
async fn members_of_a_type_are_the_available_ones_with_oneself_among_them() {
    let cluster = Cluster::new();
    let node = cluster.node("1.2.1").await;
    let known = || node.members(ECHOES).map(|m: Arc<Member>| m.address).collect::<Vec<_>>();
    assert_eq!(known(), [addr("1.2.1"), addr("1.2.2")]);
    cluster.discovery.put(cluster.member("1.2.2").available(false)).unwrap();
    until("the change", || known() == [addr("1.2.1")]).await;
}
