//! The layers around what comes in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::timeout_at;

use super::encoded::Encoded;
use super::{Call, CallKind, Direction, Layers, Next, Outcome, Reply, Running};
use crate::context::{Context, Refused};
use crate::error::{CallError, Code, Status};
use crate::link::Home;
use crate::wire::Reason;

type Handling = Pin<Box<dyn Future<Output = Result<Encoded, Status>> + Send>>;
/// A handler without its types; gives no future for bytes that do not decode, but says why.
pub(crate) type Handler = dyn Fn(Context, Bytes) -> Result<Handling, String> + Send + Sync;

/// A call, notification or message that has come in, with what stands behind the last layer.
pub(crate) struct Incoming {
    pub(crate) home: Arc<Home>,
    pub(crate) layers: Layers,
    pub(crate) kind: CallKind,
    pub(crate) method: &'static str,
    pub(crate) context: Context,
    pub(crate) body: Bytes,
    pub(crate) handler: Arc<Handler>,
    /// Counts it as handled; `false` if it is too late for that, and it must not run.
    pub(crate) count: Box<dyn Fn() -> bool + Send + Sync>,
}

/// How it ended.
pub(crate) enum Ended {
    /// The handler ran, or a layer did its work.
    Handled(Result<Encoded, Status>),
    /// It did not run, and never will.
    Refused(Refused),
}

impl Incoming {
    pub(crate) async fn run(self) -> Ended {
        let Self { home, layers, kind, method, context, body, handler, count } = self;
        let (metadata, trace_parent) = context.original();
        let call = Call {
            direction: Direction::Incoming,
            kind,
            peer: context.peer().into(),
            me: home.me,
            method,
            clock: home.clock,
            deadline: context.deadline(),
            metadata,
            trace_parent,
            body,
        };
        let deadline = call.clock.instant(call.deadline);
        let is_one_way = kind != CallKind::Call;
        let last = Last { context, handler, count, is_one_way, has_run: AtomicBool::new(false) };
        let last = Arc::new(last);
        let end = {
            let last = Arc::clone(&last);
            move |call| -> Running { Box::pin(Arc::clone(&last).run(call)) }
        };
        let mut cut = Cut { last: &last, is_over: false };
        let run = Next::new(&home, &layers, end).run(call);
        let outcome = if is_one_way {
            // What nobody waits for must be accounted for when its time is over.
            timeout_at(deadline, run).await.unwrap_or_else(|_| Err(late(method)))
        } else {
            run.await
        };
        cut.is_over = true;
        last.conclude(outcome)
    }
}

/// A layer took all the time there was.
fn late(method: &'static str) -> CallError {
    Status::new(Code::DeadlineExceeded, format!("no time was left for {method}")).into()
}

/// Counts a one-way frame that ends within its layers, by a panic, as handled.
struct Cut<'a> {
    last: &'a Last,
    is_over: bool,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        let Last { is_one_way, has_run, count, .. } = self.last;
        if !self.is_over && *is_one_way && !has_run.load(Ordering::Relaxed) {
            // Too late for that, the account of the session says that it is lost.
            let _is_in_time = count();
        }
    }
}

/// What stands behind the last layer.
struct Last {
    context: Context,
    handler: Arc<Handler>,
    count: Box<dyn Fn() -> bool + Send + Sync>,
    is_one_way: bool,
    has_run: AtomicBool,
}

impl Last {
    /// Runs the handler, once.
    async fn run(self: Arc<Self>, call: Call) -> Outcome {
        if self.has_run.swap(true, Ordering::Relaxed) {
            let text = "a layer ran the handler of one call twice";
            return Err(Status::new(Code::Internal, text).into());
        }
        let refuse = |reason, text| {
            self.has_run.store(false, Ordering::Relaxed);
            Err(call.refuse(reason, text))
        };
        let is_shortened = call.deadline < self.context.deadline();
        self.context.change(call.deadline, call.metadata.clone());
        let handling = match (self.handler)(self.context.clone(), call.body.clone()) {
            Ok(handling) => handling,
            Err(text) => return refuse(Reason::Malformed, text),
        };
        if !(self.count)() {
            return refuse(Reason::Expired, "its connection is over".to_owned());
        }
        if !is_shortened && !self.is_one_way {
            // Past its own deadline the caller knows better, and is not to be told anything.
            return Ok(Reply(handling.await?.0));
        }
        match timeout_at(call.clock.instant(call.deadline), handling).await {
            Ok(outcome) => Ok(Reply(outcome?.0)),
            Err(_) => {
                let text = "the handler took longer than a layer allows";
                Err(Status::new(Code::DeadlineExceeded, text).into())
            }
        }
    }

    /// Makes of an outcome what can be said truthfully.
    fn conclude(&self, outcome: Outcome) -> Ended {
        let (has_run, is_one_way) = (self.has_run.load(Ordering::Relaxed), self.is_one_way);
        match outcome {
            Err(CallError::NotSent { reason, detail, .. }) if !has_run => {
                Ended::Refused(Refused::new(reason, detail))
            }
            Err(error) if !has_run && is_one_way => {
                let is_late = matches!(&error, CallError::Status(status) if status.code() == Code::DeadlineExceeded);
                let reason = if is_late { Reason::Expired } else { Reason::Refused };
                Ended::Refused(Refused::new(reason, error.to_string()))
            }
            Ok(_) if !has_run && is_one_way && !(self.count)() => {
                // A layer did the work, too late to be counted.
                Ended::Refused(Reason::Expired.into())
            }
            Ok(Reply(bytes)) => Ended::Handled(Ok(Encoded(bytes))),
            Err(CallError::Status(status)) => Ended::Handled(Err(status)),
            Err(error) => Ended::Handled(Err(Status::new(Code::Internal, error.to_string()))),
        }
    }
}
