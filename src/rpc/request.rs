//! A call to be made, and how.

use std::future::IntoFuture;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::call::{Held, ReplyFuture};
use super::caller::{Caller, Options};
use super::layered;
use crate::error::{CallError, SendError};
use crate::name::Method;
use crate::routing::Target;

/// A call that is ready to be made: await it for the reply.
///
/// ```no_run
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinRequest {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinReply {}
/// # async fn example(node: seaway::Node, room: seaway::LogicalAddr) -> Result<(), seaway::CallError> {
/// use std::time::Duration;
/// const JOIN: seaway::Method<JoinRequest, JoinReply> = seaway::Method::new("chat.Room/Join");
/// let reply = node
///     .call(room, JOIN, JoinRequest {})
///     .within(Duration::from_millis(300))
///     .metadata("tenant", "eu")
///     .await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Awaiting gives a [`CallError`], which says whether the handler may have run.
///
/// # Cancel safety
///
/// Dropping the future takes the call back: what was not sent is not sent, and the handler at the
/// other end is cancelled and dropped.
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Request<'n, Q, R> {
    caller: Held<'n>,
    to: Target,
    method: Method<Q, R>,
    message: Q,
    options: Options,
}

impl<'n, Q, R> Request<'n, Q, R>
where
    Q: prost::Message,
    R: prost::Message + Default,
{
    pub(crate) fn new(
        caller: &'n std::sync::Arc<Caller>,
        to: Target,
        method: Method<Q, R>,
        message: Q,
    ) -> Self {
        let caller = Held::Borrowed(caller);
        Self { caller, to, method, message, options: Options::default() }
    }

    /// Gives the call at most this long; the default is `Config::call_timeout` (5 s). Inside a
    /// handler a call never gets more than what the handler itself has left, and nowhere more than
    /// 24 days. From 200 ms on it may end up to 4 ms early: such timeouts count from the system's
    /// coarse clock, which costs a tenth to read.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Adds a pair for the handler's [`crate::Context::metadata`]. Keys are ASCII, 1–255 bytes; a
    /// call takes 32 pairs and 4 KiB of them.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.extras().metadata.push((key.into(), value.into()));
        self
    }

    /// Makes the call a part of a trace: `text` is the W3C `traceparent` of the span that calls,
    /// `00-<trace id>-<span id>-<flags>`, and reaches the handler as
    /// [`crate::Context::trace_parent`]. Calls that a handler makes go on with the trace that came
    /// to it, with a new parent id each, unless they are given one here.
    ///
    /// What is no `traceparent` fails the call with [`crate::Reason::Extension`].
    pub fn trace_parent(mut self, text: impl Into<String>) -> Self {
        self.options.extras().trace_parent = Some(text.into());
        self
    }

    /// Sends the request without wanting a reply, as one sends a message: `Ok` once it is accepted.
    /// What becomes of it later goes to `on_undeliverable`; waits while the lane is full.
    ///
    /// # Errors
    ///
    /// When it was not accepted; nothing was sent then.
    ///
    /// # Cancel safety
    ///
    /// When dropped, nothing was sent.
    pub async fn notify(self) -> Result<(), SendError> {
        let Self { caller, to, method, message, options } = self;
        if caller.layers.is_empty() {
            return caller.notify(to, (&method).into(), &message, options).await;
        }
        layered::notify(&caller, to, method, message, options).await
    }

    /// Lets the call outlive the borrow of the node: for `tokio::spawn` and collections.
    pub fn detached(self) -> ReplyFuture<'static, Q, R>
    where
        Q: 'static,
    {
        let Self { caller, to, method, message, options } = self;
        ReplyFuture::new(caller.into_owned(), to, method, message, options).layered()
    }

    /// Makes the call in a task of its own and hands the outcome to `done`, which does not run
    /// when the call is cancelled: through the handle, or with the request whose handler makes it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn callback(self, done: impl FnOnce(Result<R, CallError>) + Send + 'static) -> CallHandle
    where
        Q: Send + Unpin + 'static,
        R: Send + 'static,
    {
        let context = crate::context::Context::current();
        let call = self.detached();
        let run = async move { done(call.await) };
        let task = match context {
            Some(context) => tokio::spawn(context.run(run)).abort_handle(),
            None => tokio::spawn(run).abort_handle(),
        };
        CallHandle { task }
    }
}

impl<'n, Q, R> IntoFuture for Request<'n, Q, R>
where
    Q: prost::Message + Unpin + 'static,
    R: prost::Message + Default,
{
    type Output = Result<R, CallError>;
    type IntoFuture = ReplyFuture<'n, Q, R>;

    fn into_future(self) -> ReplyFuture<'n, Q, R> {
        let Self { caller, to, method, message, options } = self;
        ReplyFuture::new(caller, to, method, message, options).layered()
    }
}

/// Controls a call made with [`Request::callback`].
#[derive(Clone, Debug)]
pub struct CallHandle {
    task: AbortHandle,
}

impl CallHandle {
    /// Takes the call back; its callback does not run, unless it already has.
    pub fn cancel(&self) {
        self.task.abort();
    }
}
