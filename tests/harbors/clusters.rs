//! Several groups with several harbors.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use seaway::discovery::{InProcess, Member};
use seaway::{CallError, Node, NodeType, Pick, Reason, Undeliverable};
use tokio::task::JoinSet;

use crate::groups::Groups;
use crate::support::messages::{number, record, settled};
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, addr, soon, text, until};
use crate::world::{FROM, TO};

#[tokio::test]
async fn everybody_in_three_groups_with_two_harbors_each_calls_everybody() {
    let cluster = Cluster::empty();
    let (mut builders, mut nodes) = (Vec::new(), Vec::<Node>::new());
    for group in 1..=3 {
        for node in ["255.1", "255.2", "1.1", "1.2", "2.1"] {
            let address = format!("{group}.{node}");
            let reply = text(&address);
            let builder = cluster.builder(&address).on_call(ECHO, move |_, _| {
                let reply = reply.clone();
                async move { Ok(reply) }
            });
            builders.push(builder);
        }
    }
    for builder in builders {
        nodes.push(builder.start().await.unwrap());
    }
    let mut calls = JoinSet::new();
    for from in &nodes {
        for to in &nodes {
            let (from, to) = (from.clone(), to.address());
            calls.spawn(async move {
                let outcome = from.call(to, ECHO, text("who?")).await;
                (from.address(), to, outcome)
            });
        }
    }
    for (from, to, outcome) in soon("all calls", calls.join_all()).await {
        assert_eq!(outcome, Ok(text(&to.to_string())), "{from} to {to}");
    }
}

#[tokio::test]
async fn a_pick_of_exported_members_beyond_harbors_is_called() {
    let cluster = Cluster::empty();
    let _harbors = [cluster.node("1.255.1").await, cluster.node("2.255.1").await];
    let caller = cluster.node(FROM).await;
    let hidden = cluster.echo("2.7.1").await;
    let echo_nodes = [cluster.echo("2.7.2").await, cluster.echo("2.7.3").await];
    for exported in ["2.7.2", "2.7.3"] {
        cluster.discovery.put(cluster.member(exported).exported(true)).unwrap();
    }
    let echoes = NodeType::new(7);
    until("the exports", || caller.members(echoes).count() == 2).await;
    for _ in 0..10 {
        let call = caller.call(Pick::round_robin(echoes), ECHO, text("hi"));
        assert_eq!(soon("the reply", call).await, Ok(text("hi")));
    }
    assert_eq!(hidden.stats().requests, 0);
    assert_eq!(echo_nodes.each_ref().map(|echo| echo.stats().requests), [5, 5]);
}

/// Nodes of three groups, each of which believes something else: of the others it knows some only.
async fn inconsistent(seed: u64) -> (Vec<Node>, Vec<Node>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut members = BTreeMap::new();
    for group in 1..=3 {
        for node in ["255.1", "255.2", "1.1", "1.2"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let network = listener.local_addr().unwrap().to_string();
            members.insert(addr(&format!("{group}.{node}")), (network, Some(listener)));
        }
    }
    let everybody: Vec<_> =
        members.iter().map(|(address, (network, _))| Member::new(*address, network)).collect();
    let (mut harbors, mut nodes) = (Vec::new(), Vec::new());
    for (address, (_, listener)) in &mut members {
        let view = InProcess::new();
        let others = everybody.iter().filter(|member| member.address != *address);
        for member in others.sample(&mut random, 8) {
            view.put(member.clone()).unwrap();
        }
        let own = everybody.iter().find(|member| member.address == *address).unwrap();
        view.put(own.clone()).unwrap();
        let builder = Node::builder(*address).discovery(view).listener(listener.take().unwrap());
        let builder = builder.on_call(ECHO, |_, request| async move { Ok(request) });
        let node = builder.start().await.unwrap();
        if address.is_harbor() { harbors.push(node) } else { nodes.push(node) }
    }
    (harbors, nodes)
}

#[tokio::test]
async fn p18_nothing_circles_whatever_harbors_believe() {
    for seed in 0..3 {
        let (harbors, nodes) = inconsistent(seed).await;
        let mut calls = JoinSet::new();
        for from in &nodes {
            for to in &nodes {
                if from.address().group() != to.address().group() {
                    let call = from.call(to.address(), ECHO, text("hi"));
                    calls.spawn(call.within(Duration::from_millis(500)).detached());
                }
            }
        }
        let (mut answered, mut most) = (0, 0);
        for outcome in soon("all calls", calls.join_all()).await {
            most += match outcome {
                // Two harbors there, and two back.
                Ok(_) => {
                    answered += 1;
                    4
                }
                // One harbor there and back; or none.
                Err(CallError::NotSent {
                    reason: Reason::NotAMember | Reason::NoRoute, ..
                }) => 2,
                // And a cancel behind it.
                Err(_) => 6,
            };
        }
        let relayed: u64 = harbors.iter().map(|harbor| harbor.stats().relayed).sum();
        assert!(relayed <= most, "seed {seed}: {relayed} frames were relayed, {most} at most");
        assert!(answered > 0 && answered < 24, "seed {seed}: {answered} answered");
    }
}

#[tokio::test]
async fn p15_a_source_that_restarts_begins_to_count_anew() {
    let groups = Groups::new().await;
    let inbox = Recorder::new();
    let _receiver = record(groups.cluster.builder(TO), &inbox).start().await.unwrap();
    for n in 0..100 {
        soon("room", groups.sender.send(addr(TO), &number(n))).await.unwrap();
    }
    inbox.until_len(100).await;
    let Groups { cluster, sender, harbors, .. } = groups;
    sender.shutdown(Duration::from_secs(5)).await;
    drop(sender);
    let (sender, notices) = cluster.sender(FROM).await;
    for n in 100..200 {
        soon("room", sender.send(addr(TO), &number(n))).await.unwrap();
    }
    inbox.until_len(200).await;
    assert_eq!(inbox.all(), (0..200).collect::<Vec<_>>());
    assert!(sender.shutdown(Duration::from_secs(5)).await.is_clean());
    assert_eq!((notices.all(), sender.stats().lost), (Vec::new(), 0));
    drop(harbors);
}

#[tokio::test]
async fn p15_messages_reach_a_destination_beyond_that_restarts() {
    let groups = Groups::new().await;
    let inbox = Recorder::new();
    let receiver = record(groups.cluster.builder(TO), &inbox).start().await.unwrap();
    let send = async |numbers: std::ops::Range<u64>| {
        for n in numbers {
            soon("room", groups.sender.send(addr(TO), &number(n))).await.unwrap();
        }
    };
    send(0..100).await;
    inbox.until_len(100).await;
    receiver.shutdown(Duration::from_secs(5)).await;
    drop(receiver);
    let _receiver = record(groups.cluster.builder(TO), &inbox).start().await.unwrap();
    send(100..200).await;
    let stats = settled(&groups.sender, &inbox).await;
    let handled = inbox.all();
    assert!(handled.is_sorted_by(|a, b| a < b), "{handled:?}");
    // What came while the old run was leaving came back; nothing is lost.
    assert_eq!(stats.lost, 0, "{:?}, handled {}", groups.notices.all(), handled.len());
    // A lost way may be told before it is known that nothing was on it.
    let notices = groups.notices.all();
    let bounces = notices.iter().filter(|notice| matches!(notice, Undeliverable::Bounced { .. }));
    assert_eq!(bounces.count() as u64, stats.bounced, "{notices:?}");
    send(200..300).await;
    inbox.until("the last one", |all| all.last() == Some(&299)).await;
}
