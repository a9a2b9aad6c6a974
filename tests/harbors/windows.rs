//! Destinations that take nothing, beside others that do.

use std::time::{Duration, Instant};

use seaway::discovery::Member;
use seaway::{CallError, Doubt, Reason};

use crate::groups::{Groups, config};
use crate::raw::{Frame, Peer, bits, hash, kind};
use crate::support::events::Gate;
use crate::support::messages::number;
use crate::support::process::NEVER;
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, Number, Text, addr, soon, text, timed, until};
use crate::world::{FROM, TO, World};

const KIB: usize = 1 << 10;
const BESIDE: &str = "2.1.2";
const RECEIPT_WANTED: u8 = 2;

fn large() -> Text {
    text(&"x".repeat(64 * KIB))
}

#[tokio::test]
async fn p09_what_a_destination_beyond_does_not_take_is_full_by_its_deadline() {
    let short = config(|config| config.message_timeout = Duration::from_millis(900));
    let groups = Groups::with(|_, builder| builder.config(short.clone())).await;
    let gate = Gate::closed();
    let pass = gate.clone();
    let receiver = groups.cluster.builder(TO).on_message(move |_, _: Text| {
        let gate = pass.clone();
        async move { gate.pass().await }
    });
    let receiver = receiver.start().await.unwrap();
    let mut accepted = 0;
    let full = loop {
        let (outcome, took) = timed("room or none", groups.sender.send(addr(TO), &large())).await;
        match outcome {
            Ok(()) => accepted += 1,
            Err(error) => break (error, took),
        }
        assert!(accepted < 100, "no end of room");
    };
    let (error, took) = full;
    assert_eq!(error.reason, Reason::Full, "{error}");
    assert!(error.to_string().contains("pair_bytes_max"), "{error}");
    assert!(took >= Duration::from_millis(899), "{took:?}");
    assert!(took < Duration::from_millis(900 + 150), "{took:?}");
    // No more than the window is on its way, wherever.
    assert_eq!(accepted, 15, "1 MiB, with the headers");
    let (outcome, took) =
        timed("no wait", async { groups.sender.try_send(addr(TO), &large()) }).await;
    assert_eq!(outcome.unwrap_err().reason, Reason::Full);
    assert!(took < Duration::from_millis(150), "{took:?}");
    // Others are not concerned.
    let _beside = groups.cluster.echo(BESIDE).await;
    soon("the reply", groups.sender.call(addr(BESIDE), ECHO, text(""))).await.unwrap();
    groups.sender.try_send(addr(BESIDE), &number(1)).unwrap();
    gate.open();
    soon("room", groups.sender.send(addr(TO), &large())).await.unwrap();
    let report = groups.sender.shutdown(Duration::from_secs(10)).await;
    assert!(report.is_clean(), "{report:?}");
    let stats = groups.sender.stats();
    assert_eq!(stats.accepted, receiver.stats().handled + stats.bounced + stats.lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p09_p10_a_frozen_destination_beyond_slows_none_beside_it() {
    let mut world = World::new(&["1.255.1", "2.255.1", TO]).await;
    let sender = world.builder(FROM);
    let healthy = world.builder(BESIDE).on_call(ECHO, |_, request| async move { Ok(request) });
    world.start().await;
    let sender = sender.start().await.unwrap();
    let _healthy = healthy.start().await.unwrap();
    let call = || sender.call(addr(BESIDE), ECHO, text("hi"));
    soon("the reply", call()).await.unwrap();
    soon("room", sender.send(addr(TO), &number(1))).await.unwrap();
    world.harbors[TO].until_handled(1).await;
    world.harbors[TO].freeze().await;
    let began = Instant::now();
    let (mut accepted, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..300 {
        match sender.try_send(addr(TO), &large()) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert_eq!(error.reason, Reason::Full, "{error}");
                refused += 1;
            }
        }
        let (outcome, took) = timed("the reply", call()).await;
        outcome.unwrap();
        slowest = slowest.max(took);
    }
    // Windows of 15, each of which lasts for the 5 s after which what lies at the harbor comes back.
    let windows = 1 + began.elapsed().as_secs() / 5;
    assert!(accepted <= 15 * windows, "a flood of {accepted}");
    assert!(refused > 0, "no end of room");
    assert!(slowest < Duration::from_millis(500), "a call took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_calls_to_a_node_beyond_that_dies_fail_and_not_at_their_deadline() {
    for is_killed in [true, false] {
        let mut world = World::new(&["1.255.1", "2.255.1", TO]).await;
        let caller = world.builder(FROM);
        world.start().await;
        let caller = caller.start().await.unwrap();
        let call = caller.call(addr(TO), NEVER, text("")).within(Duration::from_secs(60));
        let call = tokio::spawn(call.detached());
        world.harbors[TO].word("called").await;
        let (died, bound) = if is_killed {
            world.kill(TO).await;
            (Instant::now(), Duration::from_millis(200))
        } else {
            world.harbors[TO].freeze().await;
            (Instant::now(), Duration::from_secs(4))
        };
        let outcome = soon("the end", call).await.unwrap();
        assert!(died.elapsed() < bound * 3, "{:?}", died.elapsed());
        let is_lost =
            matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }));
        assert!(is_lost, "{outcome:?}");
    }
}

/// A body of this many letters.
fn letters(count: usize) -> Vec<u8> {
    let length = [count & 0x7f | 0x80, count >> 7 & 0x7f | 0x80, count >> 14];
    [&[0x0a], &length.map(|part| u8::try_from(part).unwrap())[..], &vec![b'x'; count]].concat()
}

#[tokio::test]
async fn a_receipt_that_finds_no_room_is_sent_when_there_is_some() {
    const NEAR: &str = "2.255.1";
    let cluster = Cluster::empty();
    cluster.discovery.put(Member::new(addr(NEAR), "127.0.0.1:1")).unwrap();
    let small = config(|config| {
        config.outbox_bytes_max = config.frame_bytes_max;
        (config.calls_max, config.outbox_reserve_bytes) = (1, 44);
        (config.request_bytes_max, config.message_timeout) = (1 << 30, Duration::from_secs(60));
        config.heartbeat = Duration::from_secs(60);
    });
    let (gate, begun) = (Gate::closed(), Recorder::new());
    let (pass, inbox) = (gate.clone(), begun.clone());
    let receiver = cluster.builder(TO).config(small).on_message(move |_, message: Number| {
        let gate = pass.clone();
        inbox.add(message.number);
        async move {
            if message.number > 1 {
                gate.pass().await;
            }
        }
    });
    let receiver = receiver.on_call(ECHO, |_, request| async move { Ok(request) });
    let receiver = receiver.start().await.unwrap();
    // A harbor that reads nothing until all is full, to the last byte.
    let peer = Peer { heartbeat_ms: 60_000, ..Peer::new(NEAR) };
    let (mut rpc, mut messages) = soon("both", peer.dial_both(receiver.local_addr(), TO)).await;
    let between = |frame: Frame| Frame { from: bits(FROM), ..frame };
    for id in 1..=300 {
        let request = rpc.request(id, ECHO.name(), &letters(60 * KIB));
        rpc.send(&between(request)).await;
    }
    for id in 1_001..=3_000 {
        let unknown = between(rpc.request(id, "test.Echo/Unknown", b""));
        rpc.send(&unknown).await;
    }
    until("the refusals", || receiver.stats().requests_refused == 2_000).await;
    for seq in 1..=2 {
        let message = messages.frame(kind::MESSAGE, hash("test.Number"), &[8, seq]);
        let flags = RECEIPT_WANTED;
        let message = between(Frame { seq: u32::from(seq), flags, ..message });
        messages.send(&message).await;
    }
    // The first is dealt with, and nothing more will be said of the second.
    begun.until_len(2).await;
    let receipt = async {
        loop {
            let frame = rpc.next().await.unwrap();
            // The incarnation, and up to which number.
            if frame.kind == kind::RECEIPT && frame.body[8..12] == 1_u32.to_be_bytes() {
                return;
            }
        }
    };
    soon("the receipt", receipt).await;
    gate.open();
}
