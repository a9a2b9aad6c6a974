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
    stage: Stage<Q, R>,
}

enum Stage<Q, R> {
    New {
        to: Target,
        method: Method<Q, R>,
        message: Q,
        options: Options,
    },
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
        let stage = Stage::New { to, method, message, options };
        Self { caller, stage }
    }

    /// With the node's layers around it, if there are any.
    pub(super) fn layered(
        caller: Held<'n>,
        to: Target,
        method: Method<Q, R>,
        message: Q,
        options: Options,
    ) -> Self
    where
        Q: prost::Message + 'static,
    {
        if caller.layers.is_empty() {
            return Self::new(caller, to, method, message, options);
        }
        let layered = Layered::new(Arc::clone(&caller), to, method, message, options);
        Self { caller, stage: Stage::Layered(layered) }
    }
}

impl<Q, R> ReplyFuture<'_, Q, R>
where
    Q: prost::Message + 'static,
    R: prost::Message + Default,
{
    /// Puts the request, or stands in line for it.
    fn begin(
        &self,
        to: Target,
        method: Method<Q, R>,
        message: Q,
        options: &Options,
        waker: &Waker,
    ) -> Result<Begun, CallError> {
        let caller = &*self.caller;
        caller.home.counters.calls.add(1);
        let name = method.name();
        let to = match caller.router.resolve(&to) {
            Ok(address) => address,
            Err(Denied { reason, detail }) => {
                return Err(CallError::NotSent { to, method: name, reason, detail });
            }
        };
        let not_sent = move |Denied { reason, detail }| CallError::NotSent {
            to: to.into(),
            method: name,
            reason,
            detail,
        };
        let timeout = caller.home.config.call_timeout;
        let prepared = caller
            .prepare(to, (&method).into(), message.encoded_len(), options, timeout)
            .map_err(not_sent)?;
        match caller.put(prepared, &message, Some(waker)) {
            Ok(ticket) => Ok(Begun::Waiting(ticket)),
            Err((PutError::Full, prepared)) => {
                let caller = Arc::clone(caller);
                Ok(Begun::Line(Box::pin(async move {
                    let (link, deadline) = (Arc::clone(&prepared.link), prepared.deadline);
                    let mut left = Some(prepared);
                    let attempt = || {
                        let Some(prepared) = left.take() else { return Err(PutError::Over) };
                        caller.put(prepared, &message, None).map_err(|(error, prepared)| {
                            left = Some(prepared);
                            error
                        })
                    };
                    let outcome = link.rpc().in_line(&caller.home, deadline, attempt).await;
                    outcome.map_err(|error| not_sent(caller.denied(&link, error)))
                })))
            }
            Err((error, prepared)) => Err(not_sent(caller.denied(&prepared.link, error))),
        }
    }
}

enum Begun {
    Waiting(Ticket),
    Line(Line),
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
            let begun = match &mut this.stage {
                Stage::Waiting(ticket) => {
                    let outcome = ready!(this.caller.pending.poll(ticket.id, cx));
                    // Gone first: should the reply's type panic, the ticket is used up.
                    let stage = std::mem::replace(&mut this.stage, Stage::Done);
                    let Stage::Waiting(ticket) = stage else { return Poll::Pending };
                    return Poll::Ready(this.caller.conclude(&ticket, outcome));
                }
                Stage::Line(line) => ready!(line.as_mut().poll(cx)).map(Begun::Waiting),
                Stage::Layered(layered) => {
                    let outcome = ready!(layered.running.as_mut().poll(cx));
                    let result = layered.conclude(outcome);
                    this.stage = Stage::Done;
                    return Poll::Ready(result);
                }
                stage => match std::mem::replace(stage, Stage::Done) {
                    Stage::New { to, method, message, options } => {
                        let begun = this.begin(to, method, message, &options, cx.waker());
                        if let Ok(Begun::Waiting(ticket)) = begun {
                            // Its reply wakes this task, also if it has come meanwhile.
                            this.stage = Stage::Waiting(ticket);
                            return Poll::Pending;
                        }
                        begun
                    }
                    // Polled after it was done, which futures need not survive; it never ends.
                    _ => return Poll::Pending,
                },
            };
            this.stage = match begun {
                Ok(Begun::Waiting(ticket)) => Stage::Waiting(ticket),
                Ok(Begun::Line(line)) => Stage::Line(line),
                Err(error) => {
                    this.stage = Stage::Done;
                    let result = Err(error);
                    this.caller.count(&result);
                    return Poll::Ready(result);
                }
            };
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
