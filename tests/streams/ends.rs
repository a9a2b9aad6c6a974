//! How streams end, and how they break.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use seaway::{Break, Reason};

use super::support::proxy::{Flow, STREAM};
use super::*;

#[tokio::test]
async fn a_direction_ends_by_itself_and_the_other_goes_on() {
    const PIECES: usize = 512;
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    near.write_all(b"the question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut question = String::new();
    soon("the question", far.read_to_string(&mut question)).await.unwrap();
    assert_eq!(question, "the question");
    let piece: Vec<u8> = (0..16 << 10).map(|n: u32| n.to_le_bytes()[0]).collect();
    let writing = async {
        for _ in 0..PIECES {
            far.write_all(&piece).await.unwrap();
        }
        far.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let both = async { tokio::join!(writing, near.read_to_end(&mut answer)).1 };
    soon("the answer", both).await.unwrap();
    assert!(answer == piece.repeat(PIECES), "{} bytes came, others than were sent", answer.len());
    // An end stays one.
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(near.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

/// How an end breaks a stream off.
#[derive(Clone, Copy, Debug)]
enum Off {
    Drop,
    Reset(u16),
}

impl Off {
    const ALL: [Self; 3] = [Self::Drop, Self::Reset(0), Self::Reset(u16::MAX)];

    fn do_it(self, stream: Stream) {
        match self {
            Self::Drop => drop(stream),
            Self::Reset(code) => stream.reset(code),
        }
    }

    fn cause(self) -> Break {
        match self {
            Self::Drop => Break::Dropped,
            Self::Reset(code) => Break::Reset(code),
        }
    }
}

/// Opens a stream for each way to break one off, by the end that opened it and by the other one:
/// the end that breaks it, the one that is to see it, and the way.
async fn each(mut test: impl AsyncFnMut(Stream, Stream, Off)) {
    let mut pair = Pair::new().await;
    for off in Off::ALL {
        for is_near in [true, false] {
            let (near, far) = pair.open().await;
            let (one, other) = if is_near { (near, far) } else { (far, near) };
            test(one, other, off).await;
        }
    }
}

#[tokio::test]
async fn what_breaks_a_stream_before_its_first_byte_is_seen_by_reads_and_writes() {
    each(async |one, mut other, off| {
        off.do_it(one);
        assert_eq!(read_broken(&mut other).await, (Vec::new(), off.cause()));
        assert_eq!(write_broken(&mut other).await, off.cause());
        assert_eq!(cause(other.shutdown().await), off.cause());
    })
    .await;
}

#[tokio::test]
async fn what_breaks_a_stream_behind_bytes_is_no_end_of_them() {
    each(async |mut one, mut other, off| {
        one.write_all(b"not all").await.unwrap();
        other.write_all(b"never read").await.unwrap();
        off.do_it(one);
        assert_eq!(write_broken(&mut other).await, off.cause());
        let (read, cause) = read_broken(&mut other).await;
        assert!(b"not all".starts_with(&read[..]), "{read:?}");
        assert_eq!(cause, off.cause());
    })
    .await;
}

#[tokio::test]
async fn what_breaks_a_stream_whose_reader_has_ended_its_own_direction_is_seen_by_its_reads() {
    each(async |one, mut other, off| {
        other.write_all(b"all").await.unwrap();
        other.shutdown().await.unwrap();
        off.do_it(one);
        assert_eq!(read_broken(&mut other).await, (Vec::new(), off.cause()));
    })
    .await;
}

#[tokio::test]
async fn what_breaks_a_stream_behind_an_end_breaks_writes_only() {
    each(async |mut one, mut other, off| {
        one.write_all(b"all").await.unwrap();
        one.shutdown().await.unwrap();
        off.do_it(one);
        assert_eq!(write_broken(&mut other).await, off.cause());
        let mut read = Vec::new();
        soon("the end", other.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, b"all");
    })
    .await;
}

/// Begins to do something that is not done at once, then does something else.
async fn blocked<F: Future>(doing: F, then: impl FnOnce()) -> F::Output {
    let mut doing = pin!(doing);
    let is_done = std::future::poll_fn(|cx| Poll::Ready(doing.as_mut().poll(cx).is_ready()));
    assert!(!is_done.await, "it was to be blocked");
    then();
    soon("what was blocked", doing).await
}

#[tokio::test]
async fn what_breaks_a_stream_wakes_the_reader() {
    each(async |one, mut other, off| {
        let outcome = blocked(other.read_u8(), || off.do_it(one)).await;
        assert_eq!(cause(outcome), off.cause());
    })
    .await;
}

#[tokio::test]
async fn what_breaks_a_stream_wakes_the_writer_before_a_full_window() {
    each(async |one, mut other, off| {
        fill(&mut other).await;
        let outcome = blocked(other.write_all(b"one more"), || off.do_it(one)).await;
        assert_eq!(cause(outcome), off.cause());
    })
    .await;
}

#[tokio::test]
async fn what_breaks_a_stream_wakes_a_reader_and_a_writer_at_once() {
    each(async |one, mut other, off| {
        fill(&mut other).await;
        let (mut reader, mut writer) = split(other);
        let both = async { tokio::join!(reader.read_u8(), writer.write_all(b"one more")) };
        let (read, written) = blocked(both, || off.do_it(one)).await;
        assert_eq!((cause(read), cause(written)), (off.cause(), off.cause()));
    })
    .await;
}

#[tokio::test]
async fn an_open_stream_dropped_before_its_acceptance_is_known_reaches_the_handler_as_a_drop() {
    let (line, mut arriving) = handed_line(Config::default(), Config::default()).await;
    let stream = soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
    assert_eq!(soon("the echo", exchange(stream, b"there")).await.unwrap(), b"there");
    line.proxy.outward(STREAM, Flow::Stall);
    let mut far = {
        let mut opening = pin!(line.sender.open_stream(addr(FAR), "hand").into_future());
        tokio::select! {
            opened = &mut opening => panic!("{opened:?} although its acceptance is on its way"),
            far = soon("the stream", arriving.recv()) => far.unwrap(),
        }
    };
    assert_eq!(read_broken(&mut far).await, (Vec::new(), Break::Dropped));
    assert_eq!(write_broken(&mut far).await, Break::Dropped);
}

#[tokio::test]
async fn a_handler_that_drops_or_resets_at_once_has_accepted_the_stream() {
    let cluster = Cluster::new();
    let near = cluster.node(NEAR).await;
    let builder = cluster.builder(FAR).on_stream("drop", |_, stream| async { drop(stream) });
    let builder = builder.on_stream("reset", |_, stream| async { stream.reset(9) });
    let _far = builder.start().await.unwrap();
    for _ in 0..200 {
        for (service, wanted) in [("drop", Break::Dropped), ("reset", Break::Reset(9))] {
            let opened = soon("the stream", near.open_stream(addr(FAR), service)).await;
            assert_eq!(read_broken(&mut opened.unwrap()).await, (Vec::new(), wanted));
        }
    }
}

#[tokio::test]
async fn a_handler_that_was_refused_leaves_no_stream_behind() {
    let mut pair = Pair::new().await;
    for _ in 0..20 {
        let refused = soon("no", pair.near.open_stream(addr(FAR), "chat")).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Unimplemented);
    }
    let (near, far) = pair.open().await;
    drop(far);
    drop(near);
    assert_eq!(pair.near.stats().streams_opened, 1);
    assert_eq!(pair.far.stats().streams_refused, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_replies_ends_and_returns_at_once_is_read_to_its_end() {
    let cluster = Cluster::new();
    let near = cluster.node(NEAR).await;
    let builder = cluster.builder(FAR).on_stream("reply", |_, mut stream| async move {
        let len = stream.read_u32().await.unwrap();
        stream.write_all(&vec![1; len as usize]).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let _far = builder.start().await.unwrap();
    for n in 0..500 {
        let mut stream = soon("it", near.open_stream(addr(FAR), "reply")).await.unwrap();
        let len = n * 97 % 50_000;
        stream.write_u32(len).await.unwrap();
        // No handler reads the end, and it may be gone before that is written.
        if n % 2 == 0
            && let Err(error) = stream.shutdown().await
        {
            assert_eq!(cause::<()>(Err(error)), Break::Dropped);
        }
        let mut reply = Vec::new();
        soon("the reply", stream.read_to_end(&mut reply)).await.unwrap();
        assert_eq!(reply.len(), len as usize);
    }
}

#[tokio::test]
async fn what_was_written_before_a_break_is_read_before_it() {
    let mut pair = Pair::new().await;
    for round in 0..20 {
        let (mut near, mut far) = pair.open().await;
        for n in 0..200_u8 {
            near.write_all(&[n; 1000]).await.unwrap();
        }
        if round % 2 == 0 {
            near.reset(5);
        } else {
            drop(near);
        }
        let (read, why) = read_broken(&mut far).await;
        assert_eq!(why, if round % 2 == 0 { Break::Reset(5) } else { Break::Dropped });
        assert_eq!(read.len(), 200_000);
    }
}
