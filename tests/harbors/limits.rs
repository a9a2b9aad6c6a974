//! What a harbor keeps for others, and what becomes of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use seaway::Undeliverable;
use seaway::discovery::Member;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::groups::config;
use crate::raw::{Frame, Peer, RPC, Raw, bits, kind, reason};
use crate::support::messages::{losses, notice, number, settled};
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, addr, soon, text};
use crate::world::TO;

/// The harbor under test, and others by hand.
const HARBOR: &str = "2.255.1";
const FAR: &str = "1.255.9";
const OTHER: &str = "1.255.8";

const KIB: usize = 1 << 10;

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

/// A member that takes connections and says nothing, so that all that is for it waits.
async fn announce_silent(cluster: &Cluster, address: &str) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = listener.local_addr().unwrap().to_string();
    cluster.discovery.put(Member::new(addr(address), network)).unwrap();
    listener
}

#[tokio::test]
async fn p08_what_answers_counts_among_what_a_harbor_keeps_and_has_room_of_its_own() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let _silent = announce_silent(&cluster, TO).await;
    let max = 64 * KIB;
    let small = config(|config| {
        config.frame_bytes_max = max;
        config.relay_bytes_max = max;
    });
    let near = cluster.builder(HARBOR).config(small).start().await.unwrap();
    let mut harbor = dial(near.local_addr(), FAR).await;
    // Each of them takes 1 KiB there.
    let body = vec![0; KIB - 44];
    let (mut relayed, mut dropped) = (Vec::new(), Vec::new());
    for kind in [kind::REQUEST, kind::CANCEL] {
        for n in 0..100 {
            let frame = Frame { kind, body: body.clone(), ..request(&harbor, source(n), 7) };
            harbor.send(&frame).await;
        }
        assert!(soon("the harbor", harbor.is_live()).await);
        let stats = near.stats();
        relayed.push(stats.relayed);
        dropped.push((stats.relayed_bounced, stats.relayed_dropped));
    }
    // Requests leave an eighth of the room to what answers and takes back, and half of the rest to
    // others; all that is over comes back, or is counted.
    assert_eq!(relayed, [28, 64]);
    assert_eq!(dropped, [(72, 0), (72, 64)]);
}

#[tokio::test]
async fn p13_all_sources_hear_of_a_lost_link_however_many_there_are() {
    const SOURCES: u32 = 6_000;
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR, TO]);
    let small = config(|config| {
        config.frame_bytes_max = 64 * KIB;
        config.outbox_bytes_max = 64 * KIB;
        // Who is told much has no reason to say anything.
        config.heartbeat = Duration::from_secs(60);
    });
    let near = cluster.builder(HARBOR).config(small).start().await.unwrap();
    let mut target = dial(near.local_addr(), TO).await;
    let mut harbor = dial(near.local_addr(), FAR).await;
    for n in 0..SOURCES {
        let frame = request(&harbor, source(n), 7);
        harbor.send(&frame).await;
        let request = soon("the request", target.expect(kind::REQUEST)).await;
        assert_eq!(request.from, source(n));
    }
    drop(target);
    let mut told = BTreeSet::new();
    for _ in 0..SOURCES {
        let down = soon("a down", harbor.expect(kind::DOWN)).await;
        assert_eq!(
            (down.from, down.body[..4].to_vec()),
            (bits(TO), bits(TO).to_be_bytes().to_vec())
        );
        // With calls, so that they end.
        assert_eq!(down.flags, 0);
        told.insert(down.to);
    }
    assert_eq!(told, (0..SOURCES).map(source).collect());
    assert_eq!(near.stats().relayed_dropped, 0);
}

#[tokio::test]
async fn p13_what_another_harbor_tells_of_lost_links_waits_for_room() {
    const DESTINATIONS: u32 = 6_000;
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR, TO]);
    let tiny = config(|config| {
        config.frame_bytes_max = 8 * KIB;
        config.outbox_bytes_max = 8 * KIB;
        config.calls_max = 1;
        config.outbox_reserve_bytes = 8 * KIB;
        // Who is told much has no reason to say anything.
        config.heartbeat = Duration::from_secs(60);
    });
    let near = cluster.builder(HARBOR).config(tiny).start().await.unwrap();
    let mut member = dial(near.local_addr(), TO).await;
    let mut harbor = dial(near.local_addr(), FAR).await;
    let all: Vec<_> = (0..DESTINATIONS).map(source).collect();
    let mut bytes = Vec::new();
    for from in &all {
        let body = [&from.to_be_bytes()[..], &[0; 8], &bits(FAR).to_be_bytes(), &[RPC]].concat();
        let down = harbor.frame(kind::DOWN, 0, &body);
        bytes.extend(Frame { from: *from, to: bits(TO), incarnation: 7, ..down }.encode());
    }
    harbor.stream.write_all(&bytes).await.unwrap();
    let mut told = BTreeSet::new();
    for _ in 0..DESTINATIONS {
        let down = soon("a down", member.expect(kind::DOWN)).await;
        assert_eq!((&down.body[..4], down.body[16]), (&down.from.to_be_bytes()[..], RPC));
        assert_eq!((down.to, down.incarnation, down.flags), (bits(TO), 7, 0));
        told.insert(down.from);
    }
    assert_eq!(told, all.into_iter().collect());
    assert_eq!(near.stats().relayed_dropped, 0);
}

#[tokio::test]
async fn p03_where_not_even_a_bounce_has_room_the_account_is_settled_all_the_same() {
    let cluster = Cluster::empty();
    announce(&cluster, &[FAR]);
    let _silent = announce_silent(&cluster, TO).await;
    let small = config(|config| {
        config.frame_bytes_max = 64 * KIB;
        config.relay_bytes_max = 64 * KIB;
    });
    let near = cluster.builder(HARBOR).config(small).start().await.unwrap();
    let _own = cluster.node("1.255.1").await;
    let (_receiver, inbox) = cluster.inbox("2.1.2").await;
    let notices = Recorder::new();
    let short = config(|config| config.message_timeout = Duration::from_millis(500));
    let sender = notice(cluster.builder("1.1.1").config(short), &notices).start().await.unwrap();
    let send = |numbers: Range<u64>| {
        for n in numbers {
            sender.try_send(addr("2.1.2"), &number(n)).unwrap();
        }
    };
    send(0..10);
    inbox.until_len(10).await;
    // Comes behind the first receipt.
    soon("the refusal", sender.call(addr("2.1.2"), ECHO, text(""))).await.unwrap_err();
    // Room for nothing more, until they have expired.
    let mut harbor = dial(near.local_addr(), FAR).await;
    let cancel = harbor.frame(kind::CANCEL, 7, &vec![0; KIB - 44]);
    let cancel = Frame { from: source(7), to: bits(TO), time_left: 4_000, ..cancel };
    for _ in 0..64 {
        harbor.send(&cancel).await;
    }
    assert!(soon("the harbor", harbor.is_live()).await);
    send(10..30);
    // Nobody says anything: they are missed, and asked for until there is room for the answer.
    let is_told = |notices: &[Undeliverable]| losses(notices).iter().any(|loss| loss.1 == Some(20));
    notices.until("the exact loss", is_told).await;
    assert!(near.stats().relayed_dropped > 20, "{:?}", near.stats());
    let stats = settled(&sender, &inbox).await;
    assert_eq!((stats.accepted, stats.lost, inbox.len()), (30, 20, 10));
    // And the way is as before.
    send(30..40);
    assert_eq!(inbox.until_len(20).await, (0..10).chain(30..40).collect::<Vec<_>>());
}
