//! How a node ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Inner, membership};
use crate::clock::Millis;
use crate::handshake::Lane;
use crate::incarnation::Incarnation;
use crate::link::{self, Link};
use crate::relay::Relay;

/// How long after its start a node takes a later incarnation than its own for a sign that its clock
/// is behind, and not that it has a successor.
const YOUNG_MS: u64 = 5_000;
/// How often a stopping node looks whether it is done.
const LOOK: Duration = Duration::from_millis(2);
/// How long the last word to discovery may take.
pub(super) const LAST_WORD: Duration = Duration::from_secs(1);
/// How long it may take at least to tell peers that their streams are broken off.
const LAST_STREAMS: Duration = Duration::from_millis(500);
/// How long the tasks of a node may take to end after everything is closed.
const CLOSE: Duration = Duration::from_secs(2);

/// Why a node stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopCause {
    /// `shutdown` was called.
    #[error("it was asked to")]
    Asked,
    /// The last handle was dropped.
    #[error("the last handle to it was dropped")]
    Dropped,
    /// Discovery no longer has the node.
    #[error("it was removed from discovery")]
    Removed,
    /// Discovery gives the node another network address.
    #[error("discovery gives it another network address")]
    Moved,
    /// A later run of the same address is known.
    #[error("a later run of its address, {0}, has taken its place")]
    Superseded(Incarnation),
}

/// What a node that stopped had to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Requests whose handlers were still at work.
    pub requests_abandoned: u64,
    /// Messages whose handlers were still at work, and those from beyond harbors that waited for theirs.
    pub messages_abandoned: u64,
    /// Calls of this node that still waited for a reply.
    pub calls_abandoned: u64,
    /// Requests of others that were handed on and still waited for a reply: a harbor's.
    pub relayed_abandoned: u64,
    /// Peers to which frames still waited to be written.
    pub links_unwritten: u64,
    /// Streams that handlers of this node still had, or that it relayed.
    pub streams_abandoned: u64,
}

impl Report {
    /// Whether everything was finished.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// A later run of this node's address is known to a peer or to discovery. `true`: the node goes on
/// as a later one still.
pub(super) fn on_superseded(inner: &Inner, newer: Incarnation) -> bool {
    let home = &inner.home;
    if newer < home.incarnation() {
        return true;
    }
    let is_young = home.clock.now() < Millis(YOUNG_MS);
    if is_young && home.take_over(newer.next()) {
        tracing::warn!(
            node = %home.me, %newer,
            "a later run of this node is known: the clock of this machine is behind; going on as a later one"
        );
        renew_links(inner);
        return true;
    }
    if let Some(inner) = inner.this() {
        begin(&inner, StopCause::Superseded(newer));
    }
    false
}

/// Peers know the node as the incarnation that shook hands with them: they are told anew.
fn renew_links(inner: &Inner) {
    let links = inner.router.links();
    let me = inner.home.me;
    // In a task, because the one who found out may be the driver of one of them.
    inner.home.tasks.spawn(async move {
        for link in links.iter().filter(|link| link.peer != me) {
            link.tell(link::Event::Renewed).await;
        }
    });
}

/// Stops the node in good order, in a task of its own.
pub(super) fn begin(inner: &Arc<Inner>, cause: StopCause) {
    tracing::warn!(node = %inner.home.me, %cause, "node stops by itself");
    let within = inner.home.config.stop_timeout;
    let runtime = inner.home.runtime.clone();
    let inner = Arc::clone(inner);
    runtime.spawn(async move { shutdown(inner, cause, within).await });
}

/// See [`super::Node::shutdown`].
pub(super) async fn shutdown(inner: Arc<Inner>, cause: StopCause, within: Duration) -> Report {
    // In a task, so that dropping the caller's future does not leave it half done.
    let runtime = inner.home.runtime.clone();
    let task = runtime.spawn(async move {
        let is_first = inner.stopping.send_if_modified(|stopping| {
            let is_first = stopping.is_none();
            stopping.get_or_insert(cause);
            is_first
        });
        if is_first {
            drain(&inner, within).await;
        } else {
            // Whoever came first is at it; this one only may have less patience.
            drop(timeout(within, inner.home.stop.cancelled()).await);
        }
        take_stock(&inner);
        take_last_stock(&inner);
        inner.home.stop.cancel();
        inner.stopped.cancelled().await;
        *inner.report.lock()
    });
    task.await.unwrap_or_default()
}

async fn drain(inner: &Inner, within: Duration) {
    let clock = inner.home.clock;
    let deadline = clock.instant(clock.now().deadline(within));
    inner.dispatch.server.drain();
    inner.dispatch.streams.drain();
    inner.home.drain();
    let unavailable = async {
        if let Err(error) = membership::announce(inner, false).await {
            tracing::debug!(node = %inner.home.me, %error, "cannot announce the stop");
        }
    };
    // A discovery that does not answer must not eat the time of those who wait for replies.
    drop(timeout_at(deadline, timeout(LAST_WORD, unavailable)).await);
    // Only when they know is there an end to what comes from them.
    tell_peers(inner, deadline).await;
    drop(timeout_at(deadline, until(|| is_idle(inner))).await);
    inner.dispatch.fars.tell_all();
    // A harbor that hears of the end of a lane first takes for lost what it was not told of.
    tell_peers(inner, deadline).await;
    // Calls that wait now end with their lanes.
    take_stock(inner);
    // Also when the time is over: whoever reads must hear that this is no end. And before the pulse
    // ends, with which a peer gives up what it has not read.
    let deadline_of_streams = deadline.max(clock.instant(clock.now().deadline(LAST_STREAMS)));
    drop(timeout_at(deadline_of_streams, inner.dispatch.streams.finish()).await);
    // The pulse goes last: without it a peer would not read the other lane to its end.
    finish_lanes(inner, Lane::Message, deadline).await;
    // What a harbor had sent before it heard has come by now.
    drop(timeout_at(deadline, until(|| !is_handling_messages(inner))).await);
    inner.dispatch.fars.tell_all();
    finish_lanes(inner, Lane::Rpc, deadline).await;
}

/// One that does not answer leaves half of the time to the rest of the work.
async fn tell_peers(inner: &Inner, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        // What is put now would only count as not written.
        return;
    }
    let mut telling = tokio::task::JoinSet::new();
    for link in inner.router.links() {
        for lane in [Lane::Message, Lane::Rpc] {
            let link = Arc::clone(&link);
            telling.spawn(async move { link.say_draining(lane).await });
        }
    }
    drop(timeout(left / 2, telling.join_all()).await);
}

async fn finish_lanes(inner: &Inner, lane: Lane, deadline: Instant) {
    if deadline <= Instant::now() {
        // As above.
        return;
    }
    let mut finishing = tokio::task::JoinSet::new();
    for link in inner.router.links() {
        let is_own = link.peer == inner.home.me;
        finishing.spawn(async move {
            if is_own {
                // Both ends are here: it is enough that what was sent is handled.
                link.settle(lane).await;
            } else {
                link.finish(lane).await;
            }
        });
    }
    drop(timeout_at(deadline, finishing.join_all()).await);
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        sleep(LOOK).await;
    }
}

fn is_handling_messages(inner: &Inner) -> bool {
    inner.home.handling() > 0 || inner.dispatch.fars.is_handling()
}

fn is_idle(inner: &Inner) -> bool {
    let is_handling = inner.dispatch.requests_in_flight() > 0 || is_handling_messages(inner);
    let is_relaying = inner.dispatch.relay.as_ref().is_some_and(Relay::is_awaited);
    let is_written = inner.router.links().iter().all(|link| link.is_flushed());
    let has_streams = inner.dispatch.streams.at_work() > 0;
    !is_handling && !has_streams && !is_relaying && is_written && inner.sender.pairs.is_settled()
}

/// Puts what would be given up now into the report. That is done more than once: lanes that finish
/// end calls, and may bring messages yet.
fn take_stock(inner: &Inner) {
    let links = inner.router.links();
    let mut report = inner.report.lock();
    raise(&mut report.requests_abandoned, count(inner.dispatch.requests_in_flight()));
    raise(&mut report.streams_abandoned, count(inner.dispatch.streams.at_work()));
    raise(&mut report.calls_abandoned, links.iter().map(|link| link.calls.waiting()).sum());
    let relayed = inner.dispatch.relay.as_ref().map_or(0, Relay::requests_awaited);
    raise(&mut report.relayed_abandoned, count(relayed));
}

/// Puts the rest into the report, which lanes that finish do not end: now that they had their time.
fn take_last_stock(inner: &Inner) {
    let me = inner.home.me;
    let is_unwritten = |link: &&Arc<Link>| link.peer != me && !link.is_flushed();
    let unwritten = inner.router.links().iter().filter(is_unwritten).count();
    let messages = inner.home.handling() + inner.dispatch.fars.messages_waiting();
    let mut report = inner.report.lock();
    raise(&mut report.links_unwritten, count(unwritten));
    raise(&mut report.messages_abandoned, count(messages));
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn raise(count: &mut u64, now: u64) {
    *count = now.max(*count);
}

/// The last steps, whatever led to them.
pub(super) async fn finish(inner: &Inner) {
    let home = &inner.home;
    home.tasks.close();
    if timeout(CLOSE, home.tasks.wait()).await.is_err() {
        tracing::warn!(node = %home.me, tasks = home.tasks.len(), "handlers outlive their node");
    }
    membership::withdraw(inner).await;
    inner.router.forget_all();
    tracing::info!(node = %home.me, "node stopped");
    inner.stopped.cancel();
}

/// Ends with the node, or with its runtime, which drops tasks where they are: then nobody is left
/// to end what waits, so that is done here.
pub(super) struct Last(pub(super) Arc<Inner>);

impl Drop for Last {
    fn drop(&mut self) {
        let inner = &self.0;
        if inner.stopped.is_cancelled() {
            return;
        }
        inner.home.stop.cancel();
        for link in inner.router.links() {
            link.abandon(&*inner.dispatch);
        }
        inner.router.forget_all();
        inner.stopped.cancel();
    }
}
