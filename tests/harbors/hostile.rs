//! Members and harbors beyond the own group that mean harm, behind harbors that keep to the rules.

use std::net::SocketAddr;
use std::time::Duration;

use seaway::Node;
use seaway::discovery::Member;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::groups::config;
use crate::raw::{Frame, MESSAGE, Peer, RPC, Raw, bits, hash, kind, reason};
use crate::support::messages::record;
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, Number, addr, soon, text, until};
use crate::world::TO;

/// One harbor of each group: that of group 2 is by hand or real, as are the members behind it.
const NEAR: &str = "2.255.1";
const FAR: &str = "1.255.9";
const OTHER: &str = "1.255.8";
const MEMBER: &str = "1.1.1";
const RECEIPT_WANTED: u8 = 2;

async fn dial(at: SocketAddr, peer: &Peer, node: &str, lane: u8) -> Raw {
    soon("the handshake", peer.dial(at, node, lane)).await.unwrap()
}

/// Nobody listens there: they dial.
fn announce(cluster: &Cluster, peers: &[&str]) {
    for peer in peers {
        cluster.discovery.put(Member::new(addr(peer), "127.0.0.1:1")).unwrap();
    }
}

fn between(from: &str, to: &str, frame: Frame) -> Frame {
    Frame { from: bits(from), to: bits(to), time_left: 5_000, ..frame }
}

fn request(raw: &Raw, from: &str, to: &str) -> Frame {
    between(from, to, raw.request(7, "test.Echo/Echo", b"\x0a\x02hi"))
}

fn message(raw: &Raw, from: &str, to: &str, seq: u32) -> Frame {
    between(from, to, Frame { seq, ..raw.frame(kind::MESSAGE, hash("test.Number"), &[]) })
}

#[tokio::test]
async fn p19_a_question_about_a_lane_that_has_no_numbers_breaks_nothing() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let _target = cluster.echo(TO).await;
    let mut harbor = dial(near.local_addr(), &Peer::new(FAR), NEAR, RPC).await;
    for lane in [2, 3, 255] {
        let ask = harbor.frame(kind::RECEIPT, 0, &[lane]);
        let ask = between(MEMBER, TO, Frame { flags: RECEIPT_WANTED, ..ask });
        harbor.send(&ask).await;
    }
    let frame = request(&harbor, MEMBER, TO);
    harbor.send(&frame).await;
    soon("the reply", harbor.expect(kind::REPLY)).await;
}

/// A real node of group 2 behind a real harbor, and harbors by hand of group 1.
#[tokio::test]
async fn p20_a_member_beyond_harbors_cannot_say_that_another_one_is_lost() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR, MEMBER, "1.1.7"]);
    let near = cluster.node(NEAR).await;
    let caller = cluster.node(TO).await;
    let mut harbor = dial(near.local_addr(), &Peer::new(FAR), NEAR, RPC).await;
    let call = caller.call(addr(MEMBER), ECHO, text("who?"));
    let calling = tokio::spawn(call.within(Duration::from_secs(60)).detached());
    let request = soon("the request", harbor.expect(kind::REQUEST)).await;
    let body = [&bits(MEMBER).to_be_bytes()[..], &[0; 8], &bits(FAR).to_be_bytes(), &[0]].concat();
    let down = Frame {
        incarnation: request.incarnation,
        ..between("1.1.7", TO, harbor.frame(kind::DOWN, 0, &body))
    };
    harbor.send(&down).await;
    let reply = Frame {
        incarnation: request.incarnation,
        ..between(MEMBER, TO, harbor.frame(kind::REPLY, request.id, b"\0\x0a\x02hi"))
    };
    harbor.send(&reply).await;
    assert_eq!(soon("the reply", calling).await.unwrap(), Ok(text("hi")));
}

#[tokio::test]
async fn p20_a_harbor_does_not_speak_for_another_one() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR, OTHER]);
    let near = cluster.node(NEAR).await;
    let _target = cluster.echo(TO).await;
    for to in [NEAR, TO] {
        let mut harbor = dial(near.local_addr(), &Peer::new(FAR), NEAR, RPC).await;
        let frame = request(&harbor, OTHER, to);
        harbor.send(&frame).await;
        let farewell = soon("the reason", harbor.expect(kind::GO_AWAY)).await.farewell();
        assert!(farewell.contains(&format!("in the name of {OTHER}")), "{farewell}");
        soon("the end", harbor.closed()).await;
    }
}

#[tokio::test]
async fn p15_p20_a_harbor_takes_from_a_member_only_what_its_own_run_says() {
    let cluster = Cluster::empty();
    announce(&cluster, &[MEMBER]);
    let _near = cluster.node(NEAR).await;
    let own = cluster.node(FAR).await;
    let target = cluster.echo(TO).await;
    let mut member = dial(own.local_addr(), &Peer::new(MEMBER), FAR, RPC).await;
    for incarnation in [member.peer.incarnation - 1, member.peer.incarnation + 1] {
        let frame = Frame { incarnation, ..request(&member, MEMBER, TO) };
        member.send(&frame).await;
        let bounce = soon("the bounce", member.expect(kind::BOUNCE)).await;
        assert_eq!((bounce.body[0], bounce.id), (reason::INCARNATION, 7));
    }
    assert_eq!(target.stats().requests, 0);
    let frame = request(&member, MEMBER, TO);
    member.send(&frame).await;
    soon("the reply", member.expect(kind::REPLY)).await;
}

#[tokio::test]
async fn p20_a_frame_in_transit_comes_on_its_own_lane() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let target = cluster.echo(TO).await;
    for lane in [RPC, MESSAGE] {
        let peer = Peer::new(FAR);
        let (mut rpc, mut messages) = soon("both", peer.dial_both(near.local_addr(), NEAR)).await;
        let raw = if lane == RPC { &mut rpc } else { &mut messages };
        let frame =
            if lane == RPC { message(raw, MEMBER, TO, 1) } else { request(raw, MEMBER, TO) };
        raw.send(&frame).await;
        let farewell = soon("the reason", raw.expect(kind::GO_AWAY)).await.farewell();
        assert!(farewell.contains("lane"), "{farewell}");
        soon("the end", raw.closed()).await;
    }
    assert_eq!((near.stats().relayed, target.stats().requests), (0, 0));
}

/// What breaks no rule by itself, but has no meaning on that lane: whoever gets it closes the lane, and
/// that must not be one on which others speak, too.
#[tokio::test]
async fn p20_a_harbor_hands_on_only_what_its_next_neighbour_takes_on_that_lane() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let _target = cluster.echo(TO).await;
    let kinds = [(RPC, kind::OPEN), (RPC, kind::END), (MESSAGE, kind::OPEN), (MESSAGE, kind::END)];
    for (lane, kind) in kinds.into_iter().chain([(MESSAGE, kind::RECEIPT)]) {
        let peer = Peer::new(FAR);
        let (mut rpc, mut messages) = soon("both", peer.dial_both(near.local_addr(), NEAR)).await;
        let raw = if lane == RPC { &mut rpc } else { &mut messages };
        let ask = raw.frame(kind, 0, &[1]);
        let frame = between(MEMBER, TO, Frame { flags: RECEIPT_WANTED, ..ask });
        raw.send(&frame).await;
        let farewell = soon("the reason", raw.expect(kind::GO_AWAY)).await.farewell();
        assert!(farewell.contains("lane"), "{farewell}");
        soon("the end", raw.closed()).await;
    }
    assert_eq!(near.stats().relayed, 0);
}

#[tokio::test]
async fn p03_what_came_before_a_bad_frame_is_handed_on_though_both_came_at_once() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let inbox = Recorder::new();
    let target = record(cluster.builder(TO), &inbox)
        .on_call(ECHO, |_, request| async move { Ok(request) })
        .start()
        .await
        .unwrap();
    // Of a kind that must be known, and in the name of somebody else.
    let bad = [(13, MEMBER), (kind::MESSAGE, OTHER)];
    for (n, (lane, (kind, from))) in
        [(RPC, bad[0]), (RPC, bad[1]), (MESSAGE, bad[0]), (MESSAGE, bad[1])].into_iter().enumerate()
    {
        let peer = Peer::new(FAR);
        let (mut rpc, mut messages) = soon("both", peer.dial_both(near.local_addr(), NEAR)).await;
        let raw = if lane == RPC { &mut rpc } else { &mut messages };
        let source = format!("1.1.{}", n + 1);
        let mut bytes = Vec::new();
        for seq in 1..=3 {
            let frame = match lane {
                RPC => Frame { id: u64::from(seq), ..request(raw, &source, TO) },
                _ => Frame { body: vec![8, 1], ..message(raw, &source, TO, seq) },
            };
            bytes.extend(frame.encode());
        }
        bytes.extend(between(from, TO, raw.frame(kind, 1, &[])).encode());
        raw.stream.write_all(&bytes).await.unwrap();
        soon("the end", raw.closed()).await;
        let came = || usize::try_from(target.stats().requests).unwrap() + inbox.len();
        until("all before it have come", || came() == 3 * (n + 1)).await;
    }
}

#[tokio::test]
async fn p16_a_pong_comes_behind_what_became_of_all_before_its_ping() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let mut harbor = dial(near.local_addr(), &Peer::new(FAR), NEAR, RPC).await;
    let nowhere = |id| Frame { id, ..request(&harbor, MEMBER, "3.1.1") };
    let ping = harbor.frame(kind::PING, 0, &[0]);
    let frames = [nowhere(1), nowhere(2), ping, nowhere(3)];
    let bytes = frames.each_ref().map(Frame::encode).concat();
    harbor.stream.write_all(&bytes).await.unwrap();
    let mut came = Vec::new();
    while came.len() < frames.len() {
        let frame = soon("a frame", harbor.read()).await.unwrap();
        if frame.kind != kind::PING {
            came.push((frame.kind, frame.id));
        }
    }
    let bounce = |id| (kind::BOUNCE, id);
    assert_eq!(came, [bounce(1), bounce(2), (kind::PONG, 0), bounce(3)]);
}

/// A receiver of group 2 whose handler waits for permits.
async fn slow(cluster: &Cluster) -> (Node, &'static Semaphore, Recorder<u64>) {
    let gate: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let inbox = Recorder::new();
    let seen = inbox.clone();
    let target = cluster.builder(TO).on_message(move |_, number: Number| {
        let seen = seen.clone();
        async move {
            seen.add(number.number);
            gate.acquire().await.unwrap().forget();
        }
    });
    (target.start().await.unwrap(), gate, inbox)
}

#[tokio::test]
async fn p02_messages_of_two_runs_of_a_source_beyond_harbors_are_not_handled_side_by_side() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let (_target, gate, inbox) = slow(&cluster).await;
    let (mut rpc, mut messages) =
        soon("both", Peer::new(FAR).dial_both(near.local_addr(), NEAR)).await;
    let run = rpc.peer.incarnation;
    for n in 0..4_u64 {
        // Two of the first run, and two of the second.
        let (incarnation, seq) = (run + n / 2, 1 + u32::try_from(n % 2).unwrap());
        let body = [&[8], &[u8::try_from(n + 1).unwrap()][..]].concat();
        let frame = Frame { incarnation, body, ..message(&messages, MEMBER, TO, seq) };
        messages.send(&frame).await;
    }
    // The first receipt of the second run: its first message has come.
    while soon("a receipt", rpc.expect(kind::RECEIPT)).await.incarnation == run {}
    inbox.until_len(1).await;
    assert_eq!(inbox.len(), 1);
    gate.add_permits(4);
    inbox.until_len(4).await;
    assert_eq!(inbox.all(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn p08_a_source_that_names_ever_later_runs_has_no_more_than_its_limits() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let (_target, _gate, inbox) = slow(&cluster).await;
    let (mut rpc, mut messages) =
        soon("both", Peer::new(FAR).dial_both(near.local_addr(), NEAR)).await;
    let run = rpc.peer.incarnation;
    let body = [&[8, 1, 0x7a, 0x80, 0x80, 0x20][..], &vec![0; 512 << 10]].concat();
    let mut busy = Vec::new();
    for n in 0..8_u64 {
        let (body, incarnation) = (body.clone(), run + n);
        let frame = Frame { incarnation, body, ..message(&messages, MEMBER, TO, 1) };
        messages.send(&frame).await;
        // One is at work, one waits, with half of the limit each: the others come back.
        let wanted = if n < 2 { kind::RECEIPT } else { kind::BOUNCE };
        loop {
            let frame = soon("a frame", rpc.next()).await.unwrap();
            if frame.kind == kind::BOUNCE {
                busy.push((frame.body[0], frame.incarnation - run));
            }
            if frame.kind == wanted && frame.incarnation == incarnation {
                break;
            }
        }
        if n == 0 {
            inbox.until_len(1).await;
        }
    }
    let expected: Vec<_> = (2..8).map(|n| (reason::BUSY, n)).collect();
    assert_eq!((inbox.len(), busy), (1, expected));
}

#[tokio::test]
async fn p03_counts_that_begin_anew_are_told_as_those_of_another_run() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let near = cluster.node(NEAR).await;
    let inbox = Recorder::new();
    let _target = record(cluster.builder(TO), &inbox).start().await.unwrap();
    let (mut rpc, mut messages) =
        soon("both", Peer::new(FAR).dial_both(near.local_addr(), NEAR)).await;
    let mut runs = Vec::new();
    // A source that goes on as a later incarnation goes on with its numbers, too.
    for n in 0..2_u64 {
        let incarnation = rpc.peer.incarnation + n;
        let seq = 1 + u32::try_from(n).unwrap();
        let frame = Frame { incarnation, ..message(&messages, MEMBER, TO, seq) };
        messages.send(&frame).await;
        let receipt = soon("the receipt", rpc.expect(kind::RECEIPT)).await;
        runs.push(receipt.body[..8].to_vec());
        if n == 0 {
            soon("the handled", rpc.expect(kind::RECEIPT)).await;
        }
    }
    assert!(runs[0] < runs[1], "{runs:?}");
}

#[tokio::test]
async fn p10_what_is_relayed_leaves_room_for_a_links_own_signs_of_life() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR, TO]);
    let near = cluster.node(NEAR).await;
    let mut slow = dial(near.local_addr(), &Peer::new(TO), NEAR, RPC).await;
    let mut harbor = dial(near.local_addr(), &Peer::new(FAR), NEAR, RPC).await;
    // More than all buffers on the way take, while the target reads nothing.
    let (sizes, count) = (64 << 10, 512);
    for _ in 0..count {
        let cancel = between(MEMBER, TO, harbor.frame(kind::CANCEL, 7, &vec![0; sizes]));
        harbor.send(&cancel).await;
    }
    // The small ones fill what is left to the last byte.
    for _ in 0..4_096 {
        let cancel = between(MEMBER, TO, harbor.frame(kind::CANCEL, 7, &[]));
        harbor.send(&cancel).await;
    }
    assert!(soon("the harbor", harbor.is_live()).await);
    assert!(near.stats().relayed_dropped > 0);
    assert!(soon("the pong", slow.is_live()).await);
}

/// Takes all lanes that a node dials, and reads what comes.
async fn read_all(listener: TcpListener) {
    let peer = Peer { frame_limit: 64 << 10, ..Peer::new("1.255.2") };
    loop {
        let mut raw = peer.accept(&listener).await;
        tokio::spawn(async move { raw.closed().await });
    }
}

#[tokio::test]
async fn p09_who_waits_for_room_at_a_harbor_that_is_lost_waits_at_the_next_one_then() {
    let cluster = Cluster::empty();
    let mut listeners = Vec::new();
    for harbor in ["1.255.1", "1.255.2"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = listener.local_addr().unwrap().to_string();
        cluster.discovery.put(Member::new(addr(harbor), network)).unwrap();
        listeners.push(listener);
    }
    announce(&cluster, &["2.255.1"]);
    let targets: Vec<_> = (1..=16).map(|n| format!("2.1.{n}")).collect();
    for target in &targets {
        announce(&cluster, &[target]);
    }
    let small = config(|config| {
        config.frame_bytes_max = 64 << 10;
        config.outbox_bytes_max = 64 << 10;
        config.message_timeout = Duration::from_secs(60);
    });
    let sender = cluster.builder(MEMBER).config(small).start().await.unwrap();
    // Both harbors have heard the dials and say nothing; then both outboxes are full.
    let large = text(&"x".repeat(24 << 10));
    for _ in 0..4 {
        for target in &targets {
            sender.try_send(addr(target), &large).ok();
        }
    }
    let mut waiting = JoinSet::new();
    for target in &targets {
        let (sender, target, large) = (sender.clone(), addr(target), large.clone());
        waiting.spawn(async move { sender.send(target, &large).await });
    }
    let second = listeners.pop().unwrap();
    let first = listeners.pop().unwrap();
    // All wait, and one harbor is lost.
    let (lost, _) = soon("a dial", first.accept()).await.unwrap();
    assert!(waiting.try_join_next().is_none());
    drop((lost, first));
    let failed = || sender.stats().bounced > 0;
    until("what finds no room at the other", failed).await;
    let reading = tokio::spawn(read_all(second));
    let sent = soon("room for all", waiting.join_all()).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    reading.abort();
}
