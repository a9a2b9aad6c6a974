//! What a process keeps of peers that take nothing, take little, or break every rule.

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use seaway::discovery::{InProcess, Member};
use seaway::{CallError, Config, LogicalAddr, MessageId, Method, Reason};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::child::{Node, Role};
use crate::raw::{Frame, MESSAGE, Peer, RPC, Raw, kind};
use crate::resources::is_served;
use crate::support::{ECHO, Text, addr, soon};
use crate::{NODE, PEER, config};

/// Of each kind of peer.
const PEERS: usize = 32;
/// A request that is never answered.
const NEVER: Method<Text, Text> = Method::new("test.Memory/Never");
/// A message that is never done with.
const STUCK: MessageId = MessageId::new(1);
/// What the child offers a peer at most, if nothing stops it; many times what may wait.
const OFFER_BYTES: usize = 8 << 20;

const KIB: usize = 1 << 10;
/// Frames with a body of this many bytes are within the limit.
const BODY_BYTES: usize = 3 * KIB;

/// Small, so that all of it is soon used up.
fn small() -> Config {
    config(|config| {
        config.frame_bytes_max = 4 * KIB;
        config.outbox_bytes_max = 64 * KIB;
        config.outbox_reserve_bytes = 16 * KIB;
        config.calls_max = 64;
        config.requests_max = 64;
        config.request_bytes_max = 256 * KIB;
        config.unauthenticated_max = 64;
        config.message_timeout = Duration::from_secs(60);
        config.handshake_timeout = Duration::from_secs(1);
        // Nobody is to be found dead meanwhile.
        config.heartbeat = Duration::from_secs(60);
    })
}

/// What `docs/promises.md` says that peers and strangers cost at most.
fn documented_sum(config: &Config, peers: usize) -> usize {
    let outboxes = 2 * 2 * (config.outbox_bytes_max + config.outbox_reserve_bytes);
    let reading = 2 * (256 * KIB + config.frame_bytes_max);
    let calls = config.calls_max * config.frame_bytes_max;
    let replies = config.requests_max * config.frame_bytes_max;
    let peer = outboxes + reading + calls + config.request_bytes_max + replies;
    peers * peer + config.unauthenticated_max * 16 * KIB
}

fn of_kind(kind: usize, n: usize) -> String {
    format!("1.{}.{n}", 3 + kind)
}

/// Those that are to be sent to: the silent and the slow ones.
fn pressed() -> Vec<LogicalAddr> {
    (0..2).flat_map(|kind| (0..PEERS).map(move |n| addr(&of_kind(kind, n)))).collect()
}

/// What a child is as [`Role::Small`].
pub(crate) async fn small_node() -> seaway::Node {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // What the system takes is not the process's; its connections inherit this.
    socket.set_send_buffer_size(16 * KIB).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(1024).unwrap();
    let listener = TcpListener::from(socket);
    let discovery = InProcess::new();
    let network = listener.local_addr().unwrap().to_string();
    discovery.put(Member::new(addr(NODE), network)).unwrap();
    let peers = (0..3).flat_map(|kind| (0..PEERS).map(move |n| of_kind(kind, n)));
    for peer in peers.chain([PEER.to_owned()]) {
        // Nobody listens there: the peer dials.
        discovery.put(Member::new(addr(&peer), "127.0.0.1:1")).unwrap();
    }
    let builder = seaway::Node::builder(NODE).config(small()).discovery(discovery);
    let builder = builder.listener(listener).on_bytes(STUCK, |_, _| pending());
    let builder = builder.on_call(ECHO, |_, request| async move { Ok(request) });
    // It keeps what it was given.
    let never = |cx: seaway::Context, request: Text| async move {
        let kept = (cx, request);
        pending::<()>().await;
        Ok(kept.1)
    };
    builder.on_call(NEVER, never).start().await.unwrap()
}

/// Sends to all that take little as much as their outboxes let it; says when all of them were full
/// for a while, or have let in all that was offered.
pub(crate) async fn press(node: &seaway::Node, say_full: impl Fn()) {
    let pressing: JoinSet<_> =
        pressed().into_iter().map(|peer| press_one(node.clone(), peer)).collect();
    // The calls go on.
    let _calls = pressing.join_all().await;
    say_full();
    pending::<()>().await;
}

async fn press_one(node: seaway::Node, peer: LogicalAddr) -> JoinSet<Result<Text, CallError>> {
    let body = Bytes::from(vec![0; BODY_BYTES]);
    let large = Text { text: "x".repeat(BODY_BYTES) };
    let mut calls = JoinSet::new();
    for _ in 0..2 * small().calls_max {
        let call = node.call(peer, ECHO, large.clone()).within(Duration::from_secs(600));
        calls.spawn(call.detached().into_future());
    }
    let (mut offered, mut refusals) = (0, 0);
    let mut pace = interval(Duration::from_millis(10));
    while offered < OFFER_BYTES {
        match node.try_send_bytes(peer, STUCK, &body) {
            Ok(()) => (offered, refusals) = (offered + BODY_BYTES, 0),
            Err(error) => {
                assert_eq!(error.reason, Reason::Full);
                refusals += 1;
                if refusals == 20 {
                    break;
                }
                pace.tick().await;
            }
        }
    }
    calls
}

/// Dials until it is let in: strangers push each other out.
async fn enter(node: SocketAddr, me: &Peer, lane: u8) -> Raw {
    let mut pace = interval(Duration::from_millis(10));
    loop {
        pace.tick().await;
        if let Ok(raw) = me.dial(node, NODE, lane).await {
            return raw;
        }
    }
}

async fn enter_both(node: SocketAddr, me: &Peer) -> (Raw, Raw) {
    (enter(node, me, RPC).await, enter(node, me, MESSAGE).await)
}

/// Asks for as many replies as it may, and then takes a byte now and then.
async fn be_slow((mut rpc, mut message): (Raw, Raw)) {
    let request = text_of(BODY_BYTES);
    for id in 1..=small().requests_max as u64 {
        let request = rpc.request(id, ECHO.name(), &request);
        rpc.send(&request).await;
    }
    for _ in 0..200 {
        let stuck = message.frame(kind::MESSAGE, STUCK.get(), &vec![0; BODY_BYTES]).encode();
        // Nobody handles the second: at some time there is no room for more.
        tokio::time::timeout(Duration::from_millis(5), message.stream.write_all(&stuck)).await.ok();
    }
    let mut pace = interval(Duration::from_millis(20));
    loop {
        pace.tick().await;
        rpc.stream.read_u8().await.unwrap();
        message.stream.read_u8().await.unwrap();
    }
}

/// A text message of `len` letters, at least 2^7 and less than 2^14.
fn text_of(len: usize) -> Vec<u8> {
    let length = [len & 0x7f | 0x80, len >> 7].map(|part| u8::try_from(part).unwrap());
    [&[0x0a], &length[..], &vec![b'x'; len]].concat()
}

/// Breaks one rule after another, and comes back when it is thrown out.
async fn be_hostile(node: SocketAddr, me: Peer) -> Raw {
    ask(enter(node, &me, RPC).await).await;
    lie(node, &me).await;
    let mut raw = enter(node, &me, RPC).await;
    pin(&mut raw).await;
    flood(&mut raw).await;
    // The requests end with their lane.
    raw
}

/// An extension of `len` bytes that anybody may skip.
fn extension_of(len: usize) -> Vec<u8> {
    let value = u16::try_from(len - 3).unwrap().to_be_bytes();
    [&[100][..], &value, &vec![0; len - 3]].concat()
}

/// Small requests that are never answered, each among many bytes that mean nothing.
async fn pin(raw: &mut Raw) {
    let skipped = raw.frame(200, 0, &vec![0; 4 * KIB]).encode().repeat(30);
    for id in 1..=60 {
        let request = raw.request(id, NEVER.name(), b"");
        let request = Frame { extension: extension_of(4), ..request }.encode();
        raw.stream.write_all(&[&skipped[..], &request].concat()).await.unwrap();
    }
    assert!(raw.is_live().await);
}

/// Large requests that are never answered, far more than are let in.
async fn flood(raw: &mut Raw) {
    let (extension, body) = (extension_of(16 * KIB), text_of(BODY_BYTES));
    for id in 100..700 {
        let request = raw.request(id, NEVER.name(), &body);
        raw.send(&Frame { extension: extension.clone(), ..request }).await;
        if id % 20 == 0 {
            // Who does not take the refusals is thrown out.
            assert!(raw.is_live().await);
        }
    }
}

/// Pings, whose answers it does not take.
async fn ask(mut raw: Raw) {
    let pings = raw.frame(kind::PING, 0, &[0]).encode().repeat(1000);
    while raw.stream.write_all(&pings).await.is_ok() {}
}

/// Frames of any length, begun and never ended; and strangers who never say who they are.
async fn lie(node: SocketAddr, me: &Peer) {
    let (mut rpc, mut message) = enter_both(node, me).await;
    for (raw, length) in [(&mut rpc, u32::MAX), (&mut message, 40 + 4 * 1024)] {
        let mut frame = raw.frame(kind::MESSAGE, STUCK.get(), &vec![0; 4 * KIB]).encode();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        raw.stream.write_all(&frame[..4 * KIB]).await.ok();
    }
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(node).await.unwrap();
        stream.write_all(&me.hello(NODE, MESSAGE)[..40]).await.ok();
        strangers.push(stream);
    }
    // They stay as long as they are let.
    for mut stranger in strangers {
        stranger.read_to_end(&mut Vec::new()).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_ninety_six_bad_peers_cost_a_process_no_more_than_the_documented_sum() {
    /// What an allocator may keep besides what it was asked for.
    const ALLOWANCE: usize = 16 << 20;
    let node = Node::start(Role::Small, 4096);
    let (at, before) = (node.at, node.memory_peak());
    let me = |kind, n| Peer { heartbeat_ms: 60_000, ..Peer::new(&of_kind(kind, n)) };
    let (mut silent, mut slow, mut hostile) = (Vec::new(), JoinSet::new(), JoinSet::new());
    for n in 0..PEERS {
        silent.push(soon("a silent peer", enter_both(at, &me(0, n))).await);
        slow.spawn(be_slow(soon("a slow peer", enter_both(at, &me(1, n))).await));
        hostile.spawn(be_hostile(at, me(2, n)));
    }
    let node = soon("all outboxes to be full", node.press()).await;
    let hostile = soon("the hostile to be done", hostile.join_all()).await;
    // A peer that keeps to the rules finds its place.
    let mut good = soon("a handshake", enter(at, &Peer::new(PEER), RPC)).await;
    assert!(soon("a reply", is_served(&mut good)).await);
    let grown = usize::try_from(node.memory_peak() - before).unwrap();
    let sum = documented_sum(&small(), 3 * PEERS) + ALLOWANCE;
    assert!(grown < sum, "the process grew by {} KiB, over {} KiB", grown / KIB, sum / KIB);
    assert_eq!((silent.len(), slow.len(), hostile.len()), (PEERS, PEERS, PEERS), "some are gone");
}
