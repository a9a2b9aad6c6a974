//! Floods on the stream lane, and what they cost: the node runs in a child.

use std::net::SocketAddr;

use seaway::discovery::Member;
use tokio::task::JoinHandle;

use crate::child::{Node, Role};
use crate::raw::pipes::yamux::{self, data, header};
use crate::raw::pipes::{CONTROL, Pipes};
use crate::raw::{Peer, RPC, STREAM, kind};
use crate::streams::{Witness, enter, keep, serve};
use crate::support::{Cluster, addr, soon};
use crate::{FRIEND, NODE, PEER, Scene};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What a child is as [`Role::Streams`].
pub(crate) async fn streaming_node() -> seaway::Node {
    Scene::with(serve).await.node
}

/// The child, somebody who keeps to the rules, and the pulse of the hostile peer.
struct Stage {
    node: Node,
    witness: Witness,
    pulse: JoinHandle<()>,
}

impl Stage {
    async fn new() -> Self {
        let node = Node::start(Role::Streams, 1024);
        let cluster = Cluster::empty();
        cluster.discovery.put(Member::new(addr(NODE), node.at.to_string())).unwrap();
        let witness = Witness::new(cluster.node(FRIEND).await).await;
        let pulse = keep(enter(node.at, &hostile(), RPC).await);
        Self { node, witness, pulse }
    }

    fn at(&self) -> SocketAddr {
        self.node.at
    }

    async fn pipes(&self) -> Pipes {
        let mut pipes = Pipes::new(enter(self.at(), &hostile(), STREAM).await);
        pipes.begin().await;
        pipes
    }

    /// What the flood may cost, beside what the node needs without it.
    async fn finish(mut self, before: u64, bytes_max: u64) {
        self.witness.is_undisturbed().await;
        assert!(!self.pulse.is_finished(), "the link was lost");
        let grown = self.node.memory_peak() - before;
        assert!(grown < bytes_max, "the process grew by {} KiB", grown / KIB);
    }
}

fn hostile() -> Peer {
    Peer { heartbeat_ms: 60_000, ..Peer::new(PEER) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_streams_that_are_opened_and_reset_at_once_cost_a_node_little() {
    /// All at once, and then again.
    const STREAMS: u32 = 1_000;
    let mut stage = Stage::new().await;
    let (before, mut pipes) = (stage.node.memory_peak(), stage.pipes().await);
    let preamble = pipes.preamble("echo").encode();
    let mut ended = 0;
    for round in 0..100 {
        let mut flood = Vec::new();
        for n in 0..STREAMS {
            let number = 3 + 2 * (round * STREAMS + n);
            let part = usize::try_from(n % 61).unwrap();
            flood.extend(data(yamux::SYN, number, &preamble[..part]));
            flood.extend(header(yamux::DATA, yamux::RST, number, 0));
        }
        pipes.write(&flood).await;
        ended += soon("the ends", pipes.ends()).await.expect("the lane was closed");
        if round % 20 == 0 {
            stage.witness.is_undisturbed().await;
        }
    }
    assert!(ended > 50_000, "only {ended} streams were refused or broken");
    stage.finish(before, 32 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_ends_of_streams_that_are_not_there_are_forgotten() {
    const ENDS: u64 = 1_000;
    let stage = Stage::new().await;
    let (before, mut pipes) = (stage.node.memory_peak(), stage.pipes().await);
    let mut end = pipes.end_of(0, 0, 1);
    for round in 0..1_000 {
        let mut flood = Vec::new();
        for n in 0..ENDS {
            end.id = ((round * ENDS + n) * 4_294) & u64::from(u32::MAX);
            flood.extend(end.encode());
        }
        assert!(flood.len() < 100 * 1_024, "more than the node has given room for");
        pipes.write(&data(0, CONTROL, &flood)).await;
        assert!(soon("a pong", pipes.is_live()).await, "the lane was closed");
    }
    stage.finish(before, 8 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_who_asks_without_end_and_reads_nothing_loses_its_lane() {
    let mut stage = Stage::new().await;
    let before = stage.node.memory_peak();
    for (is_yamux, has_stream) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut pipes = stage.pipes().await;
        if has_stream {
            let preamble = pipes.preamble("hold");
            pipes.open(3, &preamble).await;
        }
        let pings = if is_yamux {
            header(yamux::PING, yamux::SYN, 0, 7).repeat(1_000)
        } else {
            data(0, CONTROL, &pipes.frame(kind::PING, 7, &[0]).encode()).repeat(1_000)
        };
        let flood = async { while pipes.write(&pings).await {} };
        soon("the end of the lane", flood).await;
        stage.witness.is_undisturbed().await;
    }
    stage.finish(before, 8 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_bytes_that_come_one_by_one_and_are_not_read_cost_no_more_than_so_many_frames() {
    const BYTES: usize = 200_000;
    let stage = Stage::new().await;
    let (before, mut pipes) = (stage.node.memory_peak(), stage.pipes().await);
    let preamble = pipes.preamble("hold");
    pipes.open(3, &preamble).await;
    let bytes = data(0, 3, b"x").repeat(1_000);
    for _ in 0..BYTES / 1_000 {
        pipes.write(&bytes).await;
    }
    assert!(soon("a pong", pipes.is_live()).await);
    stage.finish(before, 32 * MIB).await;
}
