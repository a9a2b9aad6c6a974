//! What a process has too little of, seen from outside: the node runs in a child.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::child::{Node, Role};
use crate::raw::{MESSAGE, Peer, RPC, Raw, kind};
use crate::support::soon;
use crate::{HI, NODE, PEER, Scene, config};

const FRAME_BYTES_MAX: u32 = 64 << 20;

/// What a child is as [`Role::Large`].
pub(crate) async fn large_node() -> seaway::Node {
    let large = config(|config| {
        config.frame_bytes_max = FRAME_BYTES_MAX as usize;
        config.outbox_bytes_max = FRAME_BYTES_MAX as usize;
        config.request_bytes_max = FRAME_BYTES_MAX as usize;
        config.pair_bytes_max = FRAME_BYTES_MAX as usize;
    });
    Scene::with(|builder| builder.config(large)).await.node
}

pub(crate) async fn is_served(raw: &mut Raw) -> bool {
    let request = raw.request(7, "test.Echo/Echo", HI);
    raw.send(&request).await;
    let reply = raw.next().await;
    reply.is_some_and(|reply| reply.kind == kind::REPLY && reply.body[0] == 0)
}

#[tokio::test]
async fn p19_a_node_without_file_descriptors_keeps_its_links_and_recovers() {
    const FILES: usize = 64;
    let node = Node::start(Role::Large, u32::try_from(FILES).unwrap());
    let mut raw = Peer::new(PEER).dial(node.at, NODE, RPC).await.unwrap();
    // Those that the kernel has no place for wait, too, so each has a task.
    let mut strangers = JoinSet::new();
    for _ in 0..200 {
        let at = node.at;
        strangers.spawn(async move {
            let _stream = TcpStream::connect(at).await;
            std::future::pending::<()>().await;
        });
    }
    soon("the last descriptor", async {
        while node.open_files() < FILES {
            assert!(is_served(&mut raw).await);
        }
    })
    .await;

    // While there are none, the link works and the processor rests.
    let (began, cpu) = (Instant::now(), node.cpu());
    let mut calls = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while began.elapsed() < Duration::from_secs(2) {
        pace.tick().await;
        assert!(soon("a reply", is_served(&mut raw)).await, "the link was lost");
        calls += 1;
    }
    let used = node.cpu() - cpu;
    assert!(used < began.elapsed() / 10, "{used:?} of processor time for {calls} calls");

    strangers.shutdown().await;
    let peer = Peer::new(PEER);
    let connect = peer.dial(node.at, NODE, MESSAGE);
    let mut message = soon("a new connection", connect).await.unwrap();
    assert!(soon("a pong", message.is_live()).await);
    assert!(soon("a reply", is_served(&mut raw)).await);
}

#[tokio::test]
async fn p19_nothing_is_allocated_on_the_word_of_a_length_field() {
    let node = Node::start(Role::Large, 1024);
    let before = node.memory_peak();
    let peer = Peer { frame_limit: FRAME_BYTES_MAX, ..Peer::new(PEER) };
    // Both lanes announce a frame as long as the limit allows, and send no more than its header.
    let mut lanes = Vec::from(<[Raw; 2]>::from(peer.dial_both(node.at, NODE).await));
    for raw in &mut lanes {
        let mut header = raw.frame(kind::MESSAGE, 1, &[]).encode();
        header[..4].copy_from_slice(&(40 + FRAME_BYTES_MAX).to_be_bytes());
        raw.stream.write_all(&header).await.unwrap();
    }
    // Strangers announce messages as long as the limit allows.
    let mut strangers = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(node.at).await.unwrap();
        let hello = peer.hello(NODE, RPC);
        stream.write_all(&[&hello[..8], &[0x0f, 0xfe]].concat()).await.unwrap();
        strangers.push(stream);
    }
    // Who comes now is served: what was sent before was read.
    let refused = Peer { deployment: "another", ..peer }.dial(node.at, NODE, RPC).await;
    assert!(refused.is_err());
    let grown = node.memory_peak() - before;
    assert!(grown < u64::from(FRAME_BYTES_MAX) / 4, "the process grew by {grown} bytes");
}
