//! One lane of a link: its outbox, its account, and those who wait for room.

mod put;
mod share;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::account::Account;
use super::home::Home;
use super::line::Line;
use super::outbox::{Batch, Bounds, Handed, Outbox, Unsent};
use super::session::Session;
use crate::clock::Millis;
use crate::config::Config;
use crate::incarnation::Incarnation;
use crate::loss::Loss;
use crate::wire::{Counts, Frame, Header, Reason};
pub(crate) use put::{LONGER, Put, PutError};
use share::Share;

/// See the module.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// Wakes the driver: frames wait and the lane is not up.
    demand: Arc<Notify>,
    /// The peer drains and takes nothing new.
    is_draining: Arc<AtomicBool>,
    /// Those who wait for room.
    line: Line,
    /// When the writer last moved.
    moved: AtomicU64,
    /// How many need the lane to be up, though no frame waits.
    wanted: AtomicUsize,
}

/// Keeps a lane wanted; see [`Lane::want`].
#[derive(Debug)]
pub(crate) struct Wanted<'a>(&'a Lane);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a writer has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// To write frames.
    Frames,
    /// To end.
    Last,
}

/// What each put changes lies in front, behind the lock.
#[derive(Debug)]
#[repr(C)]
struct Queue {
    outbox: Outbox,
    /// The writer, while it waits for frames.
    writer: Option<Waker>,
    /// How many frames it waits for.
    wanted: u64,
    /// Put since it has taken some.
    put: u64,
    session: Option<Arc<Session>>,
    /// Has been full and is not yet half empty: so that those who wait for room do not wait for it
    /// frame by frame.
    is_congested: bool,
    closed: Option<Reason>,
    /// What of it belongs to others.
    share: Share,
    /// Final counts of the last session that the peer knows of, for the next handshake.
    last: Counts,
    account: Account,
}

impl Lane {
    pub(super) fn new(
        config: &Config,
        passing: Arc<AtomicUsize>,
        demand: Arc<Notify>,
        is_draining: Arc<AtomicBool>,
    ) -> Self {
        let bounds = Bounds {
            bytes_max: config.outbox_bytes_max,
            reserve: config.outbox_reserve_bytes,
            pair_bytes_max: config.pair_bytes_max,
        };
        Self {
            queue: Mutex::new(Queue {
                outbox: Outbox::new(bounds),
                account: Account::default(),
                session: None,
                last: Counts::default(),
                writer: None,
                wanted: 1,
                put: 0,
                is_congested: false,
                closed: None,
                share: Share::new(passing, config.relay_bytes_max),
            }),
            demand,
            is_draining,
            line: Line::default(),
            moved: AtomicU64::new(0),
            wanted: AtomicUsize::new(0),
        }
    }

    /// Has the lane connected, for as long as the value is kept.
    pub(crate) fn want(&self) -> Wanted<'_> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        self.demand.notify_one();
        Wanted(self)
    }

    /// Puts a frame into the outbox, or fails at once. `body` writes extension and body; it runs
    /// under the lane's lock. Returns the frame's position.
    pub(crate) fn put(&self, put: Put, body: impl FnOnce(&mut Vec<u8>)) -> Result<u64, PutError> {
        let id = put.header.id;
        self.put_prepared(put, |position| Ok((id, position)), body)
    }

    /// The same, but under the lock `prepare` is told the frame's position first, and gives it an
    /// id.
    pub(crate) fn put_prepared<T>(
        &self,
        mut put: Put,
        prepare: impl FnOnce(u64) -> Result<(u64, T), PutError>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<T, PutError> {
        // Goes after the lock should `body` panic: what it leaves behind may need the lane.
        let prepared;
        let mut queue = self.queue.lock();
        queue.check(&put, self.is_draining())?;
        (put.header.id, prepared) = prepare(queue.outbox.next_position())?;
        queue.put(put, body)?;
        self.wake(queue);
        Ok(prepared)
    }

    /// Puts frames one after another under one lock, each with what writes its extension and body.
    /// Returns the places of those that were refused, and why.
    pub(crate) fn put_all<W: FnOnce(&mut Vec<u8>)>(
        &self,
        puts: impl Iterator<Item = (Put, W)>,
    ) -> Vec<(usize, PutError)> {
        let mut refused = Vec::new();
        let mut queue = self.queue.lock();
        let is_draining = self.is_draining();
        let before = queue.put;
        for (place, (put, body)) in puts.enumerate() {
            let outcome = queue.check(&put, is_draining).and_then(|()| queue.put(put, body));
            refused.extend(outcome.err().map(|error| (place, error)));
        }
        if queue.put > before {
            self.wake(queue);
        }
        refused
    }

    /// Asked under the lock: the pong that tells the peer that nothing new follows is put there, too.
    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    fn wake(&self, mut queue: parking_lot::MutexGuard<'_, Queue>) {
        queue.count_passing();
        let writer = if queue.put < queue.wanted { None } else { queue.writer.take() };
        let is_down = queue.session.is_none();
        drop(queue);
        match writer {
            Some(writer) => writer.wake(),
            None if is_down => self.demand.notify_one(),
            None => {}
        }
    }

    /// Lets a writer that waits for frames look whether it is to finish.
    pub(super) fn wake_writer(&self) {
        let writer = self.queue.lock().writer.take();
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Waits in line for room, until `deadline`, then lets `attempt` put its frame; it is called
    /// again while it says [`PutError::Full`].
    ///
    /// # Cancel safety
    ///
    /// When dropped, nothing was put and the place in the line is free.
    pub(crate) async fn in_line<T>(
        &self,
        home: &Home,
        deadline: Millis,
        attempt: impl FnMut() -> Result<T, PutError>,
    ) -> Result<T, PutError> {
        self.line.wait(home, deadline, PutError::Full, attempt).await
    }

    /// Takes a request back. `true`: it was not sent and will not be.
    pub(crate) fn void(&self, position: u64) -> bool {
        self.queue.lock().outbox.void(position)
    }

    /// Whether the session that carried the frame at `position` is still up.
    pub(crate) fn is_carrying(&self, position: u64) -> bool {
        let queue = self.queue.lock();
        queue.session.is_some() && queue.outbox.is_of_session(position)
    }

    /// What the current session has received; `None` without one.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.queue.lock().session.as_ref().map(|session| session.counts())
    }

    pub(super) fn on_told(&self, counts: Counts) {
        self.queue.lock().account.on_told(counts);
    }

    /// A one-way frame of this session came back; `false` if it is counted as lost already.
    #[must_use]
    pub(crate) fn on_bounce(&self, session: u64) -> bool {
        self.queue.lock().account.on_bounce(session)
    }

    pub(super) fn on_bounces_gone(&self) -> Option<Loss> {
        let mut queue = self.queue.lock();
        queue.account.on_bounces_gone()
    }

    pub(super) fn on_reborn(&self) {
        let mut queue = self.queue.lock();
        queue.account.forget();
        queue.last = Counts::default();
    }

    /// The session to name in a handshake, with what was received on it.
    pub(super) fn last(&self) -> Counts {
        self.queue.lock().last
    }

    /// Whether frames wait, or somebody.
    pub(super) fn has_waiting(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0 || self.queue.lock().outbox.waiting() > 0
    }

    /// Whether the peer has told of all one-way frames that were handed to it in this session.
    pub(super) fn is_settled(&self) -> bool {
        let queue = self.queue.lock();
        queue.account.is_settled(queue.outbox.one_way_taken())
    }

    /// Whether nothing waits and nothing is being written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.queue.lock().outbox.queued() == 0
    }

    /// Waits until nothing is queued, at most for `limit`.
    pub(crate) async fn flushed(&self, limit: Duration) {
        let wait = async {
            while !self.is_flushed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Who waits for this has done what can be done when the time is over.
        drop(tokio::time::timeout(limit, wait).await);
    }

    /// When the first waiting frame may expire.
    pub(super) fn earliest_deadline(&self) -> Millis {
        self.queue.lock().outbox.earliest_deadline()
    }

    /// When the writer last moved, and since when it is stuck, if it is.
    pub(super) fn progress(&self) -> (Millis, Option<Millis>) {
        let moved = Millis(self.moved.load(Ordering::Relaxed));
        let queue = self.queue.lock();
        let is_writing = queue.outbox.queued() > queue.outbox.waiting();
        (moved, is_writing.then_some(moved))
    }

    /// Takes out what has expired.
    pub(super) fn sweep(&self, now: Millis) -> Vec<Unsent> {
        let mut expired = Vec::new();
        let mut queue = self.queue.lock();
        queue.outbox.sweep(now, &mut expired);
        queue.outbox.free_idle(now);
        self.relieve(queue);
        expired
    }

    /// Takes out all messages and requests that wait, and without a session all that answers; with
    /// `closed`, none are let in any more.
    pub(super) fn drain(&self, closed: Option<Reason>) -> Vec<Unsent> {
        let mut drained = Vec::new();
        let mut queue = self.queue.lock();
        queue.closed = queue.closed.or(closed);
        let is_up = queue.session.is_some();
        queue.outbox.drain(is_up, &mut drained);
        queue.count_passing();
        // Those who wait must hear of it, whatever is still in the queue.
        queue.is_congested = false;
        drop(queue);
        self.line.wake();
        drained
    }

    /// Takes back the waiting frames that are wanted, to go another way.
    pub(crate) fn extract(&self, now: Millis, is_wanted: impl Fn(&Header) -> bool) -> Vec<Frame> {
        let mut queue = self.queue.lock();
        let extracted = queue.outbox.extract(now, is_wanted);
        self.relieve(queue);
        extracted
    }

    /// Lets frames in again.
    pub(super) fn reopen(&self) {
        self.queue.lock().closed = None;
    }

    /// A session begins; `settled` is what the peer said of the last one.
    pub(super) fn begin(
        &self,
        session: &Arc<Session>,
        settled: Option<Counts>,
        incarnation: Incarnation,
        now: Millis,
    ) -> (Option<Loss>, Vec<Unsent>) {
        let mut queue = self.queue.lock();
        // Who names no session has received nothing on any.
        let loss = queue.account.settle(settled.unwrap_or_default());
        queue.account.begin(session.id);
        let mut too_large = Vec::new();
        queue.outbox.begin_session(incarnation, session.frame_bytes_max, &mut too_large);
        queue.session = Some(Arc::clone(session));
        queue.writer = None;
        self.moved.store(now.0, Ordering::Relaxed);
        (loss, too_large)
    }

    /// The session is over. `last` is what was received on it, `batch` what its writer left.
    pub(super) fn end(&self, last: Counts, batch: &mut Batch) -> (Handed, Option<Loss>) {
        let mut queue = self.queue.lock();
        if queue.session.take().is_some_and(|session| session.is_known()) {
            queue.last = last;
        }
        // Its writer is gone: who puts a frame now has to wake the driver.
        queue.writer = None;
        let handed = queue.outbox.end_session(batch);
        let loss = queue.account.end(handed.one_way);
        self.relieve(queue);
        (handed, loss)
    }

    /// No session is left that what waits could be about, and none shall be made for it: drops it,
    /// and returns how many bounces that were.
    pub(super) fn drop_fleeting(&self) -> u64 {
        let mut queue = self.queue.lock();
        let bounces = queue.outbox.drop_fleeting();
        self.relieve(queue);
        bounces
    }

    /// So many of the bounces of the last session will never be sent: what they were about is lost.
    pub(super) fn on_bounces_dropped(&self, bounces: u64) {
        let last = &mut self.queue.lock().last;
        last.bounced = last.bounced.saturating_sub(bounces);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.queue.lock().session.is_some()
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.queue.lock().session.clone()
    }

    /// Waits until frames wait, or `is_last`: then there are none, and there will be none.
    pub(super) fn poll_ready(
        &self,
        batch: &mut Batch,
        is_last: impl FnOnce() -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Ready> {
        let mut queue = self.queue.lock();
        if queue.outbox.waiting() > 0 {
            return Poll::Ready(Ready::Frames);
        }
        if is_last() {
            return Poll::Ready(Ready::Last);
        }
        queue.outbox.rest(batch);
        (queue.writer, queue.wanted) = (Some(cx.waker().clone()), 1);
        Poll::Pending
    }

    /// Waits until so many frames have been put since the last were taken.
    pub(super) fn poll_enough(&self, frames: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        if queue.put >= frames {
            return Poll::Ready(());
        }
        (queue.writer, queue.wanted) = (Some(cx.waker().clone()), frames);
        Poll::Pending
    }

    /// Takes all that waits; what has expired meanwhile goes to `expired`.
    pub(super) fn take(&self, now: Millis, batch: &mut Batch, expired: &mut Vec<Unsent>) {
        self.moved.store(now.0, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        (queue.writer, queue.put) = (None, 0);
        queue.outbox.take(now, batch, expired);
        // What had expired or was taken back is gone now, and perhaps nothing is left to write.
        self.relieve(queue);
    }

    /// The writer has moved; `left` bytes of its batch are still to be written.
    pub(super) fn on_written(&self, left: usize, now: Millis) {
        self.moved.store(now.0, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        queue.outbox.on_written(left);
        self.relieve(queue);
    }

    /// Wakes those who wait for room, if there is enough of it again.
    fn relieve(&self, mut queue: parking_lot::MutexGuard<'_, Queue>) {
        queue.count_passing();
        if queue.is_congested && queue.outbox.is_half_empty() {
            queue.is_congested = false;
            drop(queue);
            self.line.wake();
        }
    }
}

impl Queue {
    /// Tells the node how much of this lane belongs to others.
    fn count_passing(&mut self) {
        self.share.set(self.outbox.passing());
    }
}

#[cfg(test)]
mod tests;
