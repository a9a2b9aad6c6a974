//! Members and harbors made by hand, which know the wire and break its rules.

use std::net::SocketAddr;

use seaway::Node;
use seaway::discovery::Member;

use crate::raw::{Frame, MESSAGE, Peer, RPC, Raw, bits, hash, kind, reason};
use crate::support::{Cluster, ECHO, addr, soon, text, until};
use crate::world::{FROM, TO};

/// A harbor under test, a target behind it, and peers by hand around it.
struct Scene {
    cluster: Cluster,
    harbor: Node,
    target: Node,
}

/// The harbor under test, and others.
const HARBOR: &str = "2.255.1";
const FAR_HARBOR: &str = "1.255.9";
const BESIDE: &str = "2.1.9";
const NO_ROUTE: u8 = reason::NO_ROUTE;
const HOPS: u8 = 12;

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::empty();
        for peer in [FAR_HARBOR, BESIDE] {
            // Nobody listens there: they dial.
            cluster.discovery.put(Member::new(addr(peer), "127.0.0.1:1")).unwrap();
        }
        let harbor = cluster.node(HARBOR).await;
        let target = cluster.echo(TO).await;
        Self { cluster, harbor, target }
    }

    fn at(&self) -> SocketAddr {
        self.harbor.local_addr()
    }

    async fn dial(&self, peer: &str, lane: u8) -> Raw {
        soon("the handshake", Peer::new(peer).dial(self.at(), HARBOR, lane)).await.unwrap()
    }
}

/// A frame between two others.
fn between(raw: &Raw, from: &str, to: &str, frame: Frame) -> Frame {
    assert_eq!(raw.node, bits(HARBOR));
    Frame { from: bits(from), to: bits(to), time_left: 5_000, ..frame }
}

fn request(raw: &Raw, from: &str, to: &str) -> Frame {
    between(raw, from, to, raw.request(7, "test.Echo/Echo", b"\x0a\x02hi"))
}

fn message(raw: &Raw, from: &str, to: &str, seq: u32) -> Frame {
    let id = hash("test.Number");
    between(raw, from, to, Frame { seq, ..raw.frame(kind::MESSAGE, id, &[]) })
}

#[tokio::test]
async fn p20_who_speaks_for_those_it_may_not_speak_for_loses_its_lane() {
    let scene = Scene::new().await;
    let forged = [
        // A member as another one, and as a node of another group.
        (BESIDE, TO, "1.1.1"),
        (BESIDE, FROM, TO),
        // A harbor for another group than its own, this harbor's and a third.
        (FAR_HARBOR, "2.1.7", TO),
        (FAR_HARBOR, "3.1.1", TO),
    ];
    for (peer, from, to) in forged {
        for lane in [RPC, MESSAGE] {
            let (mut rpc, mut lane_of_messages) =
                soon("both", Peer::new(peer).dial_both(scene.at(), HARBOR)).await;
            let raw = if lane == RPC { &mut rpc } else { &mut lane_of_messages };
            let frame =
                if lane == RPC { request(raw, from, to) } else { message(raw, from, to, 1) };
            raw.send(&frame).await;
            let farewell = soon("the reason", raw.expect(kind::GO_AWAY)).await.farewell();
            assert!(farewell.contains(&format!("in the name of {from}")), "{farewell}");
            soon("the end", raw.closed()).await;
        }
    }
    let stats = scene.harbor.stats();
    assert_eq!((stats.relayed, scene.target.stats().requests), (0, 0));
    // It serves those who keep to the rules.
    let mut harbor = scene.dial(FAR_HARBOR, RPC).await;
    let frame = request(&harbor, FROM, TO);
    harbor.send(&frame).await;
    let reply = soon("the reply", harbor.expect(kind::REPLY)).await;
    assert_eq!((reply.from, reply.to, reply.id), (bits(TO), bits(FROM), 7));
    assert_eq!(reply.body, [&[0], &b"\x0a\x02hi"[..]].concat());
}

#[tokio::test]
async fn p18_what_goes_where_it_may_not_go_is_sent_back_and_not_handed_on() {
    let scene = Scene::new().await;
    let _elsewhere = scene.cluster.node("3.255.1").await;
    let wrong = [
        // From a member to the own group; from a harbor to other groups, also its own.
        (BESIDE, BESIDE, TO),
        (FAR_HARBOR, FROM, "3.1.1"),
        (FAR_HARBOR, FROM, "1.1.7"),
    ];
    for (peer, from, to) in wrong {
        let (mut rpc, mut messages) =
            soon("both", Peer::new(peer).dial_both(scene.at(), HARBOR)).await;
        let frame = request(&rpc, from, to);
        rpc.send(&frame).await;
        let bounce = soon("the bounce", rpc.expect(kind::BOUNCE)).await;
        assert_eq!((bounce.from, bounce.to, bounce.id), (bits(to), bits(from), 7));
        assert_eq!(bounce.body[0], NO_ROUTE, "{bounce:?}");
        let frame = message(&messages, from, to, 1);
        messages.send(&frame).await;
        let bounce = soon("the bounce", rpc.expect(kind::BOUNCE)).await;
        assert_eq!((bounce.body[0], bounce.to), (NO_ROUTE, bits(from)));
    }
    let stats = scene.harbor.stats();
    assert_eq!((stats.relayed, stats.relayed_bounced), (0, 6));
}

#[tokio::test]
async fn p18_a_frame_that_has_been_relayed_four_times_goes_no_further() {
    let scene = Scene::new().await;
    let mut harbor = scene.dial(FAR_HARBOR, RPC).await;
    for hops in [4, 255] {
        let frame = Frame { hops, ..request(&harbor, FROM, TO) };
        harbor.send(&frame).await;
        let bounce = soon("the bounce", harbor.expect(kind::BOUNCE)).await;
        assert_eq!((bounce.body[0], bounce.hops), (HOPS, 1), "{bounce:?}");
    }
    let frame = Frame { hops: 3, ..request(&harbor, FROM, TO) };
    harbor.send(&frame).await;
    soon("the reply", harbor.expect(kind::REPLY)).await;
    assert_eq!(scene.target.stats().requests, 1);
}

#[tokio::test]
async fn p05_what_comes_to_a_harbor_without_time_is_sent_back() {
    let scene = Scene::new().await;
    let mut harbor = scene.dial(FAR_HARBOR, RPC).await;
    let frame = Frame { time_left: 0, ..request(&harbor, FROM, TO) };
    harbor.send(&frame).await;
    let bounce = soon("the bounce", harbor.expect(kind::BOUNCE)).await;
    assert_eq!(bounce.body[0], reason::EXPIRED);
    assert_eq!((scene.harbor.stats().relayed, scene.target.stats().requests), (0, 0));
}

#[tokio::test]
async fn no_bounce_is_made_of_what_answers() {
    let scene = Scene::new().await;
    let mut harbor = scene.dial(FAR_HARBOR, RPC).await;
    for kind in [kind::REPLY, kind::CANCEL, kind::BOUNCE, kind::RECEIPT, kind::DOWN] {
        // To somebody who does not exist.
        let frame = between(&harbor, FROM, "2.1.7", harbor.frame(kind, 7, &[0; 32]));
        harbor.send(&frame).await;
    }
    let frame = request(&harbor, FROM, TO);
    harbor.send(&frame).await;
    soon("nothing before the reply", harbor.expect(kind::REPLY)).await;
    assert_eq!(scene.harbor.stats().relayed_dropped, 5);
}

#[tokio::test]
async fn p07_p15_a_node_beyond_takes_no_frame_of_an_earlier_run_and_no_reply_to_one() {
    let scene = Scene::new().await;
    let mut harbor = scene.dial(FAR_HARBOR, RPC).await;
    let (old, new) = (1 << 40, 1 << 41);
    for (incarnation, id) in [(old, 1), (new, 2), (old, 3), (new, 4)] {
        let frame = Frame { incarnation, id, ..request(&harbor, FROM, TO) };
        harbor.send(&frame).await;
        if id != 3 {
            let reply = soon("the reply", harbor.expect(kind::REPLY)).await;
            assert_eq!((reply.id, reply.incarnation), (id, incarnation));
        }
    }
    assert_eq!(scene.target.stats().requests, 3);
    // The target calls; replies to another run of it, and from others, count for nothing.
    let asked = scene.target.call(addr(FROM), ECHO, text("who?"));
    let asking = tokio::spawn(asked.within(std::time::Duration::from_secs(60)).detached());
    let request = soon("the request", harbor.expect(kind::REQUEST)).await;
    let answer = |body: &[u8]| Frame {
        from: bits(FROM),
        to: bits(TO),
        incarnation: request.incarnation,
        time_left: 5_000,
        ..harbor.frame(kind::REPLY, request.id, &[&[0], body].concat())
    };
    let right = answer(b"\x0a\x05right");
    let wrong = answer(b"\x0a\x05wrong");
    let other_run = Frame { incarnation: request.incarnation - 1, ..wrong.clone() };
    let other_node = Frame { from: bits("1.1.7"), ..wrong.clone() };
    let other_call = Frame { id: request.id + (1 << 32), ..wrong };
    for frame in [other_run, other_node, other_call, right] {
        harbor.send(&frame).await;
    }
    assert_eq!(soon("the reply", asking).await.unwrap(), Ok(text("right")));
    until("the others to be counted", || scene.target.stats().replies_stray == 3).await;
}

#[tokio::test]
async fn p20_a_relayed_message_without_a_number_closes_the_lane() {
    let scene = Scene::new().await;
    let (_rpc, mut messages) =
        soon("both", Peer::new(FAR_HARBOR).dial_both(scene.at(), HARBOR)).await;
    let frame = message(&messages, FROM, TO, 0);
    messages.send(&frame).await;
    let farewell = soon("the reason", messages.expect(kind::GO_AWAY)).await.farewell();
    assert!(farewell.contains("number"), "{farewell}");
}

#[tokio::test]
async fn p20_a_refusal_without_proof_is_not_believed_between_harbors() {
    let cluster = Cluster::empty();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = listener.local_addr().unwrap().to_string();
    cluster.discovery.put(Member::new(addr(HARBOR), network)).unwrap();
    let _near = cluster.node("1.255.1").await;
    let caller = cluster.node(FROM).await;
    let calling = tokio::spawn(caller.call(addr(TO), ECHO, text("hi")).detached());
    let by_hand = Peer::new(HARBOR);
    // Somebody on the path says no, without a proof.
    let mut hearing = soon("the dial", by_hand.hear(&listener)).await;
    hearing.refuse_version(9, 9).await;
    drop(hearing);
    // It is tried again, within the call's time.
    let mut harbor = soon("another dial", by_hand.accept(&listener)).await;
    let request = soon("the request", harbor.expect(kind::REQUEST)).await;
    assert_eq!((request.from, request.to, request.hops), (bits(FROM), bits(TO), 1));
    let reply = Frame {
        from: bits(TO),
        to: bits(FROM),
        incarnation: request.incarnation,
        time_left: 5_000,
        ..harbor.frame(kind::REPLY, request.id, b"\0\x0a\x02hi")
    };
    harbor.send(&reply).await;
    assert_eq!(soon("the reply", calling).await.unwrap(), Ok(text("hi")));
}
