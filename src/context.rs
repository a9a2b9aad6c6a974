//! What a handler knows of the message or request that it handles.

mod answer;
mod extension;
mod handling;
mod source;

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use scoped_tls::scoped_thread_local;
use tokio::select;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

pub(crate) use answer::{
    Answer, Asking, Bounced, Place, Refused, bounce, refuse_request, send_back,
};
use answer::{Asked, Of};
pub(crate) use extension::extension;
pub(crate) use handling::{Handling, Panicked, Slot, Start, Unbegun, Unstarted};
pub(crate) use source::Source;

use crate::addr::LogicalAddr;
use crate::clock::{Clock, Millis};
use crate::wire::{Extension, TraceContext};

scoped_thread_local! {
    /// Of the handler that runs: what it calls inherits from here.
    static CURRENT: Context
}

/// Decodes what came. Code of the type's own that panics is no better than bytes that do not decode.
pub(crate) fn decode<M: prost::Message + Default>(body: Bytes) -> Result<M, String> {
    match catch_unwind(|| M::decode(body)) {
        Ok(decoded) => decoded.map_err(|error| error.to_string()),
        Err(_) => Err("decoding it panicked".to_owned()),
    }
}

/// A handle to what is being handled: who sent it, how much time is left, what came with it.
///
/// Cheap to clone. Calls that a handler makes inherit its deadline, its trace context and, because
/// they are dropped with it, its cancellation; [`Context::spawn`] keeps all that for a task of its
/// own, which a plain `tokio::spawn` would lose.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    peer: LogicalAddr,
    clock: Clock,
    /// In milliseconds, as [`Millis`]; a layer may have shortened it.
    deadline: AtomicU64,
    extension: Bytes,
    read: OnceLock<Extension>,
    is_cancelled: AtomicBool,
    /// Made only when somebody asks.
    token: OnceLock<CancellationToken>,
    /// Of a request.
    asked: Option<Asked>,
    /// Somebody has taken the right to answer.
    is_taken: AtomicBool,
    node: Arc<dyn Any + Send + Sync>,
}

/// What a [`Context`] is made of.
pub(crate) struct Origin<'a> {
    pub(crate) peer: LogicalAddr,
    pub(crate) clock: Clock,
    /// [`Millis::NEVER`] for none.
    pub(crate) deadline: Millis,
    /// Has been read once, to see whether it can be.
    pub(crate) extension: &'a [u8],
    pub(crate) asked: Option<Asking<'a>>,
    pub(crate) node: &'a Arc<dyn Any + Send + Sync>,
}

impl Context {
    pub(crate) fn new(origin: Origin<'_>) -> Self {
        let Origin { peer, clock, deadline, extension, asked, node } = origin;
        Self(Arc::new(Inner {
            peer,
            clock,
            deadline: AtomicU64::new(deadline.0),
            // As long as a slice of what was read is there, all of it is.
            extension: Bytes::copy_from_slice(extension),
            read: OnceLock::new(),
            is_cancelled: AtomicBool::new(false),
            token: OnceLock::new(),
            asked: asked.map(Asked::new),
            is_taken: AtomicBool::new(false),
            node: Arc::clone(node),
        }))
    }

    /// The same in the place of an earlier context of the same node, if nobody has that any more.
    fn renew(mut self, origin: Origin<'_>) -> Self {
        let Some(inner) = Arc::get_mut(&mut self.0) else { return Self::new(origin) };
        inner.peer = origin.peer;
        *inner.deadline.get_mut() = origin.deadline.0;
        if !(inner.extension.is_empty() && origin.extension.is_empty()) {
            inner.extension = Bytes::copy_from_slice(origin.extension);
        }
        // Of the earlier one.
        drop((inner.read.take(), inner.token.take()));
        *inner.is_cancelled.get_mut() = false;
        *inner.is_taken.get_mut() = false;
        match (&mut inner.asked, origin.asked) {
            (Some(asked), Some(asking)) => asked.renew(asking),
            (asked, asking) => *asked = asking.map(Asked::new),
        }
        self
    }

    /// What the handler that is running in this task says, if there is one.
    pub(crate) fn of_current<T>(say: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.is_set().then(|| CURRENT.with(say))
    }

    /// The handler that is running in this task, if any.
    pub(crate) fn current() -> Option<Self> {
        Self::of_current(Self::clone)
    }

    /// Runs `poll` as a part of the handler of this context.
    fn enter<T>(&self, poll: impl FnOnce() -> T) -> T {
        CURRENT.set(self, poll)
    }

    /// Whether it would serve any message of this peer that came with nothing else.
    fn is_plain(&self, peer: LogicalAddr) -> bool {
        let inner = &*self.0;
        inner.peer == peer
            && inner.asked.is_none()
            && inner.extension.is_empty()
            && self.deadline() == Millis::NEVER
    }

    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> LogicalAddr {
        self.0.peer
    }

    /// How much time is left until the caller gives up; `None` for a message, which has no
    /// deadline once it is handled.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.deadline();
        let left = deadline.since(self.0.clock.now());
        (deadline != Millis::NEVER).then(|| Duration::from_millis(left))
    }

    pub(crate) fn deadline(&self) -> Millis {
        Millis(self.0.deadline.load(Ordering::Relaxed))
    }

    /// Takes over what layers have made of it, before the handler sees it.
    pub(crate) fn change(&self, deadline: Millis, metadata: Vec<(String, String)>) {
        self.0.deadline.fetch_min(deadline.0, Ordering::Relaxed);
        let trace = self.read().trace;
        drop(self.0.read.set(Extension { metadata, trace }));
    }

    /// The metadata and the trace parent that came, for layers.
    pub(crate) fn original(&self) -> (Vec<(String, String)>, Option<String>) {
        let Extension { metadata, trace } = self.read();
        (metadata, trace.as_ref().map(TraceContext::to_parent))
    }

    /// The first value of a key of the metadata.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_pairs().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// All metadata, in the order in which the caller gave it.
    pub fn metadata_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.extension().metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The W3C `traceparent` of the caller, as text, if it sent one.
    #[must_use]
    pub fn trace_parent(&self) -> Option<String> {
        self.trace().map(TraceContext::to_parent)
    }

    pub(crate) fn trace(&self) -> Option<&TraceContext> {
        self.extension().trace.as_ref()
    }

    fn extension(&self) -> &Extension {
        self.0.read.get_or_init(|| self.read())
    }

    fn read(&self) -> Extension {
        // It was read once before, so this does not fail.
        Extension::read(&self.0.extension).unwrap_or_default()
    }

    /// Whether the caller has given up, or its deadline has passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Acquire) || self.time_left() == Some(Duration::ZERO)
    }

    /// Waits until the caller gives up, or its deadline passes. The handler's own future is dropped then, so this is for
    /// work that was handed elsewhere. Never ends for a message.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub async fn cancelled(&self) {
        let deadline = self.0.clock.instant(self.deadline());
        // Past the deadline the caller has given up, whether it says so or not.
        timeout_at(deadline, self.token().cancelled()).await.ok();
    }

    fn token(&self) -> &CancellationToken {
        let token = self.0.token.get_or_init(CancellationToken::new);
        if self.0.is_cancelled.load(Ordering::Acquire) {
            token.cancel();
        }
        token
    }

    pub(crate) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
        if let Some(token) = self.0.token.get() {
            token.cancel();
        }
    }

    /// Runs a future in a task of its own that belongs to this request: its calls inherit the
    /// deadline, and it is dropped, giving `None`, when the caller gives up or the deadline passes.
    /// It may outlive the handler.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let deadline = self.0.clock.instant(self.deadline());
        let run = self.clone().run(future);
        tokio::spawn(async move { timeout_at(deadline, run).await.ok().flatten() })
    }

    /// Runs a future as a part of this request, until the caller gives up.
    pub(crate) async fn run<F: Future>(self, future: F) -> Option<F::Output> {
        let token = self.token().clone();
        let mut future = pin!(future);
        select! {
            biased;
            () = token.cancelled() => None,
            output = poll_fn(|cx| self.enter(|| future.as_mut().poll(cx))) => Some(output),
        }
    }

    /// Takes the right to answer, to use it or to leave it to somebody else; `None` if that was
    /// done, or nobody asked.
    pub(crate) fn into_answer(self) -> Option<Answer<'static>> {
        self.takes_answer().then(|| Answer::new(Of::Owned(self)))
    }

    /// The same for who answers at once.
    pub(crate) fn answer(&self) -> Option<Answer<'_>> {
        self.takes_answer().then(|| Answer::new(Of::Borrowed(self)))
    }

    fn takes_answer(&self) -> bool {
        self.0.asked.is_some() && !self.0.is_taken.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn home(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.0.node
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("peer", &self.0.peer)
            .field("time_left", &self.time_left())
            .finish_non_exhaustive()
    }
}
