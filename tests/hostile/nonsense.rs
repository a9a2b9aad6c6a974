//! Any bytes at all on the stream lane, from either end of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use seaway::discovery::Member;
use tokio::net::TcpListener;

use crate::raw::pipes::yamux::{self, data, header};
use crate::raw::pipes::{CONTROL, Pipes};
use crate::raw::{Peer, RPC, Raw, STREAM};
use crate::streams::{Stage, Witness, enter, keep, panics, serve};
use crate::support::events::{Say, events};
use crate::support::{Cluster, ECHO, addr, soon};
use crate::{FRIEND, NODE, PEER};

/// Frames of yamux that make some sense, with what makes none in between.
fn nonsense(pipes: &Pipes, dice: &mut StdRng) -> Vec<u8> {
    let streams = [0, CONTROL, 2, 3, 4, 5, 7, 1 << 31, u32::MAX];
    let mut bytes = Vec::new();
    for _ in 0..dice.random_range(1..40) {
        let stream = streams[dice.random_range(0..streams.len())];
        let flags = if dice.random_ratio(1, 20) { dice.random() } else { dice.random_range(0..16) };
        let length = if dice.random_ratio(1, 4) { dice.random() } else { dice.random_range(0..64) };
        match dice.random_range(0..12) {
            0 => bytes.extend(header(yamux::WINDOW, flags, stream, length)),
            1 => bytes.extend(header(yamux::PING, flags, stream, length)),
            2 if dice.random_ratio(1, 10) => {
                bytes.extend(header(dice.random(), flags, stream, length));
            }
            3 if dice.random_ratio(1, 4) => bytes.extend((0..20).map(|_| dice.random::<u8>())),
            4..8 => {
                // Mostly what is allowed there.
                let frame = match dice.random_range(0..4) {
                    0 => pipes.preamble("echo"),
                    1 => pipes.preamble("hold"),
                    2 => pipes.end_of(dice.random_range(0..8), 0, dice.random_range(0..2)),
                    _ => pipes.frame(dice.random_range(8..13), dice.random_range(0..8), &[0; 16]),
                };
                let mut frame = frame.encode();
                if dice.random_ratio(1, 3) {
                    let at = dice.random_range(0..frame.len());
                    frame[at] = dice.random();
                }
                let flags = flags & (yamux::SYN | yamux::FIN);
                bytes.extend(data(flags, stream, &frame));
            }
            _ => bytes.extend(data(flags & 7, stream, &vec![7; dice.random_range(0..300)])),
        }
    }
    bytes
}

/// Writes what the seed says, and waits for the end.
async fn throw(raw: Raw, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut pipes = Pipes::new(raw);
    if !seed.is_multiple_of(4) {
        pipes.begin().await;
    }
    let bytes = if seed.is_multiple_of(3) {
        (0..dice.random_range(1..2_000)).map(|_| dice.random()).collect()
    } else {
        nonsense(&pipes, &mut dice)
    };
    for part in bytes.chunks(dice.random_range(1..=bytes.len())) {
        pipes.write(part).await;
    }
    pipes.finish().await;
    soon("the end", pipes.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p19_whatever_bytes_come_on_the_stream_lane_nobody_else_is_harmed() {
    let mut stage = Stage::new().await;
    for seed in 0..600 {
        println!("seed {seed}");
        throw(enter(stage.scene.at(), &Peer::new(PEER), STREAM).await, seed).await;
        assert_eq!(panics().load(Ordering::SeqCst), 0, "seed {seed}");
        if seed.is_multiple_of(50) {
            stage.witness.is_undisturbed().await;
        }
    }
    stage.finish().await;
}

/// Takes what the node dials: says nothing wrong on the rpc lane, and nonsense on the stream lane.
async fn lure(listener: TcpListener, thrown: Say<u64>) {
    let mut seed = 0;
    loop {
        let mut hearing = Peer::new(PEER).hear(&listener).await;
        let lane = hearing.lane();
        hearing.challenge("").await;
        hearing.check_proof().await;
        let raw = hearing.ready().await;
        if lane == RPC {
            keep(raw);
        } else {
            seed += 1;
            throw(raw, seed).await;
            thrown.say(seed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p19_whatever_bytes_come_from_whom_a_node_has_dialled_nobody_else_is_harmed() {
    const LURED: u64 = 60;
    panics();
    let cluster = Cluster::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = listener.local_addr().unwrap().to_string();
    cluster.discovery.put(Member::new(addr(PEER), network)).unwrap();
    let builder = cluster.builder(NODE).on_call(ECHO, |_, request| async move { Ok(request) });
    let node = serve(builder).start().await.unwrap();
    let mut witness = Witness::new(cluster.node(FRIEND).await).await;
    let (say, mut thrown) = events();
    let luring = tokio::spawn(lure(listener, say));
    while !thrown.rest().contains(&LURED) {
        let open = node.open_stream(addr(PEER), "echo").within(Duration::from_millis(50));
        soon("an end", open).await.ok();
        assert_eq!(panics().load(Ordering::SeqCst), 0);
        witness.is_undisturbed().await;
    }
    luring.abort();
}
