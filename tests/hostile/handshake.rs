//! Who gets in, and who is told what.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use seaway::{CallError, ClusterKey, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::raw::{MESSAGE, Peer, RPC, Raw, Refused, kind};
use crate::support::{Cluster, ECHO, addr, soon, text, until};
use crate::{HI, NODE, OTHER_SECRET, PEER, SECRET, Scene, config, echo};

const KEY: &str = "2026-11";
/// Type of the message with which a node lets a peer in.
const READY: u8 = 4;

fn key(id: &str, secret: [u8; 32]) -> ClusterKey {
    ClusterKey::new(id, secret).unwrap()
}

async fn keyed() -> Scene {
    Scene::with(|builder| builder.key(key(KEY, SECRET))).await
}

fn refused(outcome: Result<Raw, Refused>) -> Refused {
    outcome.map(|_| ()).expect_err("the node let the peer in")
}

/// Nothing of what the peer sent came near a handler.
fn assert_untouched(node: &Node) {
    let stats = node.stats();
    assert_eq!((stats.requests, stats.handled, stats.accepted_connections), (0, 0, 0));
}

#[tokio::test]
async fn a_second_implementation_is_let_in_and_served() {
    for secret in [None, Some(SECRET)] {
        let scene = Scene::with(|builder| match secret {
            Some(secret) => builder.key(key(KEY, secret)),
            None => builder,
        });
        let scene = scene.await;
        let peer = Peer::new(PEER);
        let peer = match secret {
            Some(secret) => peer.with_key(KEY, secret),
            None => peer,
        };
        let mut raw = peer.dial(scene.at(), NODE, RPC).await.unwrap();
        let request = raw.request(77, "test.Echo/Echo", HI);
        raw.send(&request).await;
        let reply = soon("the reply", raw.expect(kind::REPLY)).await;
        assert_eq!(reply, raw_reply(&raw, 77));
    }
}

/// The node's reply to [`HI`].
fn raw_reply(raw: &Raw, id: u64) -> crate::raw::Frame {
    let body = [&[0], HI].concat();
    // What a node says of a peer's frame has the peer's incarnation.
    let reply = raw.frame(kind::REPLY, id, &body);
    crate::raw::Frame { to: raw.peer.address, from: raw.node, ..reply }
}

/// A node, and a place where the peer waits for it to dial.
async fn dialing(change: impl FnOnce(seaway::Builder) -> seaway::Builder) -> (Node, TcpListener) {
    let cluster = Cluster::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = listener.local_addr().unwrap().to_string();
    cluster.discovery.put(seaway::discovery::Member::new(addr(PEER), network)).unwrap();
    (change(cluster.builder(NODE)).start().await.unwrap(), listener)
}

#[tokio::test]
async fn a_second_implementation_is_dialled_and_answers() {
    let (node, listener) = dialing(|builder| builder.key(key(KEY, SECRET))).await;
    let peer = Peer::new(PEER).with_key(KEY, SECRET);
    let answer = async {
        let mut raw = peer.accept(&listener).await;
        let request = raw.expect(kind::REQUEST).await;
        assert_eq!(request.body, raw.request(0, "test.Echo/Echo", HI).body);
        let reply = raw.answer(kind::REPLY, request.id, &[&[0], HI].concat());
        raw.send(&reply).await;
        raw
    };
    let (reply, _raw) = tokio::join!(echo(&node, PEER), soon("the request", answer));
    assert_eq!(reply, Ok(text("hi")));
}

#[tokio::test]
async fn p20_a_wrong_key_and_no_key_are_refused_and_reach_no_handler() {
    let scene = keyed().await;
    let strangers = [
        Peer::new(PEER),
        Peer::new(PEER).with_key("another", SECRET),
        Peer::new(PEER).with_key(KEY, OTHER_SECRET),
    ];
    for peer in strangers {
        let mut dialing = peer.start(scene.at(), NODE, RPC).await;
        let outcome = match dialing.proof().await {
            Ok(proof) => {
                // As if it had been let in, it goes on with a request.
                let begging = [proof, begging_request(&peer)].concat();
                dialing.stream.write_all(&begging).await.unwrap();
                dialing.ready().await
            }
            Err(refused) => Err(refused),
        };
        let Refused { reason, is_proven, text, .. } = refused(outcome);
        assert_eq!((reason, is_proven, text.as_str()), (3, false, ""), "{peer:?}");
    }
    assert_untouched(&scene.node);
}

fn begging_request(peer: &Peer) -> Vec<u8> {
    let body = [&crate::raw::hash("test.Echo/Echo").to_be_bytes()[..], HI].concat();
    let mut frame = vec![0, 0, 0, 40 + u8::try_from(body.len()).unwrap(), kind::REQUEST, 0, 0, 0];
    frame.extend(crate::raw::bits(NODE).to_be_bytes());
    frame.extend(peer.address.to_be_bytes());
    frame.extend(1_u64.to_be_bytes());
    frame.extend(peer.incarnation.to_be_bytes());
    frame.extend([0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]);
    frame.extend(body);
    frame
}

#[tokio::test]
async fn p20_a_node_without_a_key_refuses_a_peer_with_one() {
    let scene = Scene::new().await;
    let peer = Peer::new(PEER).with_key(KEY, SECRET);
    let refused = refused(peer.dial(scene.at(), NODE, RPC).await);
    assert_eq!((refused.reason, refused.is_proven), (3, false));
    assert_untouched(&scene.node);
}

#[tokio::test]
async fn p20_a_dialer_with_a_key_never_goes_on_without() {
    let (node, listener) = dialing(|builder| builder.key(key(KEY, SECRET))).await;
    let _call = tokio::spawn(node.call(addr(PEER), ECHO, text("hi")).detached());
    for chosen in ["", "another"] {
        let mut hearing = soon("a dial", Peer::new(PEER).hear(&listener)).await;
        hearing.challenge(chosen).await;
        let mut more = Vec::new();
        soon("the end", hearing.stream.read_to_end(&mut more)).await.unwrap();
        assert_eq!(more, b"", "it proved itself to somebody who chose {chosen:?}");
    }
}

#[tokio::test]
async fn p20_an_acceptor_with_a_wrong_key_gets_no_frame() {
    let (node, listener) = dialing(|builder| builder.key(key(KEY, SECRET))).await;
    let call = tokio::spawn(
        node.call(addr(PEER), ECHO, text("hi")).within(Duration::from_secs(1)).detached(),
    );
    let mut hearing =
        soon("a dial", Peer::new(PEER).with_key(KEY, OTHER_SECRET).hear(&listener)).await;
    hearing.challenge(KEY).await;
    hearing.skip_proof().await;
    let mut raw = hearing.ready().await;
    let mut more = Vec::new();
    // Closed with READY behind it unread or not: what counts is what was sent.
    soon("the end", raw.stream.read_to_end(&mut more)).await.ok();
    assert_eq!(more, b"");
    drop(listener);
    let error = soon("the call", call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn p20_a_handshake_cannot_be_replayed() {
    let scene = keyed().await;
    let peer = Peer::new(PEER).with_key(KEY, SECRET);
    let mut dialing = peer.start(scene.at(), NODE, RPC).await;
    let proof = dialing.proof().await.unwrap();
    dialing.stream.write_all(&proof).await.unwrap();
    dialing.ready().await.unwrap();
    let dialed = scene.node.stats().accepted_connections;

    // Byte for byte what was good before; the node's nonce is another one.
    let mut replay = peer.start(scene.at(), NODE, RPC).await;
    replay.proof().await.unwrap();
    replay.stream.write_all(&proof).await.unwrap();
    let refused = refused(replay.ready().await);
    assert_eq!((refused.reason, refused.is_proven), (3, false));
    assert_eq!(scene.node.stats().accepted_connections, dialed);
}

#[tokio::test]
async fn p20_a_handshake_changed_in_any_byte_is_refused() {
    let scene = keyed().await;
    let peer = Peer::new(PEER).with_key(KEY, SECRET);
    let hello = peer.hello(NODE, RPC);
    // All of preface and HELLO, and all of PROOF, which has 36 bytes behind its length.
    let mut attempts = JoinSet::new();
    for at in 0..hello.len() + 38 {
        attempts.spawn(changed_at(at, peer.clone(), hello.clone(), scene.at()));
    }
    for (at, answer) in soon("the end of all", attempts.join_all()).await {
        assert_ne!(answer, Some(READY), "byte {at} was changed");
    }
    assert_untouched(&scene.node);
}

/// The node's answer to a PROOF, when the byte at this place of what the peer sent is another one
/// than that which the peer's proof covers.
async fn changed_at(
    at: usize,
    peer: Peer,
    hello: Vec<u8>,
    node: SocketAddr,
) -> (usize, Option<u8>) {
    let mut sent = hello.clone();
    if let Some(byte) = sent.get_mut(at) {
        *byte ^= 1;
    }
    let mut stream = TcpStream::connect(node).await.unwrap();
    stream.write_all(&sent).await.ok();
    let mut dialing = peer.resume(stream, NODE, hello.clone());
    let Ok(mut proof) = dialing.try_proof().await else { return (at, None) };
    if let Some(byte) = at.checked_sub(hello.len()).and_then(|at| proof.get_mut(at)) {
        *byte ^= 1;
    }
    dialing.stream.write_all(&proof).await.ok();
    (at, dialing.answer_kind().await)
}

#[tokio::test]
async fn p20_keys_rotate_without_a_stop() {
    let (old, new) = (key("old", SECRET), key("new", OTHER_SECRET));
    let stages = [
        (vec![old.clone()], vec![old.clone(), new.clone()], true),
        (vec![old.clone(), new.clone()], vec![new.clone(), old.clone()], true),
        (vec![new.clone(), old.clone()], vec![new.clone()], true),
        (vec![old], vec![new], false),
    ];
    for (callers, callees, is_good) in stages {
        let cluster = Cluster::new();
        let with = |builder: seaway::Builder, keys: Vec<ClusterKey>| {
            keys.into_iter().fold(builder, seaway::Builder::key)
        };
        let callee = with(cluster.builder(NODE), callees);
        let _callee = callee.on_call(ECHO, |_, request| async move { Ok(request) });
        let _callee = _callee.start().await.unwrap();
        let caller = with(cluster.builder("1.1.1"), callers).start().await.unwrap();
        let call = caller.call(addr(NODE), ECHO, text("hi")).within(Duration::from_secs(2));
        let outcome = soon("the outcome", call.into_future()).await;
        assert_eq!(outcome.is_ok(), is_good, "{outcome:?}");
    }
}

#[tokio::test]
async fn p20_two_deployments_refuse_each_other() {
    let scene = Scene::new().await;
    let peer = Peer { deployment: "green", ..Peer::new(PEER) };
    let refused = refused(peer.dial(scene.at(), NODE, RPC).await);
    assert_eq!((refused.reason, refused.is_proven), (9, true));

    let green = config(|config| config.deployment = "green".to_owned());
    let caller = scene.cluster.builder("1.1.1").config(green).start().await.unwrap();
    let call = caller.call(addr(NODE), ECHO, text("hi")).within(Duration::from_millis(500));
    let error = soon("the refusal", call.into_future()).await.unwrap_err();
    assert!(error.is_safe_to_retry());
    assert!(error.to_string().contains("deployment"), "{error}");
    assert_untouched(&scene.node);
}

#[tokio::test]
async fn p15_an_older_incarnation_is_refused_and_told_of_the_newer() {
    let scene = keyed().await;
    let older = Peer::new(PEER).with_key(KEY, SECRET);
    let newer = Peer { incarnation: older.incarnation + 1, ..older.clone() };
    let mut first = older.dial(scene.at(), NODE, RPC).await.unwrap();
    let mut second = newer.dial(scene.at(), NODE, RPC).await.unwrap();
    soon("the end of the older one's lane", first.closed()).await;
    for lane in [RPC, MESSAGE] {
        let Refused { reason, is_proven, newer, .. } =
            refused(older.dial(scene.at(), NODE, lane).await);
        assert_eq!((reason, is_proven, newer), (6, true, Some(second.peer.incarnation)));
    }
    assert!(soon("a pong", second.is_live()).await);
}

#[tokio::test]
async fn p20_a_peer_with_the_key_is_told_why_it_is_refused() {
    let scene = keyed().await;
    let peer = Peer::new(PEER).with_key(KEY, SECRET);
    let cases = [
        ("wrong address", peer.clone(), "1.2.2", RPC, 4),
        (
            "unknown member",
            Peer { address: crate::raw::bits("1.9.9"), ..peer.clone() },
            NODE,
            RPC,
            5,
        ),
        ("guest", Peer { flags: 1, ..peer.clone() }, NODE, RPC, 10),
        ("lane", peer.clone(), NODE, 7, 11),
        ("the next lane", peer.clone(), NODE, 3, 11),
        ("own address", Peer { address: crate::raw::bits(NODE), ..peer.clone() }, NODE, RPC, 12),
    ];
    for (what, peer, meant, lane, reason) in cases {
        let refused = refused(soon(what, peer.dial(scene.at(), meant, lane)).await);
        assert_eq!((refused.reason, refused.is_proven), (reason, true), "{what}");
    }
    assert_untouched(&scene.node);
}

#[tokio::test]
async fn p22_versions_without_overlap_are_refused_with_a_reason_and_an_end() {
    let scene = Scene::new().await;
    let peer = Peer { versions: (2, 3), ..Peer::new(PEER) };
    let mut dialing = peer.start(scene.at(), NODE, RPC).await;
    let refused = dialing.proof().await.unwrap_err();
    assert_eq!((refused.reason, refused.versions), (1, Some([1, 1])));
    // An end and not a reset, which could overtake the refusal and destroy it.
    dialing.stream.write_all(&[0; 100_000]).await.unwrap();
    dialing.stream.shutdown().await.unwrap();
    let mut more = Vec::new();
    assert_eq!(soon("the end", dialing.stream.read_to_end(&mut more)).await.unwrap(), 0);
    until("the node knows of it", || scene.node.stats().refused_connections == 1).await;
}

#[tokio::test]
async fn p22_a_node_that_is_refused_for_its_version_says_so() {
    let (node, listener) = dialing(|builder| builder).await;
    let refuse = async {
        loop {
            Peer::new(PEER).hear(&listener).await.refuse_version(2, 3).await;
        }
    };
    let call = node.call(addr(PEER), ECHO, text("hi")).within(Duration::from_millis(500));
    let error = tokio::select! {
        error = soon("the refusal", call.into_future()) => error.unwrap_err(),
        () = refuse => unreachable!(),
    };
    assert!(error.is_safe_to_retry());
    assert!(error.to_string().contains("version"), "{error}");
}
