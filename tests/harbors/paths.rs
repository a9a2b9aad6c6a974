//! Which way frames take.

use std::time::Duration;

use seaway::{Node, Reason};

use crate::support::messages::{losses, notice, number, record, settled};
use crate::support::proxy::{Cut, Flow, MESSAGE};
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, addr, soon, text, until};

#[tokio::test]
async fn p13_a_reply_goes_back_the_way_of_its_request() {
    let cluster = Cluster::empty();
    let mut harbors = Vec::new();
    for address in ["1.255.1", "1.255.2", "2.255.1", "2.255.2"] {
        harbors.push(cluster.node(address).await);
    }
    let caller = cluster.node("1.1.1").await;
    let relayed = || harbors.iter().map(|harbor| harbor.stats().relayed).collect::<Vec<_>>();
    let (mut ways, mut callees) = (std::collections::BTreeSet::new(), Vec::new());
    for callee in 1..=8 {
        let callee = cluster.echo(&format!("2.1.{callee}")).await;
        callees.push(callee.clone());
        let before = relayed();
        soon("a reply", caller.call(callee.address(), ECHO, text("hi"))).await.unwrap();
        let total = before.iter().sum::<u64>() + 4;
        until("all to be counted", || relayed().iter().sum::<u64>() >= total).await;
        let way: Vec<_> = relayed().iter().zip(before).map(|(now, before)| now - before).collect();
        // A request and a reply, by one harbor of each group.
        assert!(way.iter().all(|count| [0, 2].contains(count)), "{way:?}");
        assert_eq!(way.iter().sum::<u64>(), 4, "{way:?}");
        ways.insert(way);
    }
    assert!(ways.len() > 1, "all went the same way");
}

#[tokio::test]
async fn p16_a_node_that_drains_gets_the_replies_and_receipts_that_it_waits_for() {
    let cluster = Cluster::empty();
    let harbors = [cluster.node("1.255.1").await, cluster.node("2.255.1").await];
    let inbox = Recorder::new();
    let gate = crate::support::events::Gate::closed();
    let (said, mut heard) = crate::support::events::events();
    let passed = gate.clone();
    let callee = record(cluster.builder("2.1.1"), &inbox).on_call(ECHO, move |_, request| {
        let (gate, said) = (passed.clone(), said.clone());
        async move {
            said.say("called");
            gate.pass().await;
            Ok(request)
        }
    });
    let _callee = callee.start().await.unwrap();
    let (caller, notices) = cluster.sender("1.1.1").await;
    let calling = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(addr("2.1.1"), ECHO, text("hi")).await })
    };
    heard.expect("called").await;
    for n in 0..100 {
        soon("room", caller.send(addr("2.1.1"), &number(n))).await.unwrap();
    }
    let stopping = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.shutdown(Duration::from_secs(10)).await })
    };
    let to_caller = || harbors[0].try_send(addr("1.1.1"), &number(0));
    let is_told = || to_caller().is_err_and(|error| error.reason == Reason::Draining);
    until("the harbor to know", is_told).await;
    gate.open();
    assert_eq!(soon("the reply", calling).await.unwrap(), Ok(text("hi")));
    let report = soon("the end", stopping).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(inbox.len(), 100);
    assert_eq!(notices.all(), []);
}

/// Bytes of a number on the wire, at least.
const NUMBER: usize = 44;

#[tokio::test]
async fn p03_what_is_lost_anywhere_on_the_way_is_told_exactly() {
    for lossy in ["1.255.1", "2.255.1", "2.1.1"] {
        let cluster = Cluster::empty();
        let (builder, proxy) = cluster.proxied(lossy).await;
        let (inbox, notices) = (Recorder::new(), Recorder::new());
        let mut builders = vec![notice(cluster.builder("1.1.1"), &notices), builder];
        let others = ["1.255.1", "2.255.1", "2.1.1"].into_iter().filter(|node| *node != lossy);
        builders.extend(others.map(|node| cluster.builder(node)));
        let mut nodes: Vec<Node> = Vec::new();
        for builder in builders {
            nodes.push(record(builder, &inbox).start().await.unwrap());
        }
        let send = async |numbers: std::ops::Range<u64>| {
            for n in numbers {
                soon("room", nodes[0].send(addr("2.1.1"), &number(n))).await.unwrap();
            }
        };
        send(0..100).await;
        inbox.until_len(100).await;
        proxy.inward(MESSAGE, Flow::Swallow);
        send(100..600).await;
        soon("the bytes", proxy.until_swallowed(MESSAGE, 500 * NUMBER)).await;
        proxy.inward(MESSAGE, Flow::Pass);
        proxy.cut(Cut::Reset);
        let is_exact = |all: &[_]| losses(all).last().is_some_and(|(_, exactly)| exactly.is_some());
        let told = notices.until("the exact loss", is_exact).await;
        assert_eq!(losses(&told).last().unwrap().1, Some(500), "behind {lossy}: {told:?}");
        send(600..700).await;
        inbox.until_len(200).await;
        assert_eq!(settled(&nodes[0], &inbox).await.lost, 500);
        let handled = inbox.all();
        assert_eq!(handled, (0..100).chain(600..700).collect::<Vec<_>>());
    }
}
