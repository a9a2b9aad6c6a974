//! Streams to nodes of other groups: each harbor carries them over another leg.

use std::io;
use std::time::{Duration, Instant};

use seaway::{Break, Builder, LogicalAddr, Node, Reason, SendError, Stream, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::task::JoinSet;

use crate::groups::{Groups, config};
use crate::support::events::{Gate, Heard, Say, events};
use crate::support::{addr, soon, timed, until};
use crate::world::{FROM, TO, World};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub(crate) fn echo(builder: Builder) -> Builder {
    builder.on_stream("echo", |_, stream| async move {
        let (mut reader, mut writer) = split(stream);
        copy(&mut reader, &mut writer).await.ok();
        writer.shutdown().await.ok();
    })
}

async fn open(node: &Node, to: &str) -> Stream {
    soon("the stream", node.open_stream(addr(to), "echo")).await.unwrap()
}

async fn refused(node: &Node, to: &str, service: &str) -> SendError {
    soon("the refusal", node.open_stream(addr(to), service)).await.unwrap_err()
}

#[track_caller]
fn broken<T: std::fmt::Debug>(outcome: io::Result<T>) -> (Break, LogicalAddr) {
    let error = outcome.unwrap_err();
    let error = StreamError::of(&error).unwrap_or_else(|| panic!("no break: {error}"));
    (error.cause, error.hop)
}

/// What a handler does with its stream is said by the test.
fn handed(builder: Builder, streams: Say<Stream>) -> Builder {
    builder.on_stream("hand", move |_, stream| {
        let streams = streams.clone();
        async move { streams.say(stream) }
    })
}

/// Both ends of a stream over two harbors.
async fn both_ends(groups: &Groups) -> (Stream, Stream, Node) {
    let (say, mut heard): (Say<Stream>, Heard<Stream>) = events();
    let target = handed(groups.cluster.builder(TO), say).start().await.unwrap();
    let near = soon("the stream", groups.sender.open_stream(addr(TO), "hand")).await.unwrap();
    (near, heard.any().await, target)
}

#[tokio::test]
async fn bytes_metadata_and_trace_cross_two_harbors_and_so_does_the_end() {
    let groups = Groups::new().await;
    let (say, mut heard) = events();
    let builder = groups.cluster.builder(TO).on_stream("tell", move |cx, mut stream| {
        let say = say.clone();
        async move {
            let player = cx.metadata("player").unwrap().to_owned();
            let trace = cx.trace_parent().unwrap();
            say.say((cx.peer(), stream.peer(), player, trace));
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all.reverse();
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let _target = builder.start().await.unwrap();
    let open = groups.sender.open_stream(addr(TO), "tell").metadata("player", "ann");
    let mut stream = soon("the stream", open.trace_parent(TRACE)).await.unwrap();
    let (from, peer, player, trace) = heard.any().await;
    assert_eq!((from, peer, &*player), (addr(FROM), addr(FROM), "ann"));
    assert_eq!(trace, TRACE);
    assert_eq!(stream.peer(), addr(TO));
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    soon("the end", stream.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, b"cba");
    for harbor in &groups.harbors {
        assert_eq!(harbor.stats().streams_relayed, 1);
    }
}

#[tokio::test]
async fn a_refusal_names_the_hop_that_says_no() {
    let groups = Groups::new().await;
    let _target = echo(groups.cluster.builder(TO)).start().await.unwrap();
    for (to, service, reason, hop) in [
        (TO, "chat", Reason::Unimplemented, TO),
        ("2.1.9", "echo", Reason::NotAMember, "2.255.1"),
        ("3.1.1", "echo", Reason::NoRoute, "1.255.1"),
    ] {
        let error = refused(&groups.sender, to, service).await;
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.detail.contains(&format!("said by {hop}")), "{error}");
    }
}

#[tokio::test]
async fn without_a_harbor_of_the_own_group_no_stream_is_opened() {
    let cluster = crate::support::Cluster::empty();
    let sender = cluster.node(FROM).await;
    let error = refused(&sender, TO, "echo").await;
    assert_eq!(error.reason, Reason::NoRoute);
    assert!(error.detail.contains("no harbor of group 1"), "{error}");
}

#[tokio::test]
async fn a_harbor_whose_places_are_taken_says_so() {
    let groups = Groups::with(|address, builder| match address {
        "1.255.1" => builder.config(config(|config| config.streams_max = 1)),
        _ => builder,
    })
    .await;
    let _target = echo(groups.cluster.builder(TO)).start().await.unwrap();
    let other = groups.cluster.node("1.1.2").await;
    let first = open(&groups.sender, TO).await;
    let error = refused(&other, TO, "echo").await;
    assert_eq!(error.reason, Reason::Busy, "{error}");
    assert!(error.detail.contains("said by 1.255.1"), "{error}");
    drop(first);
    until("room", || groups.harbors[0].stats().streams_refused > 0).await;
    let retry = async { while other.open_stream(addr(TO), "echo").await.is_err() {} };
    soon("room", retry).await;
}

#[tokio::test]
async fn codes_cross_harbors_both_ways() {
    let groups = Groups::new().await;
    let (near, mut far, target) = both_ends(&groups).await;
    near.reset(7);
    let read = soon("the break", far.read_u8()).await;
    assert_eq!(broken(read), (Break::Reset(7), addr(FROM)));
    assert_eq!(broken(far.write_all(b"x").await), (Break::Reset(7), addr(FROM)));
    drop(target);

    let groups = Groups::new().await;
    let (mut near, far, _target) = both_ends(&groups).await;
    far.reset(9);
    assert_eq!(broken(soon("the break", near.read_u8()).await), (Break::Reset(9), addr(TO)));
}

#[tokio::test]
async fn a_dropped_stream_is_no_end_beyond_harbors_either() {
    let groups = Groups::new().await;
    let (mut near, mut far, _target) = both_ends(&groups).await;
    far.write_all(b"half a se").await.unwrap();
    drop(far);
    let mut all = Vec::new();
    let read = soon("the break", near.read_to_end(&mut all)).await;
    assert_eq!(broken(read), (Break::Dropped, addr(TO)));
}

#[tokio::test]
async fn one_direction_ends_and_the_other_goes_on_across_harbors() {
    let groups = Groups::new().await;
    let (mut near, mut far, _target) = both_ends(&groups).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut question = Vec::new();
    soon("the question", far.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    for n in 0..100_u8 {
        far.write_all(&[n; 1000]).await.unwrap();
    }
    far.shutdown().await.unwrap();
    drop(far);
    let mut answer = Vec::new();
    soon("the answer", near.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, (0..100_u8).flat_map(|n| [n; 1000]).collect::<Vec<_>>());
}

#[tokio::test]
async fn p08_a_stream_that_nobody_reads_holds_up_its_writer_beyond_harbors() {
    let groups = Groups::new().await;
    let (mut near, mut far, _target) = both_ends(&groups).await;
    let chunk = [1_u8; 16 << 10];
    let mut written = 0;
    while let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(300), near.write(&chunk)).await
    {
        written += n;
    }
    // Three legs with a window each, and what two harbors copy.
    assert!(written <= 3 * (256 << 10) + 2 * (16 << 10), "{written} bytes");
    // A reset passes by all that waits.
    near.reset(3);
    let mut rest = Vec::new();
    let read = soon("the break", far.read_to_end(&mut rest)).await;
    assert_eq!(broken(read), (Break::Reset(3), addr(FROM)));
}

#[tokio::test]
async fn p06_a_stream_that_is_not_accepted_in_time_says_how_far_it_came() {
    let groups = Groups::new().await;
    let absent = groups.cluster.absent(TO);
    until("the harbor to know", || {
        groups.harbors[1].all_members().iter().any(|m| m.address == addr(TO))
    })
    .await;
    let began = Instant::now();
    let open = groups.sender.open_stream(addr(TO), "echo").within(Duration::from_millis(300));
    let error = soon("the refusal", open).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2), "{error}");
    assert_eq!(error.reason, Reason::Expired, "{error}");
    drop(absent);
}

#[tokio::test]
async fn an_open_that_is_given_up_leaves_nothing_at_harbors() {
    let groups = Groups::new().await;
    let gate = Gate::closed();
    let (say, mut heard) = events();
    let held = gate.clone();
    let builder = groups.cluster.builder(TO).on_stream("slow", move |_, mut stream| {
        let (say, held) = (say.clone(), held.clone());
        async move {
            say.say(None);
            held.pass().await;
            say.say(Some(broken(stream.read_u8().await).0));
        }
    });
    let _target = builder.start().await.unwrap();
    let stream = soon("the stream", groups.sender.open_stream(addr(TO), "slow")).await.unwrap();
    heard.expect(None).await;
    drop(stream);
    gate.open();
    heard.expect(Some(Break::Dropped)).await;
}

/// Two harbors of group 1 and one of group 2 in processes of their own, and a stream over them.
async fn scene() -> (World, Node, Stream, Stream) {
    let mut world = World::new(&["1.255.1", "2.255.1"]).await;
    let (say, mut heard): (Say<Stream>, Heard<Stream>) = events();
    let sender = world.builder(FROM);
    let target = handed(world.builder(TO), say);
    world.start().await;
    let (sender, target) = (sender.start().await.unwrap(), target.start().await.unwrap());
    let near = soon("the stream", sender.open_stream(addr(TO), "hand")).await.unwrap();
    let far = heard.any().await;
    // It lives as long as its streams do.
    tokio::spawn(async move { target.stopped().await });
    (world, sender, near, far)
}

async fn read_and_write_fail(stream: &mut Stream, within: Duration) {
    let began = Instant::now();
    let (cause, _) = broken(soon("the break", stream.read_u8()).await);
    assert_eq!(cause, Break::Lost);
    assert!(began.elapsed() < within * 3, "took {:?}", began.elapsed());
    assert_eq!(broken(stream.write_all(b"x").await).0, Break::Lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_harbor_that_is_killed_breaks_its_streams_at_both_ends() {
    for killed in ["1.255.1", "2.255.1"] {
        let (mut world, sender, mut near, mut far) = scene().await;
        world.kill(killed).await;
        let within = Duration::from_millis(200);
        read_and_write_fail(&mut near, within).await;
        read_and_write_fail(&mut far, within).await;
        world.start_again(killed).await;
        let again = async { while sender.open_stream(addr(TO), "hand").await.is_err() {} };
        soon("another stream", again).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_harbor_that_is_frozen_breaks_its_streams_at_both_ends() {
    let (world, _sender, mut near, mut far) = scene().await;
    world.harbors["1.255.1"].freeze().await;
    let within = Duration::from_secs(4);
    tokio::join!(read_and_write_fail(&mut near, within), read_and_write_fail(&mut far, within));
}

#[tokio::test]
async fn what_was_ended_beyond_harbors_is_read_to_its_end_by_one_whose_answers_nobody_takes() {
    const PIECES: usize = 40;
    const PIECE: usize = 10 << 10;
    let groups = Groups::new().await;
    let (mut near, mut far, _target) = both_ends(&groups).await;
    for _ in 0..PIECES {
        near.write_all(&[1; PIECE]).await.unwrap();
    }
    near.shutdown().await.unwrap();
    drop(near);
    let (mut read, mut piece) = (0, vec![0; PIECE]);
    let reading = async {
        loop {
            // It breaks at some time.
            far.write_all(b"got it").await.ok();
            match far.read(&mut piece).await.unwrap() {
                0 => return,
                len => read += len,
            }
        }
    };
    soon("the end", reading).await;
    assert_eq!(read, PIECES * PIECE);
    let write = async { while far.write_all(&[0; 1 << 10]).await.is_ok() {} };
    soon("the break of writes", write).await;
}

#[tokio::test]
async fn what_was_ended_beyond_harbors_is_read_to_its_end_however_late() {
    const FIRST: usize = 200 << 10;
    let groups = Groups::new().await;
    let (mut near, mut far, _target) = both_ends(&groups).await;
    let mut written = 0;
    let full = Duration::from_millis(300);
    while let Ok(Ok(len)) = tokio::time::timeout(full, near.write(&[1; 4 << 10])).await {
        written += len;
    }
    // Makes room for the end.
    far.read_exact(&mut vec![0; FIRST]).await.unwrap();
    soon("the end", near.shutdown()).await.unwrap();
    drop(near);
    groups.sender.shutdown(Duration::from_secs(1)).await;
    // Three times as long as a harbor hands on what has no end.
    let write = async { while far.write_all(&[0; 1 << 10]).await.is_ok() {} };
    let broke = tokio::time::timeout(Duration::from_millis(600), write).await;
    assert!(broke.is_err(), "it broke before its end was read");
    let mut rest = Vec::new();
    soon("the end", far.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(FIRST + rest.len(), written);
}

#[tokio::test]
async fn p05_streams_that_wait_beyond_harbors_hold_no_other_up() {
    // More than yamux leaves unacknowledged.
    const WAITING: u64 = 300;
    let groups = Groups::new().await;
    let absent = groups.cluster.absent("2.1.2");
    let _target = echo(groups.cluster.builder(TO)).start().await.unwrap();
    until("the harbor to know", || {
        groups.harbors[1].all_members().iter().any(|m| m.address == addr("2.1.2"))
    })
    .await;
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        let node = groups.sender.clone();
        waiting.spawn(async move { node.open_stream(addr("2.1.2"), "echo").await.map(drop) });
    }
    until("all to wait", || groups.harbors[0].stats().streams_relayed == WAITING).await;
    let (_stream, took) = timed("the stream", open(&groups.sender, TO)).await;
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    drop(absent);
}
