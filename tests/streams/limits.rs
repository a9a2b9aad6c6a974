//! How many streams there may be, for how long, and until when they are accepted.

use std::task::Poll;
use std::time::Duration;

use seaway::Reason;
use tokio::task::JoinSet;

use super::support::proxy::{Flow, STREAM};
use super::support::{timed, until};
use super::*;

async fn refused(node: &Node, service: &str) -> seaway::SendError {
    soon("no", node.open_stream(addr(FAR), service)).await.unwrap_err()
}

#[tokio::test]
async fn one_stream_more_than_the_opening_node_may_have_is_refused_by_itself() {
    let mut pair = Pair::with(config(|config| config.streams_max = 2), Config::default()).await;
    let _two = [pair.open().await, pair.open().await];
    let refusal = refused(&pair.near, "hand").await;
    assert_eq!(refusal.reason, Reason::Busy);
    let text = "this node has 2 streams to 1.2.1 open, its `streams_max`";
    assert_eq!(refusal.detail, text);
    // Those of the other direction count apart.
    let back = soon("a stream", pair.far.open_stream(addr(NEAR), "echo")).await.unwrap();
    assert_eq!(soon("the echo", exchange(back, b"back")).await.unwrap(), b"back");
}

#[tokio::test]
async fn one_stream_more_than_the_other_node_takes_is_refused_there() {
    let mut pair = Pair::with(Config::default(), config(|config| config.streams_max = 2)).await;
    let (mut near, mut far) = pair.open().await;
    let _other = pair.open().await;
    for n in 1..=10 {
        let refusal = refused(&pair.near, "hand").await;
        assert_eq!(refusal.reason, Reason::Busy);
        let text =
            "it takes no more than 2 at once from one peer, its `streams_max`; said by 1.2.1";
        assert_eq!(refusal.detail, text);
        assert_eq!(pair.far.stats().streams_refused, n);
    }
    // The others have not noticed.
    near.write_all(b"still").await.unwrap();
    near.shutdown().await.unwrap();
    let mut read = String::new();
    soon("the end", far.read_to_string(&mut read)).await.unwrap();
    assert_eq!(read, "still");
}

/// Ways in which a stream is over.
#[derive(Clone, Copy, Debug)]
enum Over {
    BothEnded,
    DroppedHere,
    DroppedThere,
    ResetHere,
    ResetThere,
    Refused,
}

impl Over {
    const ALL: [Self; 6] = [
        Self::BothEnded,
        Self::DroppedHere,
        Self::DroppedThere,
        Self::ResetHere,
        Self::ResetThere,
        Self::Refused,
    ];

    /// Has one that comes to this end.
    async fn happen(self, pair: &mut Pair) {
        if matches!(self, Self::Refused) {
            let refusal = open_at_last(&pair.near, "chat").await.unwrap_err();
            assert_eq!(refusal.reason, Reason::Unimplemented);
            return;
        }
        let mut near = open_at_last(&pair.near, "hand").await.unwrap();
        let mut far = pair.arrived().await;
        match self {
            Self::BothEnded => {
                near.shutdown().await.unwrap();
                far.shutdown().await.unwrap();
                soon("an end", near.read_to_end(&mut Vec::new())).await.unwrap();
                soon("an end", far.read_to_end(&mut Vec::new())).await.unwrap();
            }
            Self::DroppedHere => drop(near),
            Self::DroppedThere => drop(far),
            Self::ResetHere => near.reset(1),
            _ => far.reset(1),
        }
    }
}

/// What comes of opening one, once there is a place.
async fn open_at_last(node: &Node, service: &str) -> Result<Stream, seaway::SendError> {
    let opening = async {
        loop {
            match node.open_stream(addr(FAR), service).await {
                Err(error) if error.reason == Reason::Busy => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    };
    soon("a place", opening).await
}

#[tokio::test]
async fn a_place_is_free_again_however_a_stream_is_over() {
    // Once the opening end has one place, once the other.
    for is_near in [true, false] {
        let limited = |is_it| config(|config| config.streams_max = if is_it { 1 } else { 1_024 });
        let mut pair = Pair::with(limited(is_near), limited(!is_near)).await;
        for _ in 0..20 {
            for over in Over::ALL {
                over.happen(&mut pair).await;
            }
        }
    }
}

/// How many connections two nodes have made, pulses and all.
fn made(one: &Node, two: &Node) -> u64 {
    one.stats().dialed + two.stats().dialed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_carried_all_it_may_is_left_and_its_streams_go_on() {
    const STREAMS: usize = 20;
    let few = config(|config| config.streams_per_connection_max = 3);
    let mut pair = Pair::with(few, Config::default()).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(pair.open().await);
    }
    assert_eq!(made(&pair.near, &pair.far), 1 + STREAMS.div_ceil(3) as u64);
    for (n, (near, far)) in open.iter_mut().enumerate() {
        near.write_all(&[u8::try_from(n).unwrap(); 1_000]).await.unwrap();
        near.shutdown().await.unwrap();
        let mut read = Vec::new();
        soon("the bytes", far.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, [u8::try_from(n).unwrap(); 1_000]);
        far.write_all(b"yes").await.unwrap();
        far.shutdown().await.unwrap();
        let mut read = Vec::new();
        soon("the answer", near.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, b"yes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_left_by_both_ends_at_once_and_no_stream_suffers() {
    const STREAMS: usize = 120;
    let few = || config(|config| config.streams_per_connection_max = 3);
    let pair = Pair::with(few(), few()).await;
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let (node, to) = if n % 2 == 0 { (&pair.near, FAR) } else { (&pair.far, NEAR) };
        let node = node.clone();
        streams.spawn(async move {
            let opening = node.open_stream(addr(to), "echo").within(Duration::from_secs(20));
            let bytes = n.to_le_bytes().repeat(2_000);
            assert!(exchange(opening.await.unwrap(), &bytes).await.unwrap() == bytes);
        });
    }
    soon("all streams", streams.join_all()).await;
}

#[tokio::test]
async fn a_connection_that_was_left_is_closed_behind_its_last_stream() {
    let line = Line::with(
        |sender| sender.config(config(|config| config.streams_per_connection_max = 3)),
        echo,
    )
    .await;
    let open = async || soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(open().await);
    }
    let last = open().await;
    assert_eq!(line.proxy.open(STREAM), 2);
    for stream in first {
        assert_eq!(soon("the echo", exchange(stream, b"old")).await.unwrap(), b"old");
    }
    until("the end of the first connection", || line.proxy.open(STREAM) == 1).await;
    assert_eq!(soon("the echo", exchange(last, b"new")).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_place_is_free_again_when_its_opening_is_given_up() {
    for is_near in [true, false] {
        let limited = |is_it| config(|config| config.streams_max = if is_it { 1 } else { 1_024 });
        let (line, mut arriving) = handed_line(limited(is_near), limited(!is_near)).await;
        for _ in 0..5 {
            let stream = open_at_last(&line.sender, "echo").await.unwrap();
            assert_eq!(soon("the echo", exchange(stream, b"x")).await.unwrap(), b"x");
            line.proxy.outward(STREAM, Flow::Stall);
            let opening = open_at_last(&line.sender, "hand");
            let far = tokio::select! {
                opened = opening => panic!("{opened:?} although its acceptance is on its way"),
                far = soon("the stream", arriving.recv()) => far.unwrap(),
            };
            line.proxy.outward(STREAM, Flow::Pass);
            drop(far);
        }
    }
}

/// Lets each task that can run be polled once, or less often.
async fn step() {
    let mut has_run = false;
    let once = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut has_run, true) { Poll::Ready(()) } else { Poll::Pending }
    });
    once.await;
}

// In one thread, where each step of an opening is met.
#[tokio::test]
async fn openings_that_are_given_up_at_any_moment_keep_no_connection() {
    let few = || config(|config| config.streams_per_connection_max = 100);
    let line =
        Line::with(|sender| echo(sender).config(few()), |node| echo(node).config(few())).await;
    let open = async || soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
    drop(open().await);
    let (near, far) = (line.sender.clone(), line.receiver.clone());
    // In a task, because the test itself does not take turns with those.
    let giving_up = tokio::spawn(async move {
        for n in 0..2_000 {
            for (node, to) in [(&near, FAR), (&far, NEAR)] {
                let node = node.clone();
                let opening =
                    tokio::spawn(async move { drop(node.open_stream(addr(to), "echo").await) });
                for _ in 0..n % 40 {
                    step().await;
                }
                opening.abort();
                opening.await.ok();
            }
        }
    });
    soon("all of them", giving_up).await.unwrap();
    let last = open().await;
    assert!(line.proxy.made(STREAM) > 1);
    until("the end of all connections but one", || line.proxy.open(STREAM) == 1).await;
    assert_eq!(soon("the echo", exchange(last, b"new")).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_stream_that_does_not_move_breaks_at_both_ends_and_one_that_moves_stays() {
    let idle = Duration::from_millis(400);
    for is_near in [true, false] {
        let limited = |is_it: bool| {
            config(|config| config.stream_idle_timeout = if is_it { idle } else { Duration::ZERO })
        };
        let mut pair = Pair::with(limited(is_near), limited(!is_near)).await;
        let (mut moving, mut moved) = pair.open().await;
        let (mut near, mut far) = pair.open().await;
        near.write_all(b"x").await.unwrap();
        far.read_u8().await.unwrap();
        let traffic = async {
            let mut pace = tokio::time::interval(idle / 20);
            loop {
                pace.tick().await;
                moving.write_u8(1).await.unwrap();
                moved.read_u8().await.unwrap();
            }
        };
        let breaks = async {
            let ((_, near_broke), took) = timed("the break", read_broken(&mut near)).await;
            assert_eq!(near_broke, Break::Idle);
            assert!(took >= idle / 2 && took < idle * 5, "it took {took:?}");
            assert_eq!(read_broken(&mut far).await.1, Break::Idle);
            assert_eq!(write_broken(&mut near).await, Break::Idle);
            assert_eq!(write_broken(&mut far).await, Break::Idle);
        };
        tokio::select! {
            () = traffic => unreachable!(),
            () = breaks => {}
        }
        moving.shutdown().await.unwrap();
        soon("its end", moved.read_to_end(&mut Vec::new())).await.unwrap();
    }
}

#[tokio::test]
async fn p05_a_stream_to_an_absent_peer_expires_in_time_and_holds_no_other_up() {
    let within = Duration::from_millis(500);
    let cluster = Cluster::new();
    let _nobody = cluster.absent("1.2.2");
    let near = cluster.node(NEAR).await;
    let _far = echo(cluster.builder(FAR)).start().await.unwrap();
    let absent = async {
        let opening = near.open_stream(addr("1.2.2"), "echo").within(within).into_future();
        let (refused, took) = timed("the refusal", opening).await;
        assert_eq!(refused.unwrap_err().reason, Reason::Expired);
        assert!(took >= within * 9 / 10 && took < within * 3, "it took {took:?}");
    };
    let present = async {
        let mut stream = near.open_stream(addr(FAR), "echo").await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    };
    let present = async { timed("the echo", present).await.1 };
    let ((), took) = tokio::join!(absent, present);
    assert!(took < within, "it waited {took:?} for another one");
}

#[tokio::test]
async fn p05_a_stream_to_a_peer_that_says_nothing_expires_in_time() {
    let within = Duration::from_millis(500);
    for (is_new, is_deaf) in [(true, true), (true, false), (false, true), (false, false)] {
        let line = Line::with(|sender| sender, echo).await;
        if !is_new {
            let stream =
                soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
            assert_eq!(soon("the echo", exchange(stream, b"x")).await.unwrap(), b"x");
        }
        if is_deaf {
            line.proxy.inward(STREAM, Flow::Stall);
        } else {
            line.proxy.outward(STREAM, Flow::Stall);
        }
        let opening = line.sender.open_stream(addr(FAR), "echo").within(within).into_future();
        let (refused, took) = timed("the refusal", opening).await;
        assert_eq!(refused.unwrap_err().reason, Reason::Expired);
        assert!(took >= within * 9 / 10 && took < within * 3, "it took {took:?}");
        line.proxy.inward(STREAM, Flow::Pass);
        line.proxy.outward(STREAM, Flow::Pass);
        let stream = soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
        assert_eq!(soon("the echo", exchange(stream, b"y")).await.unwrap(), b"y");
    }
}
