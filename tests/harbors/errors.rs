//! What a sender learns of what did not arrive, and who said so.

use std::time::Duration;

use seaway::{CallError, Code, Message, Node, Reason, Undeliverable};

use crate::groups::{Groups, config};
use crate::support::events::{Gate, events};
use crate::support::messages::number;
use crate::support::{Cluster, ECHO, Text, addr, not_sent, soon, text, until};
use crate::world::{FROM, TO};

/// A message comes back from there, for this reason.
async fn message_comes_back<M: Message>(
    groups: &Groups,
    to: &str,
    message: &M,
    reason: Reason,
    hop: &str,
) {
    let seen = groups.notices.len();
    soon("room", groups.sender.send(addr(to), message)).await.unwrap();
    let told = groups.notices.until_len(seen + 1).await;
    assert!(
        matches!(&told[seen..], [Undeliverable::Bounced { address, reason: why, hop: teller, .. }]
            if (*address, *why, *teller) == (addr(to), reason, Some(addr(hop)))),
        "{told:?}"
    );
}

/// A call and a message come back from there, for this reason.
async fn both_come_back(groups: &Groups, to: &str, reason: Reason, hop: &str) {
    let call = groups.sender.call(addr(to), ECHO, text("hi"));
    let (told, detail) = not_sent(soon("the refusal", call).await);
    assert_eq!(told, reason, "{detail}");
    assert!(detail.contains(hop), "{detail}");
    message_comes_back(groups, to, &number(1), reason, hop).await;
}

#[tokio::test]
async fn without_a_harbor_in_the_own_group_nothing_is_accepted_for_another() {
    let cluster = Cluster::empty();
    let sender = cluster.node(FROM).await;
    let _harbor = cluster.node("2.255.1").await;
    let _target = cluster.echo(TO).await;
    let call = soon("the refusal", sender.call(addr(TO), ECHO, text("hi"))).await;
    let (reason, detail) = not_sent(call);
    assert_eq!(reason, Reason::NoRoute);
    assert!(detail.contains("no harbor of group 1"), "{detail}");
    let error = sender.try_send(addr(TO), &number(1)).unwrap_err();
    assert_eq!(error.reason, Reason::NoRoute);
    assert_eq!(sender.stats().accepted, 0);
}

#[tokio::test]
async fn what_is_for_a_group_without_a_harbor_comes_back_from_the_own_harbor() {
    let groups = Groups::new().await;
    both_come_back(&groups, "3.1.1", Reason::NoRoute, "1.255.1").await;
}

#[tokio::test]
async fn what_is_for_an_unknown_node_comes_back_from_the_harbor_of_its_group() {
    let groups = Groups::new().await;
    both_come_back(&groups, "2.1.9", Reason::NotAMember, "2.255.1").await;
}

#[tokio::test]
async fn who_is_removed_beyond_harbors_is_told_by_the_next_hop_that_is_left() {
    let groups = Groups::new().await;
    let target = groups.cluster.echo(TO).await;
    let call = || groups.sender.call(addr(TO), ECHO, text("hi"));
    assert_eq!(soon("the reply", call()).await, Ok(text("hi")));

    groups.cluster.discovery.remove(addr(TO));
    soon("the target's end", target.stopped()).await;
    let gone = |node: &Node, who: &str| {
        let who = addr(who);
        node.all_members().iter().all(|member| member.address != who)
    };
    until("its harbor to know", || gone(&groups.harbors[1], TO)).await;
    both_come_back(&groups, TO, Reason::NotAMember, "2.255.1").await;

    groups.cluster.discovery.remove(addr("2.255.1"));
    soon("the harbor's end", groups.harbors[1].stopped()).await;
    until("the other harbor to know", || gone(&groups.harbors[0], "2.255.1")).await;
    both_come_back(&groups, TO, Reason::NoRoute, "1.255.1").await;
    let report = groups.sender.shutdown(Duration::from_secs(5)).await;
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test]
async fn p22_what_a_node_does_not_know_comes_back_from_it() {
    let groups = Groups::new().await;
    let _target = groups.cluster.node(TO).await;
    let call = groups.sender.call(addr(TO), ECHO, text("hi"));
    let (reason, _) = not_sent(soon("the refusal", call).await);
    assert_eq!(reason, Reason::Unimplemented);
    message_comes_back(&groups, TO, &number(1), Reason::UnknownMessage, TO).await;
}

#[tokio::test]
async fn p04_calls_to_a_node_beyond_that_drains_or_is_busy_are_not_sent() {
    let groups = Groups::new().await;
    let (gate, (said, mut heard)) = (Gate::closed(), events());
    let pass = gate.clone();
    let one = config(|config| config.requests_max = 1);
    let target = groups.cluster.builder(TO).config(one).on_call(ECHO, move |_, request| {
        let (gate, said) = (pass.clone(), said.clone());
        async move {
            said.say("called");
            gate.pass().await;
            Ok(request)
        }
    });
    let target = target.start().await.unwrap();
    let first = tokio::spawn(groups.sender.call(addr(TO), ECHO, text("first")).detached());
    heard.expect("called").await;
    let call = || groups.sender.call(addr(TO), ECHO, text("second"));
    let (reason, _) = not_sent(soon("the refusal", call()).await);
    assert_eq!(reason, Reason::Busy);
    let stopping = tokio::spawn(async move { target.shutdown(Duration::from_secs(10)).await });
    let drained = async {
        loop {
            match not_sent(call().await).0 {
                Reason::Draining => return,
                reason => assert_eq!(reason, Reason::Busy),
            }
        }
    };
    soon("the drain", drained).await;
    message_comes_back(&groups, TO, &number(1), Reason::Draining, "2.255.1").await;
    gate.open();
    assert_eq!(soon("the reply", first).await.unwrap(), Ok(text("first")));
    assert!(soon("the end", stopping).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_message_for_a_node_beyond_that_cannot_be_reached_comes_back_by_its_deadline() {
    let short = config(|config| config.message_timeout = Duration::from_millis(300));
    let groups = Groups::with(|_, builder| builder.config(short.clone())).await;
    let _absent = groups.cluster.absent(TO);
    message_comes_back(&groups, TO, &number(1), Reason::Expired, "2.255.1").await;
}

fn large(bytes: usize) -> Text {
    text(&"x".repeat(bytes))
}

#[tokio::test]
async fn p08_what_is_too_large_for_a_later_link_comes_back_from_before_it() {
    for (small, hop) in [("2.255.1", "1.255.1"), (TO, "2.255.1")] {
        let limit = config(|config| {
            config.frame_bytes_max = 64 << 10;
        });
        let change = |node: &str, builder: seaway::Builder| {
            if node == small { builder.config(limit.clone()) } else { builder }
        };
        let groups = Groups::with(change).await;
        let target = change(TO, groups.cluster.builder(TO));
        let _target = target.on_call(ECHO, |_, request| async move { Ok(request) }).start().await;
        // Before there is a connection, and when there is one.
        for _ in 0..2 {
            let call = groups.sender.call(addr(TO), ECHO, large(100 << 10));
            let (reason, detail) = not_sent(soon("the refusal", call).await);
            assert_eq!(reason, Reason::TooLarge);
            assert!(detail.contains(hop), "{detail}");
            message_comes_back(&groups, TO, &large(100 << 10), Reason::TooLarge, hop).await;
            let reply = soon("the reply", groups.sender.call(addr(TO), ECHO, large(1_000))).await;
            assert_eq!(reply, Ok(large(1_000)));
        }
    }
}

#[tokio::test]
async fn p04_a_reply_that_is_too_large_for_a_later_link_is_an_error_at_once() {
    let limit = config(|config| config.frame_bytes_max = 64 << 10);
    let change = |node: &str, builder: seaway::Builder| {
        if node == "1.255.1" { builder.config(limit.clone()) } else { builder }
    };
    let groups = Groups::with(change).await;
    let target = groups.cluster.builder(TO).on_call(ECHO, |_, _| async { Ok(large(100 << 10)) });
    let _target = target.start().await.unwrap();
    let call = groups.sender.call(addr(TO), ECHO, text("hi")).within(Duration::from_secs(60));
    let outcome = soon("the error", call).await;
    let Err(CallError::MaybeDone { detail, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("too large for the way from 2.255.1 to 1.255.1"), "{detail}");
}

#[tokio::test]
async fn p04_a_reply_too_large_for_the_harbor_that_brought_its_request_is_an_error_at_once() {
    let cluster = Cluster::empty();
    let _far = cluster.node("1.255.1").await;
    let large_harbor = cluster.node("2.255.1").await;
    let target = cluster.builder(TO).on_call(ECHO, |_, _| async { Ok(large(100 << 10)) });
    let _target = target.start().await.unwrap();
    let caller = cluster.node(FROM).await;
    let call = || caller.call(addr(TO), ECHO, text("hi")).within(Duration::from_secs(60));
    assert_eq!(soon("the reply", call()).await, Ok(large(100 << 10)));
    // Another one takes its place, whose frames are smaller.
    assert!(soon("the end", large_harbor.shutdown(Duration::from_secs(5))).await.is_clean());
    let limit = config(|config| config.frame_bytes_max = 64 << 10);
    let _harbor = cluster.builder("2.255.2").config(limit).start().await.unwrap();
    cluster.discovery.remove(addr("2.255.1"));
    let failed = async {
        loop {
            match call().await {
                Err(CallError::Status(status)) => return status,
                // Until all know who is there.
                outcome => assert!(not_sent(outcome).0 != Reason::Full),
            }
        }
    };
    let status = soon("the error", failed).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.text().contains("65536"), "{status}");
}
