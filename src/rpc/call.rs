//! A call under way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};

use super::caller::{Caller, Options, Ticket};
use super::layered::Layered;
use crate::error::CallError;
use crate::link::PutError;
use crate::name::Method;
use crate::router::Denied;
use crate::routing::Target;

/// The future of a [`super::Request`].
#[must_use = "futures do nothing unless polled"]
pub struct ReplyFuture<'n, Q, R> {
    caller: Held<'n>,
    to: Target,
    method: Method<Q, R>,
    /// Until it is encoded, or somebody else has it.
    message: Option<Q>,
    options: Options,
    stage: Stage,
}

enum Stage {
    New,
    /// Has layers around it.
    Layered(Layered),
    /// Stands in line for room.
    Line(Line),
    Waiting(Ticket),
    Done,
}

/// Stands in line for room; rare, so it may have a box.
type Line = Pin<Box<dyn Future<Output = Result<Ticket, CallError>> + Send>>;

impl<'n, Q, R> ReplyFuture<'n, Q, R> {
    pub(super) fn new(
        caller: Held<'n>,
        to: Target,
        method: Method<Q, R>,
        message: Q,
        options: Options,
    ) -> Self {
        Self { caller, to, method, message: Some(message), options, stage: Stage::New }
    }
}

impl<Q, R> ReplyFuture<'_, Q, R>
where
    Q: prost::Message + 'static,
    R: prost::Message + Default,
{
    /// Puts the node's layers around it, if there are any.
    pub(super) fn layered(mut self) -> Self {
        if !self.caller.layers.is_empty()
            && let Some(message) = self.message.take()
        {
            let caller = Arc::clone(&self.caller);
            let (to, options) = (self.to.clone(), std::mem::take(&mut self.options));
            self.stage = Stage::Layered(Layered::new(caller, to, self.method, message, options));
        }
        self
    }

    /// Puts the request, or stands in line for it.
    fn begin(&mut self, waker: &Waker) -> Result<Stage, CallError> {
        let caller = &*self.caller;
        caller.home.counters.calls.add(1);
        let name = self.method.name();
        let to = match caller.router.resolve(&self.to) {
            Ok(address) => address,
            Err(Denied { reason, detail }) => {
                let to = self.to.clone();
                return Err(CallError::NotSent { to, method: name, reason, detail });
            }
        };
        let not_sent = move |Denied { reason, detail }| CallError::NotSent {
            to: to.into(),
            method: name,
            reason,
            detail,
        };
        // Only who is polled after the end finds none.
        let Some(message) = &self.message else { return Ok(Stage::Done) };
        let (len, timeout) = (message.encoded_len(), caller.home.config.call_timeout);
        let prepared = caller
            .prepare(to, (&self.method).into(), len, &self.options, timeout)
            .map_err(not_sent)?;
        let link = caller.router.link(to).map_err(not_sent)?;
        match caller.put(&link, &prepared, message, Some(waker)) {
            Ok(put) => {
                self.message = None;
                Ok(Stage::Waiting(prepared.ticket(link, put)))
            }
            Err(PutError::Full) => {
                let Some(message) = self.message.take() else { return Ok(Stage::Done) };
                let caller = Arc::clone(caller);
                Ok(Stage::Line(Box::pin(async move {
                    let attempt = || caller.put(&link, &prepared, &message, None);
                    let lane = link.rpc();
                    match lane.in_line(&caller.home, prepared.deadline, attempt).await {
                        Ok(put) => Ok(prepared.ticket(link, put)),
                        Err(error) => Err(not_sent(caller.denied(&link, error))),
                    }
                })))
            }
            Err(error) => Err(not_sent(caller.denied(&link, error))),
        }
    }
}

impl<Q, R> Future for ReplyFuture<'_, Q, R>
where
    Q: prost::Message + Unpin + 'static,
    R: prost::Message + Default,
{
    type Output = Result<R, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let next = match &mut this.stage {
                Stage::Waiting(ticket) => {
                    let outcome = ready!(this.caller.pending.poll(ticket.id, cx));
                    // Gone first: should the reply's type panic, the ticket is used up.
                    let stage = std::mem::replace(&mut this.stage, Stage::Done);
                    let Stage::Waiting(ticket) = stage else { return Poll::Pending };
                    return Poll::Ready(this.caller.conclude(&ticket, outcome));
                }
                Stage::Line(line) => ready!(line.as_mut().poll(cx)).map(Stage::Waiting),
                Stage::Layered(layered) => {
                    let outcome = ready!(layered.running.as_mut().poll(cx));
                    let result = layered.conclude(outcome);
                    this.stage = Stage::Done;
                    return Poll::Ready(result);
                }
                Stage::New => {
                    // Should the message panic, that was its turn.
                    this.stage = Stage::Done;
                    match this.begin(cx.waker()) {
                        Ok(Stage::Waiting(ticket)) => {
                            // Its reply wakes this task, also if it has come meanwhile.
                            this.stage = Stage::Waiting(ticket);
                            return Poll::Pending;
                        }
                        begun => begun,
                    }
                }
                // Polled after it was done, which futures need not survive; it never ends.
                Stage::Done => return Poll::Pending,
            };
            match next {
                Ok(stage) => this.stage = stage,
                Err(error) => {
                    this.stage = Stage::Done;
                    let result = Err(error);
                    this.caller.count(&result);
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl<Q, R> Drop for ReplyFuture<'_, Q, R> {
    fn drop(&mut self) {
        match &self.stage {
            Stage::Waiting(ticket) => self.caller.leave(ticket),
            Stage::Line(_) => self.caller.home.counters.calls_cancelled.add(1),
            _ => {}
        }
    }
}

impl<Q, R> fmt::Debug for ReplyFuture<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyFuture").finish_non_exhaustive()
    }
}

/// The node's caller, borrowed or owned.
#[derive(Debug)]
pub(super) enum Held<'n> {
    Borrowed(&'n Arc<Caller>),
    Owned(Arc<Caller>),
}

impl Held<'_> {
    pub(super) fn into_owned(self) -> Held<'static> {
        match self {
            Self::Borrowed(caller) => Held::Owned(Arc::clone(caller)),
            Self::Owned(caller) => Held::Owned(caller),
        }
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = Arc<Caller>;

    fn deref(&self) -> &Arc<Caller> {
        match self {
            Self::Borrowed(caller) => caller,
            Self::Owned(caller) => caller,
        }
    }
}
