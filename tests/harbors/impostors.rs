//! Streams opened in the name of others, or where they have no business.

use std::net::SocketAddr;

use seaway::discovery::Member;
use seaway::{Builder, Node, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::raw::pipes::Pipes;
use crate::raw::{Frame, Peer, RPC, STREAM, bits, reason};
use crate::streams::echo;
use crate::support::{Cluster, addr, soon};
use crate::world::TO;

const OWN: &str = "1.255.1";
const NEAR: &str = "2.255.1";
/// By hand.
const FAR: &str = "1.255.9";
const MEMBER: &str = "1.1.9";
/// Keeps to the rules.
const FRIEND: &str = "1.1.1";

/// Two real harbors, a node behind one and a friend behind the other that has a stream to it.
struct Scene {
    own: Node,
    near: Node,
    target: Node,
    _friend: Node,
    held: Stream,
}

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::empty();
        for hostile in [FAR, MEMBER, "2.255.9"] {
            // Nobody listens there: they dial. And the friend must take harbors that are real.
            let member = Member::new(addr(hostile), "127.0.0.1:1").available(false);
            cluster.discovery.put(member).unwrap();
        }
        let builders = [OWN, NEAR, FRIEND].map(|it| cluster.builder(it));
        let target = echo(cluster.builder(TO)).start().await.unwrap();
        let [own, near, friend] = builders.map(Builder::start);
        let (own, near, friend) = (own.await.unwrap(), near.await.unwrap(), friend.await.unwrap());
        let held = soon("a stream", friend.open_stream(addr(TO), "echo")).await.unwrap();
        Self { own, near, target, _friend: friend, held }
    }

    /// The friend's stream goes on, and those that were accepted are these.
    async fn is_undisturbed(&mut self, accepted: u64) {
        self.held.write_all(b"still?").await.unwrap();
        let mut back = [0; 6];
        soon("the echo", self.held.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"still?");
        // One is the friend's.
        assert_eq!(self.target.stats().streams_accepted, 1 + accepted);
    }

    /// One that keeps to the rules is accepted all the same.
    async fn takes(&mut self, pipes: &mut Pipes, good: &Frame) {
        pipes.open(101, good).await;
        soon("a yes", pipes.accepted(101)).await.unwrap();
        self.is_undisturbed(1).await;
    }
}

/// Both lanes of a peer by hand, with a control stream.
async fn enter(at: SocketAddr, peer: &str, node: &str) -> (Pipes, JoinHandle<()>) {
    let peer = Peer { heartbeat_ms: 1_000, ..Peer::new(peer) };
    let mut pulse = soon("the handshake", peer.dial(at, node, RPC)).await.unwrap();
    let mut pipes = Pipes::new(soon("the other", peer.dial(at, node, STREAM)).await.unwrap());
    pipes.begin().await;
    (pipes, tokio::spawn(async move { pulse.closed().await }))
}

/// Opens streams in turn: each is refused for its reason.
async fn refuses(pipes: &mut Pipes, at: &Node, cases: Vec<(&str, Frame, u8)>) {
    let (before, count) = (at.stats().streams_refused, cases.len());
    for (number, (what, preamble, reason)) in (3..).step_by(2).zip(cases) {
        pipes.open(number, &preamble).await;
        let end = soon(what, pipes.accepted(number)).await.unwrap_err();
        assert_eq!((end.stream, end.refusal()), (number, reason), "{what}: {end:?}");
        assert_eq!(end.hop, bits(&at.address().to_string()), "{what}");
    }
    assert_eq!(at.stats().streams_refused - before, count as u64);
}

fn between(pipes: &Pipes, from: &str, to: &str) -> Frame {
    Frame { from: bits(from), to: bits(to), time_left: 5_000, ..pipes.preamble("echo") }
}

#[tokio::test]
async fn p15_p20_a_member_opens_streams_through_a_harbor_only_as_its_own_run() {
    let mut scene = Scene::new().await;
    let (mut pipes, _pulse) = enter(scene.own.local_addr(), MEMBER, OWN).await;
    let from = |from| between(&pipes, from, TO);
    let mut cases: Vec<_> = [FRIEND, OWN, FAR, NEAR, TO, "3.1.1"]
        .map(|name| (name, from(name), reason::REFUSED))
        .into();
    let good = from(MEMBER);
    for incarnation in [0, good.incarnation - 1, good.incarnation + 1] {
        let frame = Frame { incarnation, ..good.clone() };
        cases.push(("another run", frame, reason::INCARNATION));
    }
    refuses(&mut pipes, &scene.own, cases).await;
    scene.is_undisturbed(0).await;
    scene.takes(&mut pipes, &good).await;
}

#[tokio::test]
async fn p20_a_harbor_opens_streams_for_the_members_of_its_own_group_alone() {
    let mut scene = Scene::new().await;
    let (mut pipes, _pulse) = enter(scene.near.local_addr(), FAR, NEAR).await;
    let cases = ["3.1.1", "2.1.7", TO, NEAR, OWN, "3.255.1"]
        .map(|name| (name, between(&pipes, name, TO), reason::REFUSED));
    refuses(&mut pipes, &scene.near, cases.into()).await;
    scene.is_undisturbed(0).await;
    let good = between(&pipes, MEMBER, TO);
    scene.takes(&mut pipes, &good).await;
}

#[tokio::test]
async fn p20_towards_members_a_harbor_opens_streams_for_other_groups_alone() {
    let mut scene = Scene::new().await;
    let (mut pipes, _pulse) = enter(scene.target.local_addr(), "2.255.9", TO).await;
    let cases = ["2.1.7", TO, NEAR].map(|name| (name, between(&pipes, name, TO), reason::REFUSED));
    refuses(&mut pipes, &scene.target, cases.into()).await;
    scene.is_undisturbed(0).await;
    let good = between(&pipes, MEMBER, TO);
    scene.takes(&mut pipes, &good).await;
}

#[tokio::test]
async fn a_stream_that_circles_is_refused_wherever_it_comes() {
    let mut scene = Scene::new().await;
    let (mut pipes, _member) = enter(scene.own.local_addr(), MEMBER, OWN).await;
    let good = between(&pipes, MEMBER, TO);
    let after = |hops| Frame { hops, ..good.clone() };
    let to = |to| between(&pipes, MEMBER, to);
    let cases = vec![
        ("too many relays", after(4), reason::HOPS),
        ("far too many relays", after(u8::MAX), reason::HOPS),
        ("back to itself", to(MEMBER), reason::NO_ROUTE),
        ("to a neighbour", to(FRIEND), reason::NO_ROUTE),
        ("to nobody's group", to("3.1.1"), reason::NO_ROUTE),
    ];
    refuses(&mut pipes, &scene.own, cases).await;
    let (mut pipes, _harbor) = enter(scene.near.local_addr(), FAR, NEAR).await;
    let to = |to| between(&pipes, MEMBER, to);
    let cases = vec![
        ("too many relays", Frame { hops: 4, ..to(TO) }, reason::HOPS),
        ("back over the harbor", to(FRIEND), reason::NO_ROUTE),
        ("on to a third group", to("3.1.1"), reason::NO_ROUTE),
        ("to nobody", to("2.1.77"), reason::NOT_A_MEMBER),
    ];
    refuses(&mut pipes, &scene.near, cases).await;
    scene.is_undisturbed(0).await;
    // As many as there may be.
    let last = Frame { hops: 3, ..between(&pipes, MEMBER, TO) };
    pipes.open(101, &last).await;
    soon("a yes", pipes.accepted(101)).await.unwrap();
    scene.is_undisturbed(1).await;
}
