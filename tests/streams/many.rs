//! Many streams over one connection, and those that nobody reads.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::support::process::{Members, Process};
use super::support::{events, until};
use super::*;

/// What a stream that nobody reads holds, and yamux's first window.
const WINDOW: usize = 256 << 10;

/// The bytes of a direction, and in which pieces they are written, by its seed.
fn pieces(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut left = random.random_range(0..40_000);
    std::iter::from_fn(move || {
        let len = if random.random_bool(0.3) { 16 } else { 9_000 };
        let len = random.random_range(0..=len).min(left);
        left -= len;
        let mut piece = vec![0; len];
        random.fill_bytes(&mut piece);
        (left > 0 || len > 0).then_some(piece)
    })
}

async fn write_pieces(mut writer: impl AsyncWrite + Unpin, seed: u64) {
    for piece in pieces(seed) {
        writer.write_all(&piece).await.unwrap();
    }
    writer.shutdown().await.unwrap();
}

async fn read_pieces(mut reader: impl AsyncRead + Unpin, seed: u64) {
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    let sent: Vec<u8> = pieces(seed).flatten().collect();
    assert!(read == sent, "seed {seed}: {} bytes came, others than {}", read.len(), sent.len());
}

/// Both directions of a stream at one end.
async fn exchange_pieces(stream: Stream, sent: u64, read: u64) {
    let (reader, writer) = split(stream);
    tokio::join!(write_pieces(writer, sent), read_pieces(reader, read));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_at_once_are_whole_both_ways() {
    const STREAMS: u64 = 1_000;
    let (say, mut heard) = events::events();
    let serve = |builder: Builder| {
        let say = say.clone();
        builder.on_stream("pieces", move |context, stream| {
            let say = say.clone();
            async move {
                let seed = context.metadata("seed").unwrap().parse::<u64>().unwrap();
                exchange_pieces(stream, seed + 1, seed).await;
                say.say(seed);
            }
        })
    };
    let cluster = Cluster::new();
    let near = serve(cluster.builder(NEAR)).start().await.unwrap();
    let far = serve(cluster.builder(FAR)).start().await.unwrap();
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let (node, to) = if n % 2 == 0 { (near.clone(), FAR) } else { (far.clone(), NEAR) };
        streams.spawn(async move {
            let opening =
                node.open_stream(addr(to), "pieces").metadata("seed", (2 * n).to_string());
            let stream = opening.within(Duration::from_secs(60)).await.unwrap();
            exchange_pieces(stream, 2 * n, 2 * n + 1).await;
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), streams.join_all());
    assert_eq!(all.await.unwrap().len() as u64, STREAMS);
    let mut seeds = Vec::new();
    for _ in 0..STREAMS {
        seeds.push(heard.any().await);
    }
    seeds.sort_unstable();
    assert!(seeds.into_iter().eq((0..STREAMS).map(|n| 2 * n)));
    assert_eq!(near.stats().panics + far.stats().panics, 0);
    assert_eq!(near.stats().dialed + far.stats().dialed, 2, "they share one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_stream_that_nobody_reads_stalls_itself_and_no_other() {
    const BYTES: usize = 4 << 20;
    let mut pair = Pair::new().await;
    let (mut stalled, mut unread) = pair.open().await;
    let sent: Vec<u8> = (0..BYTES).map(|n| (n / 7).to_le_bytes()[0]).collect();
    let (progress, mut written) = tokio::sync::watch::channel(0);
    let bytes = sent.clone();
    let writing = tokio::spawn(async move {
        for piece in bytes.chunks(1 << 10) {
            stalled.write_all(piece).await.unwrap();
            progress.send_modify(|written| *written += piece.len());
        }
        stalled.shutdown().await.unwrap();
        stalled
    });
    // The last piece does not fit: the preamble took a part of the window, and gave it back.
    soon("a full window", written.wait_for(|written| *written + (2 << 10) > WINDOW)).await.unwrap();
    let mut others = JoinSet::new();
    for _ in 0..20 {
        let mut stream = pair.near.open_stream(addr(FAR), "echo").await.unwrap();
        others.spawn(async move {
            let mut longest = Duration::ZERO;
            let mut back = [0; 512];
            for n in 0..200 {
                let began = Instant::now();
                stream.write_all(&[n; 512]).await.unwrap();
                stream.read_exact(&mut back).await.unwrap();
                assert_eq!(back, [n; 512]);
                longest = longest.max(began.elapsed());
            }
            longest
        });
    }
    let longest = soon("4,000 round trips", others.join_all()).await.into_iter().max().unwrap();
    assert!(longest < Duration::from_millis(500), "a round trip took {longest:?}");
    let stalled_at = *written.borrow();
    assert!(stalled_at <= WINDOW, "{stalled_at} bytes were taken that nobody has read");
    // It is only late.
    let mut read = Vec::new();
    soon("all of it", unread.read_to_end(&mut read)).await.unwrap();
    assert!(read == sent);
    soon("the writer", writing).await.unwrap();
}

/// A node here, and a child whose streams nobody reads.
async fn with_child() -> (Cluster, Node, Process) {
    let cluster = Cluster::new();
    let near = cluster.node(NEAR).await;
    let members = Members::new();
    let absent = cluster.absent(FAR);
    let listen = absent.network.clone();
    drop(absent);
    let mut child =
        Process::run("a_child_with_streams_is_another_process", FAR, &listen, &members).await;
    members.write(&[(NEAR, &near.local_addr().to_string()), (FAR, &child.network)]);
    child.start().await;
    (cluster, near, child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_a_thousand_streams_that_nobody_reads_hold_their_windows_and_no_more() {
    const STREAMS: usize = 1_000;
    // What each of them takes beside its window, and what they all do.
    const EACH: usize = 16 << 10;
    const ALL: usize = 32 << 20;
    let (_cluster, near, child) = with_child().await;
    let before = child.memory();
    let mut filling = JoinSet::new();
    for _ in 0..STREAMS {
        let near = near.clone();
        filling.spawn(async move {
            let opening = near.open_stream(addr(FAR), "hold").within(Duration::from_secs(60));
            let mut stream = opening.await.unwrap();
            let mut written = 0;
            // Nothing more fits behind it.
            while written < WINDOW - (4 << 10) {
                written += stream.write(&[7; 4 << 10]).await.unwrap();
            }
            (stream, written)
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), filling.join_all()).await.unwrap();
    let written: usize = all.iter().map(|(_, written)| written).sum();
    // All of it has arrived when a byte of a stream that was opened later has.
    let holds = || child.said.all().iter().filter(|said| **said == "holds").count();
    until("all handlers", || holds() == STREAMS).await;
    let mut last = near.open_stream(addr(FAR), "echo").await.unwrap();
    for _ in 0..100 {
        last.write_all(&[0; 64 << 10]).await.unwrap();
        last.read_exact(&mut [0; 64 << 10]).await.unwrap();
    }
    let grown = usize::try_from(child.memory().saturating_sub(before)).unwrap();
    assert!(grown > written / 2, "{grown} bytes for {written}: they are not there");
    let most = STREAMS * (WINDOW + EACH) + ALL;
    assert!(grown < most, "{grown} bytes for {written}");
}
