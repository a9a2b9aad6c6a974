//! A handler at work.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use tokio_util::sync::ReusableBoxFuture;

use super::{Context, Origin};
use crate::addr::LogicalAddr;

/// Begins a handler: decodes the bytes, asks whether it may run, and puts its future into the slot.
pub(crate) type Start =
    dyn Fn(&Context, Bytes, &mut Slot, &dyn Fn() -> bool) -> Result<(), Unstarted> + Send + Sync;

/// Why a handler did not begin.
#[derive(Debug)]
pub(crate) enum Unstarted {
    /// The bytes do not decode, and why.
    Malformed(String),
    /// It is too late: it may not run.
    Late,
}

/// Where the future of a handler lies. The place of one that is done is used again.
#[derive(Default)]
pub(crate) struct Slot(Option<ReusableBoxFuture<'static, ()>>);

impl Slot {
    /// The future has to drop what it holds when it ends, and not only when it is dropped: async
    /// blocks do.
    pub(crate) fn put(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        match &mut self.0 {
            Some(place) => place.set(future),
            None => self.0 = Some(ReusableBoxFuture::new(future)),
        }
    }

    /// Drops the future of a handler, which may panic.
    fn clear(&mut self) -> Result<(), Panicked> {
        let future = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(future))).map_err(|_| Panicked)
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.0.as_mut().map_or(Poll::Ready(()), |future| future.poll(cx))
    }
}

/// Why a handler has not begun, or is over already.
#[derive(Debug)]
pub(crate) enum Unbegun {
    Unstarted(Unstarted),
    Panicked,
}

/// The handler panicked; its future is gone, or never was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// A handler at work, or the place for one: its panics stay its own, and what it calls inherits its
/// context.
#[derive(Default)]
pub(crate) struct Handling {
    slot: Slot,
    /// Stays behind a handler that is done: the next one may have it.
    context: Option<Context>,
    is_running: bool,
}

impl Handling {
    /// Makes the context for the next handler, in the place of the last one's if nobody has that.
    pub(crate) fn prepare(&mut self, origin: Origin<'_>) {
        self.context = Some(match self.context.take() {
            Some(last) => last.renew(origin),
            None => Context::new(origin),
        });
    }

    /// Whether the next handler may share the last one's context: no message of this peer that came
    /// with nothing else has anything of its own in it.
    pub(crate) fn is_plain(&self, peer: LogicalAddr) -> bool {
        self.context.as_ref().is_some_and(|last| last.is_plain(peer))
    }

    /// Begins a handler in the context that was [prepared](Self::prepare) and polls it once, without
    /// waiting: `start` fills the slot. One that is not done is to be taken away, to go on elsewhere.
    pub(crate) fn begin(
        &mut self,
        start: impl FnOnce(&Context, &mut Slot) -> Result<(), Unstarted>,
    ) -> Result<Poll<()>, Unbegun> {
        let Self { slot, context, .. } = self;
        let Some(context) = context else { return Ok(Poll::Ready(())) };
        let begin = || {
            start(context, slot)?;
            // Nobody is woken by this poll: the task that gets it polls again at once.
            Ok(slot.poll(&mut TaskContext::from_waker(Waker::noop())))
        };
        match context.enter(|| catch_unwind(AssertUnwindSafe(begin))) {
            Ok(Ok(polled)) => {
                self.is_running = polled.is_pending();
                Ok(polled)
            }
            Ok(Err(unstarted)) => Err(Unbegun::Unstarted(unstarted)),
            Err(_) => {
                // One panic is enough to tell of.
                self.slot.clear().ok();
                Err(Unbegun::Panicked)
            }
        }
    }

    /// Whose handler it is.
    pub(crate) fn last(&self) -> Option<&Context> {
        self.context.as_ref()
    }
}

impl Future for Handling {
    type Output = Result<(), Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { slot, context: Some(context), is_running: is_running @ true } = &mut *self
        else {
            return Poll::Ready(Ok(()));
        };
        match context.enter(|| catch_unwind(AssertUnwindSafe(|| slot.poll(cx)))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                *is_running = false;
                Poll::Ready(Ok(()))
            }
            Err(_) => {
                *is_running = false;
                slot.clear().ok();
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if !self.is_running {
            return;
        }
        // The future goes first: only then has the work really ended, and the place of its request
        // is free.
        let ended = self.slot.clear();
        if let Some(answer) = self.context.take().and_then(Context::into_answer) {
            if ended.is_err() {
                answer.count_panic();
            }
            // Cancelled, or past its deadline: nobody waits.
            answer.forget();
        }
    }
}
