//! Calls and notifications of this node with layers around them.

use std::sync::Arc;

use bytes::Bytes;

use super::call::{Held, ReplyFuture};
use super::caller::{Caller, Extras, Options};
use crate::context::{Context, decode};
use crate::error::{CallError, Doubt, SendError};
use crate::layer::{Call, CallKind, Direction, Encoded, Next, Outcome, Reply, Running};
use crate::name::Method;
use crate::routing::Target;
use crate::wire::Reason;

/// A call behind its layers.
pub(super) struct Layered {
    pub(super) running: Running,
    to: Target,
    method: &'static str,
}

impl Layered {
    pub(super) fn new<Q, R>(
        caller: Arc<Caller>,
        to: Target,
        method: Method<Q, R>,
        message: Q,
        options: Options,
    ) -> Self
    where
        Q: prost::Message + 'static,
    {
        let (whom, name, method) = (to.clone(), method.name(), method.with_types());
        let running = Box::pin(async move {
            let body = message.encode_to_vec().into();
            let call = call(&caller, CallKind::Call, to, method.name(), options, body);
            let end = {
                let caller = Arc::clone(&caller);
                move |call| -> Running { Box::pin(ask(Arc::clone(&caller), method, call)) }
            };
            Next::new(&caller.home, &caller.layers, end).run(call).await
        });
        Self { running, to: whom, method: name }
    }

    /// Turns the outcome into what the caller sees.
    pub(super) fn conclude<R: prost::Message + Default>(
        &self,
        outcome: Outcome,
    ) -> Result<R, CallError> {
        decode(outcome?.0).map_err(|detail| CallError::MaybeDone {
            to: self.to.clone(),
            method: self.method,
            cause: Doubt::Reply,
            detail,
        })
    }
}

/// The call as layers see it.
fn call(
    caller: &Caller,
    kind: CallKind,
    peer: Target,
    method: &'static str,
    options: Options,
    body: Bytes,
) -> Call {
    let (clock, config) = (caller.home.clock, &caller.home.config);
    let default = if kind == CallKind::Call { config.call_timeout } else { config.message_timeout };
    let mut deadline = clock.now().deadline(options.timeout.unwrap_or(default));
    if let Some(handlers) = Context::of_current(Context::deadline) {
        deadline = deadline.min(handlers);
    }
    let Extras { metadata, trace_parent } = options.into_extras();
    let (direction, me) = (Direction::Outgoing, caller.home.me);
    Call { direction, kind, peer, me, method, clock, deadline, metadata, trace_parent, body }
}

/// What the layers have made of it, with the time that is left.
fn options(call: &mut Call) -> Options {
    let metadata = std::mem::take(&mut call.metadata);
    let extras = Extras { metadata, trace_parent: call.trace_parent.take() };
    Options::new(call.time_left(), extras)
}

/// Makes one attempt at a call.
async fn ask(caller: Arc<Caller>, method: Method<Encoded, Encoded>, mut call: Call) -> Outcome {
    let (options, body) = (options(&mut call), Encoded(call.body));
    let call = ReplyFuture::new(Held::Owned(caller), call.peer, method, body, options);
    call.await.map(|Encoded(bytes)| Reply(bytes))
}

/// Sends a notification.
pub(super) async fn notify<Q, R>(
    caller: &Arc<Caller>,
    to: Target,
    method: Method<Q, R>,
    message: Q,
    options: Options,
) -> Result<(), SendError>
where
    Q: prost::Message,
{
    let (whom, method) = (to.clone(), method.with_types::<Encoded, Encoded>());
    let body = message.encode_to_vec().into();
    let call = call(caller, CallKind::Notification, to, method.name(), options, body);
    let end = {
        let caller = Arc::clone(caller);
        move |call| -> Running { Box::pin(tell(Arc::clone(&caller), method, call)) }
    };
    let outcome = Next::new(&caller.home, &caller.layers, end).run(call).await;
    let refused = |to, reason, detail| {
        let what = format!("notification {}", method.name());
        Err(SendError { to, what, reason, detail })
    };
    match outcome {
        Ok(_) => Ok(()),
        Err(CallError::NotSent { to, reason, detail, .. }) => refused(to, reason, detail),
        Err(error) => refused(whom, Reason::Refused, error.to_string()),
    }
}

async fn tell(caller: Arc<Caller>, method: Method<Encoded, Encoded>, mut call: Call) -> Outcome {
    let (options, body, text) = (options(&mut call), Encoded(call.body), method.name());
    match caller.notify(call.peer, (&method).into(), &body, options).await {
        Ok(()) => Ok(Reply::default()),
        Err(SendError { to, reason, detail, .. }) => {
            Err(CallError::NotSent { to, method: text, reason, detail })
        }
    }
}
