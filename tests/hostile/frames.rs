//! Frames that break a rule, on a link that is otherwise in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaway::MessageId;

use crate::raw::{Frame, MESSAGE, Peer, RPC, Raw, bits, hash, kind, reason};
use crate::support::{ECHO, Text, addr, soon, text, until};
use crate::{FRIEND, HI, NODE, PEER, Scene};

const ECHO_NAME: &str = "test.Echo/Echo";

async fn rpc(scene: &Scene) -> Raw {
    Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap()
}

/// Sends a frame that closes the lane; returns the reason that the node gives.
async fn closed_by(raw: &mut Raw, frame: &Frame) -> String {
    raw.send(frame).await;
    let farewell = soon("the reason", raw.expect(kind::GO_AWAY)).await.farewell();
    soon("the end", raw.closed()).await;
    farewell
}

#[tokio::test]
async fn p20_a_frame_in_the_name_of_another_closes_the_lane_and_no_other_link() {
    let scene = Scene::new().await;
    let friend = scene.cluster.node(FRIEND).await;
    scene.friend_calls(&friend).await;
    for lane in [RPC, MESSAGE] {
        let (mut rpc, mut message) = Peer::new(PEER).dial_both(scene.at(), NODE).await;
        let raw = if lane == RPC { &mut rpc } else { &mut message };
        let kinds: &[u8] = if lane == RPC { &[kind::REQUEST] } else { &[kind::MESSAGE] };
        for kind in kinds {
            let forged = Frame { from: bits(FRIEND), ..raw.frame(*kind, 1, &[0; 8]) };
            let why = closed_by(raw, &forged).await;
            assert!(why.contains("in the name of 1.1.1"), "{why}");
        }
    }
    let (dialed, requests) = (friend.stats().dialed, scene.node.stats().requests);
    scene.friend_calls(&friend).await;
    assert_eq!(friend.stats().dialed, dialed, "the friend's link was lost");
    assert_eq!(scene.node.stats().requests, requests + 1, "a forged request was handled");
}

#[tokio::test]
async fn a_request_for_another_node_or_of_another_incarnation_is_refused() {
    let scene = Scene::new().await;
    let mut raw = rpc(&scene).await;
    let request = raw.request(1, ECHO_NAME, HI);
    let cases = [
        (Frame { to: bits("1.2.2"), ..request.clone() }, reason::NO_ROUTE),
        (Frame { incarnation: 7, ..request.clone() }, reason::INCARNATION),
        (Frame { time_left: 0, ..request.clone() }, reason::EXPIRED),
        (Frame { extension: vec![9, 0, 0], ..request.clone() }, reason::EXTENSION),
        (Frame { extension: vec![2, 0, 9, 1], ..request.clone() }, reason::EXTENSION),
        (raw.request(1, ECHO_NAME, &[0xff]), reason::MALFORMED),
        (raw.frame(kind::REQUEST, 1, &[1, 2, 3]), reason::UNIMPLEMENTED),
    ];
    for (frame, reason) in cases {
        raw.send(&frame).await;
        let reply = soon("the refusal", raw.expect(kind::REPLY)).await;
        assert_eq!((reply.id, reply.failure()), (1, (reason, 1)), "{frame:?}");
        assert_eq!(reply.incarnation, raw.peer.incarnation);
    }
    assert!(soon("a pong", raw.is_live()).await);
}

#[tokio::test]
async fn p22_an_unknown_method_is_refused_and_the_lane_lives() {
    let scene = Scene::new().await;
    let mut raw = rpc(&scene).await;
    let request = raw.request(5, "test.Later/New", HI);
    raw.send(&request).await;
    let reply = soon("the refusal", raw.expect(kind::REPLY)).await;
    assert_eq!((reply.id, reply.failure()), (5, (reason::UNIMPLEMENTED, 1)));

    let notification = Frame { flags: 1, ..raw.request(0, "test.Later/New", HI) };
    raw.send(&notification).await;
    let bounce = soon("the bounce", raw.expect(kind::BOUNCE)).await;
    let subject = hash("test.Later/New").to_be_bytes();
    assert_eq!(bounce.body[..2], [reason::UNIMPLEMENTED, kind::REQUEST]);
    assert_eq!(bounce.body[6..14], subject);

    let request = raw.request(6, ECHO_NAME, HI);
    raw.send(&request).await;
    assert_eq!(soon("the reply", raw.expect(kind::REPLY)).await.body, [&[0], HI].concat());
}

#[tokio::test]
async fn p22_messages_that_nobody_takes_are_bounced_and_the_lane_lives() {
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let scene = Scene::with(|builder| {
        builder.on_message(move |_, _: Text| {
            count.fetch_add(1, Ordering::Relaxed);
            async {}
        })
    });
    let scene = scene.await;
    let (mut rpc, mut message) = Peer::new(PEER).dial_both(scene.at(), NODE).await;
    let id = MessageId::of("test.Text").get();
    let good = message.frame(kind::MESSAGE, id, HI);
    let cases = [
        (Frame { id: 404, ..good.clone() }, reason::UNKNOWN_MESSAGE),
        (Frame { to: bits("1.2.2"), ..good.clone() }, reason::NO_ROUTE),
        (Frame { incarnation: 7, ..good.clone() }, reason::INCARNATION),
        (Frame { time_left: 0, ..good.clone() }, reason::EXPIRED),
        (Frame { extension: vec![9, 0, 0], ..good.clone() }, reason::EXTENSION),
        (Frame { body: vec![0xff], ..good.clone() }, reason::MALFORMED),
    ];
    for (frame, reason) in cases {
        message.send(&frame).await;
        let bounce = soon("the bounce", rpc.expect(kind::BOUNCE)).await;
        assert_eq!((bounce.id, bounce.incarnation), (frame.id, rpc.peer.incarnation));
        assert_eq!(bounce.body[..2], [reason, kind::MESSAGE], "{frame:?}");
        assert_eq!(bounce.body[2..6], bits(NODE).to_be_bytes());
    }
    message.send(&good).await;
    assert!(soon("a pong", message.is_live()).await);
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn p19_what_breaks_the_wire_closes_the_lane_with_a_reason() {
    let scene = Scene::new().await;
    let friend = scene.cluster.node(FRIEND).await;
    scene.friend_calls(&friend).await;
    for lane in [RPC, MESSAGE] {
        for (what, bytes, why) in broken(&rpc(&scene).await) {
            let (rpc, message) = Peer::new(PEER).dial_both(scene.at(), NODE).await;
            let mut raw = if lane == RPC { rpc } else { message };
            tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &bytes).await.unwrap();
            let farewell = soon(what, raw.expect(kind::GO_AWAY)).await.farewell();
            assert!(farewell.contains(why), "{what}: {farewell}");
            soon(what, raw.closed()).await;
        }
    }
    let dialed = friend.stats().dialed;
    scene.friend_calls(&friend).await;
    assert_eq!(friend.stats().dialed, dialed, "the friend's link was lost");
}

/// Bytes that no peer may send on any lane, and a part of the reason that the node gives.
fn broken(raw: &Raw) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let ping = raw.frame(kind::PING, 0, &[0]);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = ping.encode();
        change(&mut bytes);
        bytes
    };
    let length = |length: u32| with(&|bytes| bytes[..4].copy_from_slice(&length.to_be_bytes()));
    vec![
        ("kind 0", with(&|bytes| bytes[4] = 0), "kind 0"),
        ("kind 13", with(&|bytes| bytes[4] = 13), "kind 13"),
        ("a preamble", with(&|bytes| bytes[4] = kind::OPEN), "lane"),
        ("an end", with(&|bytes| bytes[4] = kind::END), "lane"),
        ("kind 127", with(&|bytes| bytes[4] = 127), "kind 127"),
        ("no addressee", Frame { to: 0, ..ping.clone() }.encode(), "kind 8"),
        ("no sender", Frame { from: 0, ..ping.clone() }.encode(), "kind 8"),
        ("a length of 0", length(0), "shorter than its header"),
        ("a length of 39", length(39), "shorter than its header"),
        ("the longest length", length(u32::MAX), "over the limit"),
        ("a body over the limit", length(40 + (1 << 20) + (16 << 10) + 1), "over the limit"),
        ("an extension beyond the frame", with(&|bytes| bytes[41] = 2), "does not fit"),
        ("an empty go-away", raw.frame(kind::GO_AWAY, 0, &[]).encode(), "go-away"),
        ("an empty ping", raw.frame(kind::PING, 0, &[]).encode(), "pulse"),
        ("a pong cut short", raw.frame(kind::PONG, 0, &[1, 0, 0]).encode(), "pulse"),
    ]
}

#[tokio::test]
async fn p19_a_malformed_bounce_closes_the_lane() {
    let scene = Scene::new().await;
    let good = |raw: &Raw| {
        let mut body = vec![reason::EXPIRED, kind::MESSAGE];
        body.extend(raw.node.to_be_bytes());
        body.extend([0; 20]);
        body
    };
    let mut raw = rpc(&scene).await;
    let bounce = raw.answer(kind::BOUNCE, 1, &good(&raw));
    raw.send(&bounce).await;
    assert!(soon("a pong", raw.is_live()).await, "a good one closed the lane");
    let changes: [fn(&mut Vec<u8>); 3] =
        [|body| body.truncate(25), |body| body[1] = kind::REPLY, |body| body[2..6].fill(0)];
    for change in changes {
        let mut body = good(&raw);
        change(&mut body);
        let bounce = raw.answer(kind::BOUNCE, 1, &body);
        let why = closed_by(&mut raw, &bounce).await;
        assert!(why.contains("bounce"), "{why}");
        raw = rpc(&scene).await;
    }
}

#[tokio::test]
async fn frames_on_the_wrong_lane_close_it() {
    let scene = Scene::new().await;
    let (mut rpc, mut message) = Peer::new(PEER).dial_both(scene.at(), NODE).await;
    let wrong = message.request(1, ECHO_NAME, HI);
    let why = closed_by(&mut message, &wrong).await;
    assert!(why.contains("on the message lane"), "{why}");
    assert!(soon("a pong", rpc.is_live()).await, "the other lane went with it");
    let wrong = rpc.frame(kind::MESSAGE, 1, HI);
    let why = closed_by(&mut rpc, &wrong).await;
    assert!(why.contains("on the rpc lane"), "{why}");
}

#[tokio::test]
async fn p22_optional_kinds_are_skipped_and_counted() {
    let scene = Scene::new().await;
    let (mut rpc, mut message) = Peer::new(PEER).dial_both(scene.at(), NODE).await;
    for raw in [&mut rpc, &mut message] {
        for kind in [128, 129, 200, 254, 255] {
            let frame = raw.frame(kind, 3, b"later");
            raw.send(&frame).await;
        }
        assert!(soon("a pong", raw.is_live()).await);
    }
    assert_eq!(scene.node.stats().frames_skipped, 10);
}

#[tokio::test]
async fn p07_a_reply_that_is_not_for_this_call_never_completes_it() {
    let scene = Scene::new().await;
    let other_peer = "1.1.8";
    let other = seaway::discovery::Member::new(addr(other_peer), "127.0.0.1:1");
    scene.cluster.discovery.put(other).unwrap();
    let mut raw = rpc(&scene).await;
    let mut other = Peer::new(other_peer).dial(scene.at(), NODE, RPC).await.unwrap();
    let call = tokio::spawn(scene.node.call(addr(PEER), ECHO, text("hi")).detached());
    let request = soon("the request", raw.expect(kind::REQUEST)).await;

    let forged = raw.answer(kind::REPLY, request.id, b"\0\x0a\x06forged");
    let refusal = [reason::UNIMPLEMENTED, 1, 0, 0];
    let mut bounce = vec![reason::EXPIRED, kind::REQUEST];
    bounce.extend([&raw.peer.address.to_be_bytes()[..], &[0; 20]].concat());
    let strays = [
        Frame { incarnation: raw.node_incarnation + 1, ..forged.clone() },
        Frame { incarnation: raw.node_incarnation - 1, ..forged.clone() },
        Frame { incarnation: 0, body: refusal.to_vec(), ..forged.clone() },
        Frame { id: request.id + 1, ..forged.clone() },
        Frame { id: request.id ^ 1 << 32, ..forged.clone() },
        Frame { id: request.id + 16, ..forged.clone() },
        Frame { id: 0, ..forged.clone() },
        Frame { id: u64::MAX, ..forged.clone() },
        Frame { to: bits("1.2.2"), ..forged.clone() },
        Frame { incarnation: 7, ..raw.answer(kind::BOUNCE, request.id, &bounce) },
        Frame { to: bits("1.2.2"), ..raw.answer(kind::BOUNCE, request.id, &bounce) },
    ];
    for stray in &strays {
        raw.send(stray).await;
    }
    let stray = other.answer(kind::REPLY, request.id, &forged.body);
    other.send(&stray).await;
    assert!(soon("a pong", raw.is_live()).await && soon("a pong", other.is_live()).await);

    let reply = raw.answer(kind::REPLY, request.id, &[&[0], HI].concat());
    raw.send(&reply).await;
    // A second one comes too late.
    raw.send(&forged).await;
    assert_eq!(soon("the reply", call).await.unwrap(), Ok(text("hi")));
    assert!(soon("a pong", raw.is_live()).await);
    // All but the two bounces, and with that of the other peer and the late one.
    assert_eq!(scene.node.stats().replies_stray, 11);
}

#[tokio::test]
async fn p04_a_malformed_reply_is_maybe_done_and_the_lane_lives() {
    let scene = Scene::new().await;
    let mut raw = rpc(&scene).await;
    for body in [&[][..], &[5], &[5, 0, 0], &[5, 0, 0, 3, b'n'], &[0, 0xff]] {
        let call = tokio::spawn(scene.node.call(addr(PEER), ECHO, text("hi")).detached());
        let request = soon("the request", raw.expect(kind::REQUEST)).await;
        let reply = raw.answer(kind::REPLY, request.id, body);
        raw.send(&reply).await;
        let error = soon("the error", call).await.unwrap().unwrap_err();
        assert!(
            matches!(error, seaway::CallError::MaybeDone { cause: seaway::Doubt::Reply, .. }),
            "{body:?}: {error}"
        );
    }
    assert!(soon("a pong", raw.is_live()).await);
}

#[tokio::test]
async fn p19_a_storm_of_cancels_does_no_harm() {
    let scene = Scene::new().await;
    let mut raw = rpc(&scene).await;
    let storm: Vec<u8> =
        (0..50_000).flat_map(|id| raw.frame(kind::CANCEL, id, &[]).encode()).collect();
    let request = raw.request(7, ECHO_NAME, HI).encode();
    let all = [storm, request].concat();
    tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &all).await.unwrap();
    assert_eq!(soon("the reply", raw.expect(kind::REPLY)).await.id, 7);
}

#[tokio::test]
async fn p06_a_call_id_used_twice_leaves_no_handler_behind() {
    let living = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&living);
    let scene = Scene::with(|builder| {
        let slow: seaway::Method<Text, Text> = seaway::Method::new("test.Slow/Wait");
        builder.on_call(slow, move |_, _| {
            let alive = Alive::new(&count);
            async move {
                let _alive = alive;
                std::future::pending().await
            }
        })
    });
    let scene = scene.await;
    let mut raw = rpc(&scene).await;
    let request = raw.request(9, "test.Slow/Wait", HI);
    raw.send(&request).await;
    assert!(soon("a pong", raw.is_live()).await);
    let why = closed_by(&mut raw, &request).await;
    assert!(why.contains("call id 9 is in use"), "{why}");
    until("the end of both handlers", || living.load(Ordering::Relaxed) == 0).await;
}

struct Alive(Arc<AtomicU64>);

impl Alive {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn p19_the_counts_of_a_peer_that_lies_do_no_harm() {
    let scene = Scene::new().await;
    let peer = Peer::new(PEER);
    let mut rpc = rpc(&scene).await;
    let mut liar = peer.clone();
    let mut lanes = Vec::new();
    for _ in 0..4 {
        let mut message = liar.dial(scene.at(), NODE, MESSAGE).await.unwrap();
        scene.node.send(addr(PEER), &text("hi")).await.unwrap();
        soon("the message", message.expect(kind::MESSAGE)).await;
        // In pulses, for lanes that there are and others, and in the next handshake.
        let session = message.session;
        let mut pulse = vec![2];
        for lane in [MESSAGE, 77] {
            pulse.push(lane);
            pulse.extend(session.to_be_bytes());
            pulse.extend([0xff; 16]);
        }
        let ping = message.frame(kind::PING, 0, &pulse);
        message.send(&ping).await;
        assert!(soon("a pong", message.is_live()).await);
        liar = Peer { counts: Some([session, 0, u64::MAX]), ..peer.clone() };
        lanes.push(message);
    }
    assert!(soon("a pong", rpc.is_live()).await);
    drop(rpc);
    let (mut rpc, _message) = peer.dial_both(scene.at(), NODE).await;
    assert!(soon("a pong", rpc.is_live()).await);
}
