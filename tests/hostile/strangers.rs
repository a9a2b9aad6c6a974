//! Connections that never become anything.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::raw::{Peer, RPC};
use crate::support::soon;
use crate::{FRIEND, NODE, PEER, SECRET, Scene, config, echo};

/// How long a handshake may take, and what a busy machine may add.
const HANDSHAKE: Duration = Duration::from_secs(3);
const ALLOWANCE: Duration = Duration::from_secs(3);

/// Waits until the node has closed the connection, whatever it says before.
async fn closed(stream: &mut TcpStream) {
    let mut said = Vec::new();
    // A reset is an end too.
    stream.read_to_end(&mut said).await.ok();
}

/// Sends the bytes and waits for the node to close; says how long that took.
async fn closed_after(at: std::net::SocketAddr, bytes: Vec<u8>) -> Duration {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let began = Instant::now();
    stream.write_all(&bytes).await.ok();
    closed(&mut stream).await;
    began.elapsed()
}

#[tokio::test]
async fn p19_garbage_is_closed_at_once_and_others_are_served() {
    let scene = Scene::new().await;
    let friend = scene.cluster.node(FRIEND).await;
    let mut hello = Peer::new(PEER).hello(NODE, RPC);
    let garbage = [
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 100_000],
        [&hello[..8], &[0, 0, 1]].concat(),
        // The length of a message: over the limit, and nothing behind it.
        [&hello[..8], &[0x0f, 0xff, 1]].concat(),
        [&hello[..8], &[0xff, 0xff, 1]].concat(),
        // A type that is not due; a field that is longer than its message.
        [&hello[..8], &[0, 1, 4]].concat(),
        [&hello[..8], &[0, 4, 1, 2, 0xff, 0xff]].concat(),
        {
            hello[4..6].fill(0);
            hello
        },
    ];
    for bytes in garbage {
        let what = format!("{:02x?}", &bytes[..12.min(bytes.len())]);
        let took = soon("the end", closed_after(scene.at(), bytes)).await;
        assert!(took < HANDSHAKE, "{what} was closed after {took:?} only");
    }
    scene.friend_calls(&friend).await;
}

#[tokio::test]
async fn p19_each_prefix_of_a_handshake_ends_in_time_and_others_are_served() {
    let scene =
        Scene::with(|builder| builder.key(seaway::ClusterKey::new("2026-11", SECRET).unwrap()));
    let scene = scene.await;
    let peer = Peer::new(PEER).with_key("2026-11", SECRET);
    let hello = peer.hello(NODE, RPC);
    let mut silent = JoinSet::new();
    for len in 0..hello.len() {
        let prefix = hello[..len].to_vec();
        silent.spawn(closed_after(scene.at(), prefix.clone()));
        // And the same with an end instead of silence.
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        stream.write_all(&prefix).await.unwrap();
    }
    // All of HELLO, and prefixes of PROOF.
    for len in 0..38 {
        let mut dialing = peer.start(scene.at(), NODE, RPC).await;
        let proof = dialing.proof().await.unwrap();
        silent.spawn(async move {
            let began = Instant::now();
            dialing.stream.write_all(&proof[..len]).await.unwrap();
            closed(&mut dialing.stream).await;
            began.elapsed()
        });
    }
    let mut raw = soon("a handshake", peer.dial(scene.at(), NODE, RPC)).await.unwrap();
    assert!(soon("a pong", raw.is_live()).await);
    for took in soon("the end of all", silent.join_all()).await {
        assert!(took < HANDSHAKE + ALLOWANCE, "closed after {took:?} only");
    }
    assert_eq!(scene.node.stats().accepted_connections, 1);
}

#[tokio::test]
async fn p19_slow_strangers_neither_stay_nor_keep_others_out() {
    let scene = Scene::new().await;
    let hello = Peer::new(PEER).hello(NODE, RPC);
    let mut strangers = JoinSet::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        let hello = hello.clone();
        strangers.spawn(async move {
            let began = Instant::now();
            let mut pace = tokio::time::interval(Duration::from_millis(200));
            for byte in hello {
                pace.tick().await;
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            closed(&mut stream).await;
            began.elapsed()
        });
    }
    let friend = scene.cluster.node(FRIEND).await;
    let began = Instant::now();
    assert!(echo(&friend, NODE).await.is_ok());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "a good handshake took {took:?}, three times 1 s");
    for took in soon("the end of all", strangers.join_all()).await {
        assert!(took < HANDSHAKE + ALLOWANCE, "closed after {took:?} only");
    }
    scene.friend_calls(&friend).await;
}

#[tokio::test]
async fn p08_the_oldest_stranger_gives_way_when_there_are_too_many() {
    let long = config(|config| config.handshake_timeout = Duration::from_secs(60));
    let scene = Scene::with(|builder| builder.config(long)).await;
    let mut strangers = Vec::new();
    for _ in 0..256 {
        strangers.push(TcpStream::connect(scene.at()).await.unwrap());
    }
    // A full house, with nobody turned away.
    let mut last = Peer::new(PEER).start(scene.at(), NODE, RPC).await;
    soon("the challenge", last.proof()).await.unwrap();
    soon("the end of the oldest", closed(&mut strangers[0])).await;
    assert_eq!(scene.node.stats().refused_connections, 1);
    for stranger in &mut strangers[1..] {
        let error = stranger.try_read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "a younger one was closed");
    }
}

#[tokio::test]
async fn p08_refused_strangers_that_stay_cost_their_limit_and_no_more() {
    let few = config(|config| config.unauthenticated_max = 4);
    let scene = Scene::with(|builder| builder.config(few)).await;
    let mut strangers = Vec::new();
    for _ in 0..400 {
        strangers.push(TcpStream::connect(scene.at()).await.unwrap());
    }
    let all_refused = async {
        while scene.node.stats().refused_connections < 396 {
            tokio::task::yield_now().await;
        }
    };
    soon("the refusals", all_refused).await;
    // A connection that is closed answers a byte with a reset; one that lingers takes it.
    let mut open = 0;
    for stranger in &mut strangers {
        stranger.write_all(b"?").await.ok();
        open += u32::from(stranger.write_all(b"?").await.is_ok());
    }
    assert!(open <= 4 + 64, "{open} are open");
}
