//! Moves bytes between a connection and a lane. Needs only `AsyncRead` and `AsyncWrite`.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;

use super::home::{Flow, Inbound, Violation};
use super::lane::{Lane, Ready};
use super::outbox::{Batch, Unsent};
use super::read_buffer::ReadBuffer;
use super::session::Session;
use crate::clock::Millis;
use crate::net;
use crate::wire::{FrameError, FrameLimits, Reason, decode};

/// Frames handled before the reader looks whether it is the turn of other tasks, the writer among
/// them: a look at the clock costs as much as a fifth of a frame.
const FRAMES_PER_LOOK: u32 = 64;
/// How long it goes on: as long as a task should at most between two awaits (Ryhl, "Async: What is
/// blocking?"). Less is dear, for each yield may wake another worker that finds nothing to do.
const TURN: Duration = Duration::from_micros(100);

/// What a write waits for, if a crowd may put more frames: a part of it, and not all, so that this
/// end and the other one work at the same time; but no fewer frames than pay for the write. With one
/// processor there is little to gain by that, and larger batches cost less.
const CROWD_PARTS: u64 = 4;
const FRAMES_MIN: u64 = 16;

/// Why a reader or writer stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum PumpError {
    /// The driver ended the session.
    #[error("ended by this node")]
    Ended,
    /// The peer closed its end.
    #[error("closed by the peer")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke a rule of the wire.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer broke a rule above the wire.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// This process stood still for so long that the peer may have given it up.
    #[error("this node stood still for longer than its peers wait")]
    Frozen,
}

/// Hands what arrives to `inbound`, until the session ends.
pub(super) async fn read(
    mut io: impl AsyncRead + Unpin,
    session: Arc<Session>,
    mut inbound: Box<dyn Inbound>,
) -> PumpError {
    let reading = read_on(&mut io, &session, inbound.as_mut());
    let Err(error) = until_over(&session, reading).await;
    inbound.on_end();
    if matches!(error, PumpError::Ended) {
        net::read_out(&mut io).await;
    }
    error
}

async fn read_on(
    io: &mut (impl AsyncRead + Unpin),
    session: &Session,
    inbound: &mut dyn Inbound,
) -> Result<Infallible, PumpError> {
    let limits = FrameLimits { body_bytes_max: session.frame_bytes_max };
    let mut buffer = ReadBuffer::default();
    let (mut began, mut left) = (Instant::now(), FRAMES_PER_LOOK);
    loop {
        let (read, has_waited) = noting_waits(pin!(buffer.fill(io))).await;
        if has_waited {
            (began, left) = (Instant::now(), FRAMES_PER_LOOK);
        }
        let read = read?;
        if read == 0 {
            return Err(PumpError::Closed);
        }
        // A peer that sends and sends must not hide the end.
        if session.is_over() {
            return Err(PumpError::Ended);
        }
        let link = &session.link;
        let now = link.home.clock.now();
        if !session.on_heard(now) {
            return Err(PumpError::Frozen);
        }
        loop {
            let turn = take_turn(buffer.bytes(), limits, inbound, &mut left, now);
            // Also behind what ends the lane: those before it count.
            inbound.on_pause(now);
            match turn? {
                Pause::Read => break,
                Pause::Wait => poll_fn(|cx| inbound.poll_ready(cx)).await?,
                Pause::Look => {
                    if began.elapsed() >= TURN {
                        yield_now().await;
                        began = Instant::now();
                    }
                    left = FRAMES_PER_LOOK;
                }
            }
        }
    }
}

/// Says with the outcome whether it was waited for: others had their turn then.
async fn noting_waits<T>(mut work: Pin<&mut impl Future<Output = T>>) -> (T, bool) {
    let mut has_waited = false;
    let outcome = poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        has_waited |= polled.is_pending();
        polled
    });
    (outcome.await, has_waited)
}

/// Why a reader hands over no more frames for now.
enum Pause {
    /// There is no whole one.
    Read,
    /// The next one may come later only.
    Wait,
    /// Others may have their turn.
    Look,
}

/// Hands over the frames that are there, until there is a reason to pause.
fn take_turn(
    bytes: &mut BytesMut,
    limits: FrameLimits,
    inbound: &mut dyn Inbound,
    left: &mut u32,
    now: Millis,
) -> Result<Pause, PumpError> {
    while *left > 0 {
        let Ok(frame) = decode(bytes, limits)? else { return Ok(Pause::Read) };
        *left -= 1;
        if inbound.on_frame(frame, now)? == Flow::Wait {
            return Ok(Pause::Wait);
        }
    }
    Ok(Pause::Look)
}

/// Lets the tasks that are ready add their frames to the same write, until there are enough.
async fn gather(lane: &Lane, enough: u64) {
    let mut ready = pin!(async {
        yield_now().await;
        yield_now().await;
    });
    poll_fn(|cx| match lane.poll_enough(enough, cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => ready.as_mut().poll(cx),
    })
    .await;
}

/// Works until the session is over.
async fn until_over<T>(
    session: &Session,
    work: impl Future<Output = Result<T, PumpError>>,
) -> Result<T, PumpError> {
    let (mut work, mut ended) = (pin!(work), pin!(session.ended.cancelled()));
    let mut known: Option<Waker> = None;
    poll_fn(|cx| {
        if session.is_over() {
            return Poll::Ready(Err(PumpError::Ended));
        }
        // A task is woken by the same waker all its life: it registers once, and not at each poll.
        if !known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            if ended.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(PumpError::Ended));
            }
            known = Some(cx.waker().clone());
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Writes what waits, until the session ends; gives back what it had taken and not written.
pub(super) async fn write(
    mut io: impl AsyncWrite + Unpin,
    session: Arc<Session>,
    expired: impl Fn(Unsent, Reason),
) -> (Batch, PumpError) {
    let mut batch = Batch::default();
    let writing = write_on(&mut io, &session, &mut batch, expired);
    let Err(error) = until_over(&session, writing).await;
    if matches!(error, PumpError::Ended) {
        // So that the peer sees an end and not a reset, which would destroy what it has not read.
        drop(io.shutdown().await);
    }
    (batch, error)
}

async fn write_on(
    io: &mut (impl AsyncWrite + Unpin),
    session: &Session,
    batch: &mut Batch,
    report: impl Fn(Unsent, Reason),
) -> Result<Infallible, PumpError> {
    let link = &session.link;
    let lane = link.lane(session.lane);
    let clock = link.home.clock;
    let mut crowd = 0;
    loop {
        let ready = poll_fn(|cx| lane.poll_ready(batch, || session.is_finishing(), cx));
        if ready.await == Ready::Last {
            io.shutdown().await?;
            return pending().await;
        }
        crowd = crowd.max(link.crowd(session.lane));
        if crowd > 1 {
            let parts = if link.home.has_processors() { CROWD_PARTS } else { 1 };
            gather(lane, (crowd / parts).max(FRAMES_MIN)).await;
        }
        let mut expired = Vec::new();
        lane.take(clock.now(), batch, &mut expired);
        // Callers, too, who will put their next frames when they have their replies: a writer that
        // runs right after each of them finds one frame each time, however many they are.
        crowd = link.crowd(session.lane).max(batch.frames.into());
        for unsent in expired {
            report(unsent, Reason::Expired);
        }
        while !batch.chunk().is_empty() {
            let written = io.write(batch.chunk()).await?;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            batch.advance(written);
            lane.on_written(batch.left(), clock.lately());
        }
    }
}
