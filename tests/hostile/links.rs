//! Peers that shake hands as they should and then take, or give, nothing.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use seaway::{CallError, Doubt};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::raw::{MESSAGE, Peer, RPC, kind, reason};
use crate::support::{ECHO, PATIENCE, Text, addr, soon, text, timed};
use crate::{FRIEND, NODE, PEER, Scene, config};

const HEARTBEAT: Duration = Duration::from_millis(200);
/// Three heartbeats, three times.
const DEAD: Duration = Duration::from_millis(3 * 3 * 200);

async fn quick() -> Scene {
    let quick = config(|config| config.heartbeat = HEARTBEAT);
    Scene::with(|builder| builder.config(quick)).await
}

#[tokio::test]
async fn p13_a_peer_that_answers_no_ping_is_dead_and_its_calls_fail() {
    let scene = quick().await;
    for lanes in [1, 2] {
        let mut raw = Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap();
        let _message = match lanes {
            2 => Some(Peer::new(PEER).dial(scene.at(), NODE, MESSAGE).await.unwrap()),
            _ => None,
        };
        let began = Instant::now();
        let error =
            soon("the failure", scene.node.call(addr(PEER), ECHO, text("hi")).into_future())
                .await
                .unwrap_err();
        let took = began.elapsed();
        assert!(matches!(error, CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }));
        assert!(took < DEAD, "dead after {took:?} only");
        // It was asked whether it lives.
        let mut kinds = Vec::new();
        while let Some(frame) = soon("the end", raw.read()).await {
            kinds.push(frame.kind);
        }
        assert!(kinds.contains(&kind::REQUEST) && kinds.contains(&kind::PING), "{kinds:?}");
    }
}

#[tokio::test]
async fn p13_a_peer_that_answers_is_not_dead_however_long_it_says_nothing_else() {
    let scene = quick().await;
    let mut raw = Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap();
    let until = Instant::now() + DEAD;
    let mut pings = 0;
    while Instant::now() < until {
        let frame = soon("a ping", raw.read()).await.expect("the lane was closed");
        assert_eq!(frame.kind, kind::PING);
        let pong = raw.frame(kind::PONG, 0, &[0]);
        raw.send(&pong).await;
        pings += 1;
    }
    assert!(pings >= 3, "{pings} pings only");
}

#[tokio::test]
async fn p11_a_peer_that_takes_no_byte_is_closed_though_it_speaks() {
    let scene = quick().await;
    let friend = scene.cluster.node(FRIEND).await;
    scene.friend_calls(&friend).await;
    let raw = Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap();
    let pong = raw.frame(kind::PONG, 0, &[0]).encode();
    let (_unread, mut writer) = raw.stream.into_split();
    // It gives signs of life all the time.
    let speaking = tokio::spawn(async move {
        let mut pace = tokio::time::interval(HEARTBEAT / 4);
        loop {
            pace.tick().await;
            if writer.write_all(&pong).await.is_err() {
                return;
            }
        }
    });
    // More than kernel and outbox take together.
    let big = Text { text: "x".repeat(1_000_000) };
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        calls.spawn(scene.node.call(addr(PEER), ECHO, big.clone()).detached().into_future());
    }
    soon("the end of the lane", speaking).await.unwrap();
    let took = began.elapsed();
    assert!(took < DEAD, "closed after {took:?} only");
    let error = soon("a failure", calls.join_next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }), "{error}");
    scene.friend_calls(&friend).await;
}

#[tokio::test]
async fn p19_a_flood_of_pings_is_answered_one_by_one() {
    let scene = Scene::new().await;
    let raw = Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap();
    let ping = raw.frame(kind::PING, 0, &[0]).encode();
    let (mut reader, mut writer) = raw.stream.into_split();
    let flood = tokio::spawn(async move {
        for _ in 0..200 {
            writer.write_all(&ping.repeat(100)).await.unwrap();
        }
        writer
    });
    // A pong has the counts of the one lane that is up.
    let mut pongs = vec![0; 20_000 * (44 + 1 + 25)];
    soon("all pongs", tokio::io::AsyncReadExt::read_exact(&mut reader, &mut pongs)).await.unwrap();
    assert!(pongs.chunks(70).all(|pong| pong[4] == kind::PONG));
    drop(flood.await.unwrap());
}

#[tokio::test]
async fn p08_a_flood_of_pings_from_a_peer_that_reads_nothing_ends_its_link_and_no_other() {
    let scene = Scene::new().await;
    let friend = scene.cluster.node(FRIEND).await;
    scene.friend_calls(&friend).await;
    let raw = Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap();
    let ping = raw.frame(kind::PING, 0, &[0]).encode();
    let (_unread, mut writer) = raw.stream.into_split();
    let flood = async {
        let pings = ping.repeat(1000);
        while writer.write_all(&pings).await.is_ok() {}
    };
    soon("the end of the lane", flood).await;
    let dialed = friend.stats().dialed;
    scene.friend_calls(&friend).await;
    assert_eq!(friend.stats().dialed, dialed, "the friend's link was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_finished_reply_that_finds_no_room_waits_and_holds_its_permit() {
    const REQUESTS: u64 = 400;
    const PLACES: usize = 60;
    let narrow = config(|config| {
        config.outbox_bytes_max = 1 << 20;
        config.requests_max = PLACES;
    });
    let scene = Scene::with(|builder| builder.config(narrow)).await;
    let mut raw = Peer::new(PEER).dial(scene.at(), NODE, RPC).await.unwrap();
    // A text of 64 KiB: tag, length 65,536, bytes. All replies are far more than the outbox and the
    // system's buffers take.
    let message = [&[0x0a, 0x80, 0x80, 0x04][..], &vec![b'x'; 65_536]].concat();
    for id in 1..=REQUESTS {
        let request = raw.request(id, ECHO.name(), &message);
        raw.send(&request).await;
    }
    // It has taken nothing so far; now it takes all.
    let (mut echoed, mut refused) = (0, 0);
    for _ in 0..REQUESTS {
        let reply = soon("a reply", raw.expect(kind::REPLY)).await;
        match reply.body[0] {
            0 => {
                assert_eq!(reply.body[1..], message[..]);
                echoed += 1;
            }
            status => {
                assert_eq!((status, reply.failure().1), (reason::BUSY, 1));
                refused += 1;
            }
        }
    }
    assert!(echoed > PLACES && refused > 0, "{echoed} echoed, {refused} refused");
}

#[tokio::test]
async fn p03_bounces_that_nobody_is_left_to_take_are_told_as_lost_and_hold_nothing_up() {
    let scene = Scene::new().await;
    let mut peer = Peer::new(PEER);
    // It lets nobody in, so that there is no rpc lane for the bounce.
    let mut first = peer.dial(scene.at(), NODE, MESSAGE).await.unwrap();
    let unknown = first.frame(kind::MESSAGE, 77, b"");
    first.send(&unknown).await;
    assert!(first.is_live().await);
    peer.counts = Some([first.session, 0, 0]);
    let second = soon("a new session", peer.dial(scene.at(), NODE, MESSAGE)).await.unwrap();
    assert_eq!(second.counts, Some([first.session, 0, 0]), "neither handled nor sent back");
    drop((first, second));
    let (report, took) = timed("the end", scene.node.shutdown(PATIENCE)).await;
    assert!(report.is_clean() && took < Duration::from_secs(5), "{report:?} after {took:?}");
}
