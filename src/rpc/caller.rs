//! Makes calls: puts requests into the outbox, and turns outcomes into what callers see.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::pending::{Entry, Outcome, Pending};
use super::request::Target;
use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::context::Context;
use crate::error::{CallError, Code, Doubt, SendError, Status};
use crate::link::{Class, Home, Link, Put, PutError};
use crate::router::Router;
use crate::wire::{
    Extension, FLAG_NO_REPLY, Kind, METADATA_BYTES_MAX, METADATA_PAIRS_MAX, Origin, Reason,
    ReplyBody, TraceContext,
};

/// What stands before the message in a request's body.
const METHOD_LEN: usize = 8;

/// Makes calls for a node.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) home: Arc<Home>,
    pub(crate) router: Arc<Router>,
    pub(crate) pending: Pending,
}

/// How a call is to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) trace_parent: Option<String>,
}

/// Why a call or a notification cannot begin.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Denied {
    pub(super) fn new(reason: Reason) -> Self {
        Self { reason, detail: String::new() }
    }
}

/// A call that has been entered: whoever holds it waits for its outcome, and whoever drops it
/// takes the call back.
pub(super) struct Ticket {
    caller: Arc<Caller>,
    link: Arc<Link>,
    to: LogicalAddr,
    pub(super) id: u64,
    /// Where in the rpc lane's bytes the request begins.
    position: u64,
    is_over: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.link.calls.fetch_sub(1, Ordering::Relaxed);
        if self.is_over {
            return;
        }
        self.caller.home.counters.calls_cancelled.add(1);
        if self.caller.pending.leave(self.id) {
            take_back(self);
        }
    }
}

/// A request with all that is known before it has a place in the lane.
pub(super) struct Prepared {
    pub(super) link: Arc<Link>,
    to: LogicalAddr,
    pub(super) deadline: Millis,
    extension: Vec<u8>,
    method: u64,
}

impl Caller {
    pub(super) fn prepare(
        &self,
        to: Target,
        method: u64,
        len: usize,
        options: &Options,
        default: Duration,
    ) -> Result<Prepared, Denied> {
        let Target::Address(to) = to;
        let context = Context::current();
        let now = self.home.clock.now();
        let mut deadline = now.deadline(options.timeout.unwrap_or(default));
        if let Some(context) = &context {
            deadline = deadline.min(context.deadline());
        }
        if deadline <= now {
            return Err(Denied::new(Reason::Expired));
        }
        let len = METHOD_LEN + len;
        if len > self.home.config.frame_bytes_max {
            let limit = self.home.config.frame_bytes_max;
            let detail = format!("it has {len} bytes; a frame takes {limit}");
            return Err(Denied { reason: Reason::TooLarge, detail });
        }
        let link = self.router.link(to).map_err(Denied::new)?;
        if let Some(reason) = link.refusal() {
            return Err(Denied::new(reason));
        }
        let extension = self.extension(options, context.as_ref())?;
        Ok(Prepared { link, to, deadline, extension, method })
    }

    /// Metadata and trace context, encoded; nothing is allocated when there is none.
    fn extension(&self, options: &Options, context: Option<&Context>) -> Result<Vec<u8>, Denied> {
        let inherited = context.and_then(Context::trace);
        let trace = match &options.trace_parent {
            Some(text) => Some(given_trace(text, inherited)?),
            None => inherited
                .map(|trace| TraceContext { parent_id: self.home.trace_id(), ..trace.clone() }),
        };
        if options.metadata.is_empty() && trace.is_none() {
            return Ok(Vec::new());
        }
        check_metadata(&options.metadata)?;
        let mut bytes = Vec::new();
        Extension { metadata: options.metadata.clone(), trace }.put(&mut bytes);
        Ok(bytes)
    }

    /// Puts a request; with a `Ticket` if it wants a reply.
    pub(super) fn put(
        self: &Arc<Self>,
        prepared: &Prepared,
        message: &impl prost::Message,
        wants_reply: bool,
    ) -> Result<Option<Ticket>, PutError> {
        let Prepared { link, to, deadline, extension, method } = prepared;
        let mut header = link.header(Kind::Request, 0);
        header.to = *to;
        if !wants_reply {
            header.flags = FLAG_NO_REPLY;
        }
        let (extension_len, body_len) = (extension.len(), METHOD_LEN + message.encoded_len());
        let (class, only_session, deadline) = (Class::Data, None, *deadline);
        let put = Put { class, header, deadline, extension_len, body_len, only_session };
        let enter = |position| {
            if !wants_reply {
                return Ok((0, None));
            }
            let busy = PutError::Closed(Reason::Busy);
            if link.calls.load(Ordering::Relaxed) >= self.home.config.calls_max {
                return Err(busy);
            }
            let entry = Entry { to: *to, hop: link.peer, position, deadline };
            let id = self.pending.enter(entry).ok_or(busy)?;
            link.calls.fetch_add(1, Ordering::Relaxed);
            let (caller, link, to) = (Arc::clone(self), Arc::clone(link), *to);
            Ok((id, Some(Ticket { caller, link, to, id, position, is_over: false })))
        };
        let encode = |out: &mut Vec<u8>| {
            out.extend_from_slice(extension);
            out.extend_from_slice(&method.to_be_bytes());
            // Fails only without room, and a Vec grows.
            message.encode(out).ok();
        };
        link.rpc().put_prepared(put, enter, encode)
    }

    pub(super) async fn notify(
        self: &Arc<Self>,
        to: Target,
        method: u64,
        message: &impl prost::Message,
        options: Options,
    ) -> Result<(), SendError> {
        let Target::Address(address) = to;
        let refuse = |Denied { reason, detail }| SendError { to: address, reason, detail };
        let timeout = self.home.config.message_timeout;
        let prepared =
            self.prepare(to, method, message.encoded_len(), &options, timeout).map_err(refuse)?;
        let mut outcome = self.put(&prepared, message, false);
        if matches!(outcome, Err(PutError::Full)) {
            let attempt = || self.put(&prepared, message, false);
            let lane = prepared.link.rpc();
            outcome = lane.in_line(self.home.clock, prepared.deadline, attempt).await;
        }
        match outcome {
            Ok(_) => {
                self.home.counters.accepted.add(1);
                Ok(())
            }
            Err(error) => Err(refuse(denied(&prepared.link, error))),
        }
    }

    /// Turns the outcome of a call that was sent into what its caller sees.
    pub(super) fn conclude<R: prost::Message + Default>(
        &self,
        ticket: &mut Ticket,
        outcome: Outcome,
    ) -> Result<R, CallError> {
        ticket.is_over = true;
        let result = match outcome {
            Outcome::Reply(body) => read_reply(ticket.to, body),
            Outcome::Refused { reason, hop } => {
                let detail = match reason {
                    Reason::Expired => ticket.link.trouble(),
                    _ if hop == ticket.to => String::new(),
                    _ => format!("said by {hop}"),
                };
                Err(CallError::NotSent { to: ticket.to, reason, detail })
            }
            Outcome::Cut => {
                let detail = ticket.link.trouble();
                Err(CallError::MaybeDone { to: ticket.to, cause: Doubt::ConnectionLost, detail })
            }
            Outcome::Expired => Err(expire(ticket)),
        };
        self.count(&result);
        result
    }

    pub(super) fn count<R>(&self, result: &Result<R, CallError>) {
        let counters = &self.home.counters;
        match result {
            Ok(_) | Err(CallError::Status(_)) => counters.calls_answered.add(1),
            Err(CallError::NotSent { .. }) => counters.calls_not_sent.add(1),
            Err(CallError::MaybeDone { .. }) => counters.calls_maybe_done.add(1),
        }
    }
}

/// The deadline has passed: the request is taken back, or cancelled at the callee.
fn expire(ticket: &Ticket) -> CallError {
    let to = ticket.to;
    if take_back(ticket) {
        let detail = ticket.link.trouble();
        return CallError::NotSent { to, reason: Reason::Expired, detail };
    }
    CallError::MaybeDone { to, cause: Doubt::Deadline, detail: String::new() }
}

/// Takes a request out of the outbox; if the writer was faster, sends a cancel after it.
fn take_back(ticket: &Ticket) -> bool {
    let lane = ticket.link.rpc();
    if lane.void(ticket.position) {
        return true;
    }
    if lane.is_carrying(ticket.position) {
        let mut header = ticket.link.header(Kind::Cancel, ticket.id);
        header.to = ticket.to;
        let (class, deadline, extension_len, body_len) = (Class::Cancel, Millis::NEVER, 0, 0);
        let only_session = None;
        let put = Put { class, header, deadline, extension_len, body_len, only_session };
        // Always has room; when the link is closed, nobody is left to cancel.
        lane.put(put, |_| ()).ok();
    }
    false
}

fn check_metadata(metadata: &[(String, String)]) -> Result<(), Denied> {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    let is_key = |key: &str| !key.is_empty() && key.len() <= 255 && key.is_ascii();
    let problem = if metadata.len() > METADATA_PAIRS_MAX {
        format!("{} pairs of metadata; {METADATA_PAIRS_MAX} are allowed", metadata.len())
    } else if bytes > METADATA_BYTES_MAX {
        format!("{bytes} bytes of metadata; {METADATA_BYTES_MAX} are allowed")
    } else if let Some((key, _)) = metadata.iter().find(|(key, _)| !is_key(key)) {
        format!("{key:?} is no key of metadata: those are 1 to 255 bytes of ASCII")
    } else {
        return Ok(());
    };
    Err(Denied { reason: Reason::Extension, detail: problem })
}

/// A trace context that the caller gives; the state of its trace goes with it, if there is one.
fn given_trace(text: &str, inherited: Option<&TraceContext>) -> Result<TraceContext, Denied> {
    let Some(mut trace) = TraceContext::from_parent(text) else {
        let detail = format!("{text:?} is no W3C traceparent");
        return Err(Denied { reason: Reason::Extension, detail });
    };
    if let Some(inherited) = inherited.filter(|inherited| inherited.trace_id == trace.trace_id) {
        trace.state.clone_from(&inherited.state);
    }
    Ok(trace)
}

pub(super) fn denied(link: &Link, error: PutError) -> Denied {
    match error {
        PutError::Full | PutError::Overflow => {
            Denied { reason: Reason::Full, detail: link.trouble() }
        }
        PutError::TooLarge => Denied::new(Reason::TooLarge),
        PutError::Closed(reason) => Denied::new(reason),
        PutError::Over => Denied::new(Reason::Unreachable),
    }
}

fn read_reply<R: prost::Message + Default>(to: LogicalAddr, body: Bytes) -> Result<R, CallError> {
    let unreadable = |detail: String| CallError::MaybeDone { to, cause: Doubt::Reply, detail };
    match ReplyBody::read(body) {
        Some(ReplyBody::Ok(bytes)) => {
            R::decode(bytes).map_err(|error| unreadable(error.to_string()))
        }
        Some(ReplyBody::Error(failure)) => Err(match failure.origin {
            Origin::Refused => {
                let reason = Reason::from_byte(failure.status);
                CallError::NotSent { to, reason, detail: failure.text }
            }
            Origin::Handler => {
                let code = Code::from_number(failure.status);
                Status::new(code, failure.text).with_details(failure.details).into()
            }
            Origin::Unknown => unreadable(failure.text),
        }),
        None => Err(unreadable("it is malformed".to_owned())),
    }
}
