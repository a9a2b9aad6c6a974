//! What a harbor keeps for others, and what becomes of the rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use seaway::discovery::Member;

use crate::groups::config;
use crate::raw::{Frame, Peer, RPC, Raw, bits, kind, reason};
use crate::support::{Cluster, ECHO, addr, soon};
use crate::world::TO;

/// The harbor under test, and others by hand.
const HARBOR: &str = "2.255.1";
const FAR: &str = "1.255.9";
const OTHER: &str = "1.255.8";

/// Nobody listens there: they dial.
fn announce(cluster: &Cluster, peers: &[&str]) {
    for peer in peers {
        cluster.discovery.put(Member::new(addr(peer), "127.0.0.1:1")).unwrap();
    }
}

async fn dial(at: SocketAddr, peer: &str) -> Raw {
    soon("the handshake", Peer::new(peer).dial(at, HARBOR, RPC)).await.unwrap()
}

/// The nth source of group 1.
fn source(n: u32) -> u32 {
    bits("1.1.1") + n
}

fn request(raw: &Raw, from: u32, id: u64) -> Frame {
    let frame = raw.request(id, "test.Echo/Echo", b"\x0a\x02hi");
    Frame { from, to: bits(TO), time_left: 60_000, ..frame }
}

#[tokio::test]
async fn p08_no_harbor_takes_more_than_half_of_the_pairs_that_another_one_keeps() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR, OTHER]);
    let few = config(|config| config.pairs_max = 64);
    let near = cluster.builder(HARBOR).config(few).start().await.unwrap();
    let _target = cluster.echo(TO).await;
    let mut greedy = dial(near.local_addr(), FAR).await;
    for n in 0..100 {
        let frame = request(&greedy, source(n), 7);
        greedy.send(&frame).await;
    }
    let mut came = BTreeMap::new();
    for _ in 0..100 {
        let frame = soon("an answer", greedy.next()).await.unwrap();
        let is_busy = frame.kind == kind::BOUNCE && frame.body[0] == reason::BUSY;
        assert!(is_busy || frame.kind == kind::REPLY, "{frame:?}");
        *came.entry(frame.kind).or_insert(0) += 1;
    }
    assert_eq!(came, BTreeMap::from([(kind::REPLY, 32), (kind::BOUNCE, 68)]));
    // Pairs that it has still go on, and so do those of others.
    let frame = request(&greedy, source(0), 8);
    greedy.send(&frame).await;
    soon("the reply", greedy.expect(kind::REPLY)).await;
    let mut modest = dial(near.local_addr(), OTHER).await;
    for n in 100..132 {
        let frame = request(&modest, source(n), 7);
        modest.send(&frame).await;
        soon("the reply", modest.expect(kind::REPLY)).await;
    }
}

#[tokio::test]
async fn p15_a_node_that_knows_as_many_sources_as_it_may_hears_their_later_runs() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(HARBOR).await;
    let one = config(|config| config.pairs_max = 1);
    let target = cluster.builder(TO).config(one);
    let _target =
        target.on_call(ECHO, |_, request| async move { Ok(request) }).start().await.unwrap();
    let mut harbor = dial(near.local_addr(), FAR).await;
    for run in 0..2 {
        let frame = request(&harbor, source(0), 7);
        let frame = Frame { incarnation: frame.incarnation + run, ..frame };
        harbor.send(&frame).await;
        soon("the reply", harbor.expect(kind::REPLY)).await;
    }
    // Nothing of its is at work: another one takes its place.
    let frame = request(&harbor, source(1), 7);
    harbor.send(&frame).await;
    soon("the reply", harbor.expect(kind::REPLY)).await;
}
