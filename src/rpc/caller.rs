//! Makes calls: puts requests into the outbox, and turns outcomes into what callers see.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::pending::{Entry, Outcome, Pending};
use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::context::{Context, extension};
use crate::error::{CallError, Code, Doubt, SendError, Status};
use crate::handshake::Lane;
use crate::layer::Layers;
use crate::link::{Class, Home, Link, Put, PutError};
use crate::name::Method;
use crate::pairs::Pairs;
use crate::router::{Denied, Router};
use crate::routing::Target;
use crate::wire::{FLAG_NO_REPLY, Kind, Origin, Reason, ReplyBody};

/// What stands before the message in a request's body.
const METHOD_LEN: usize = 8;

/// Too many calls of this node wait for replies.
const BUSY: PutError = PutError::Closed(Reason::Busy);

/// Makes calls for a node.
pub(crate) struct Caller {
    pub(crate) home: Arc<Home>,
    pub(crate) router: Arc<Router>,
    pub(crate) pairs: Arc<Pairs>,
    pub(crate) pending: Pending,
    pub(crate) layers: Layers,
}

/// How a call is to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    /// Apart, since few calls have any, and all are moved about.
    extras: Option<Box<Extras>>,
}

/// What goes along with a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    pub(super) metadata: Vec<(String, String)>,
    pub(super) trace_parent: Option<String>,
}

impl Options {
    pub(super) fn new(timeout: Option<Duration>, extras: Extras) -> Self {
        let has_any = !extras.metadata.is_empty() || extras.trace_parent.is_some();
        Self { timeout, extras: has_any.then(|| Box::new(extras)) }
    }

    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(super) fn into_extras(self) -> Extras {
        self.extras.map_or_else(Extras::default, |extras| *extras)
    }

    /// Encoded, with the trace of the handler that runs.
    fn encode(&self, home: &Home) -> Result<Vec<u8>, Denied> {
        let (metadata, trace_parent) = match &self.extras {
            Some(extras) => (&*extras.metadata, extras.trace_parent.as_deref()),
            None => (&[] as &[_], None),
        };
        let encode = |context: Option<&Context>| {
            extension(|| home.trace_id(), metadata, trace_parent, context)
        };
        let encoded = Context::of_current(|context| encode(Some(context)));
        encoded
            .unwrap_or_else(|| encode(None))
            .map_err(|detail| Denied::new(Reason::Extension, detail))
    }
}

/// A call whose request was put. Whoever holds it waits for its outcome, and [concludes] it, or
/// [leaves] it.
///
/// [concludes]: Caller::conclude
/// [leaves]: Caller::leave
pub(super) struct Ticket {
    link: Arc<Link>,
    to: LogicalAddr,
    method: &'static str,
    pub(super) id: u64,
    /// Where in the rpc lane's bytes the request begins.
    position: u64,
}

impl Ticket {
    fn not_sent(&self, reason: Reason, detail: String) -> CallError {
        CallError::NotSent { to: self.to.into(), method: self.method, reason, detail }
    }

    fn maybe_done(&self, cause: Doubt, detail: String) -> CallError {
        CallError::MaybeDone { to: self.to.into(), method: self.method, cause, detail }
    }
}

/// A call that was entered, while its request is put; taken out again if that fails or panics.
struct Entering<'a> {
    caller: &'a Caller,
    link: &'a Link,
    id: Option<u64>,
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.caller.pending.leave(id);
            self.link.calls.end();
        }
    }
}

/// A request with all that is known before it has a place in the lane.
pub(super) struct Prepared {
    to: LogicalAddr,
    pub(super) deadline: Millis,
    extension: Vec<u8>,
    method: Name,
    /// Length of the body in bytes.
    len: usize,
}

/// A method without its types.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    id: u64,
    pub(super) text: &'static str,
}

impl<Q, R> From<&Method<Q, R>> for Name {
    fn from(method: &Method<Q, R>) -> Self {
        Self { id: method.id(), text: method.name() }
    }
}

impl Prepared {
    /// Once the request was put.
    pub(super) fn ticket(&self, link: Arc<Link>, (id, position): (u64, u64)) -> Ticket {
        Ticket { link, to: self.to, method: self.method.text, id, position }
    }

    /// Writes extension and body.
    fn encode(&self, message: &impl prost::Message, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.extension);
        out.extend_from_slice(&self.method.id.to_be_bytes());
        // Fails only without room, and a Vec grows.
        message.encode(out).ok();
    }
}

impl Caller {
    pub(super) fn prepare(
        &self,
        to: LogicalAddr,
        method: Name,
        len: usize,
        options: &Options,
        default: Duration,
    ) -> Result<Prepared, Denied> {
        let timeout = options.timeout.unwrap_or(default);
        let now = self.home.clock.now_for(timeout);
        let mut deadline = now.deadline(timeout);
        if let Some(handlers) = Context::of_current(Context::deadline) {
            deadline = deadline.min(handlers);
        }
        if deadline <= now {
            let detail = "there was no time left when it was made";
            return Err(Denied::new(Reason::Expired, detail));
        }
        let len = METHOD_LEN + len;
        if len > self.home.config.frame_bytes_max {
            let limit = self.home.config.frame_bytes_max;
            let detail = format!("it has {len} bytes; a frame takes {limit}");
            return Err(Denied::new(Reason::TooLarge, detail));
        }
        let extension = options.encode(&self.home)?;
        Ok(Prepared { to, deadline, extension, method, len })
    }

    /// Puts the request of a call; returns its id and where it lies, for [`Prepared::ticket`].
    /// Whoever has given a waker need not poll before it is woken.
    pub(super) fn put(
        &self,
        link: &Link,
        prepared: &Prepared,
        message: &impl prost::Message,
        waker: Option<&Waker>,
    ) -> Result<(u64, u64), PutError> {
        let put = self.frame(prepared, 0);
        // Before there is a lock to hold.
        let waker = waker.cloned();
        let mut entering = Entering { caller: self, link, id: None };
        let enter = |position| {
            if !link.calls.begin(self.home.config.calls_max) {
                return Err(BUSY);
            }
            let (to, deadline) = (prepared.to, prepared.deadline);
            let entry = Entry { to, hop: link.peer, position, deadline };
            let Some(id) = self.pending.enter(entry, waker) else {
                link.calls.end();
                return Err(BUSY);
            };
            entering.id = Some(id);
            Ok((id, (id, position)))
        };
        let encode = |out: &mut Vec<u8>| prepared.encode(message, out);
        let put = link.rpc().put_prepared(put, enter, encode)?;
        entering.id = None;
        Ok(put)
    }

    /// Nobody waits for the call any more: takes it back.
    pub(super) fn leave(&self, ticket: &Ticket) {
        self.home.counters.calls_cancelled.add(1);
        ticket.link.calls.end();
        if self.pending.leave(ticket.id) {
            take_back(ticket);
        }
    }

    fn frame(&self, prepared: &Prepared, flags: u8) -> Put {
        let mut header = self.home.header(Kind::Request, prepared.to, 0);
        header.flags = flags;
        Put {
            class: Class::Data,
            header,
            deadline: prepared.deadline,
            extension_len: prepared.extension.len(),
            body_len: prepared.len,
            only_session: None,
        }
    }

    pub(super) async fn notify(
        self: &Arc<Self>,
        to: Target,
        method: Name,
        message: &impl prost::Message,
        options: Options,
    ) -> Result<(), SendError> {
        let refused = |to: Target, Denied { reason, detail }| {
            let what = format!("notification {}", method.text);
            SendError { to, what, reason, detail }
        };
        let to = match self.router.resolve(&to) {
            Ok(address) => address,
            Err(denied) => return Err(refused(to, denied)),
        };
        let refuse = |denied| refused(to.into(), denied);
        self.home.names.remember(method.id, method.text);
        let timeout = self.home.config.message_timeout;
        let prepared =
            self.prepare(to, method, message.encoded_len(), &options, timeout).map_err(refuse)?;
        let put = self.frame(&prepared, FLAG_NO_REPLY);
        let encode = |out: &mut Vec<u8>| prepared.encode(message, out);
        self.pairs.put(Lane::Rpc, &put, encode).await.map_err(refuse)
    }

    /// Turns the outcome of a call that was sent into what its caller sees.
    pub(super) fn conclude<R: prost::Message + Default>(
        &self,
        ticket: &Ticket,
        outcome: Outcome,
    ) -> Result<R, CallError> {
        ticket.link.calls.end();
        let result = match outcome {
            Outcome::Reply(body) => read_reply(ticket, body),
            Outcome::Refused { reason, hop } => {
                let detail = if hop == self.home.me {
                    ticket.link.detail(reason)
                } else {
                    format!("said by {hop}")
                };
                Err(ticket.not_sent(reason, detail))
            }
            Outcome::Cut => Err(ticket.maybe_done(Doubt::ConnectionLost, ticket.link.trouble())),
            Outcome::Expired => Err(expire(ticket)),
        };
        self.count(&result);
        result
    }

    /// Why the link did not take a request.
    pub(super) fn denied(&self, link: &Link, error: PutError) -> Denied {
        if error == BUSY {
            let (max, peer) = (self.home.config.calls_max, link.peer);
            let detail = format!(
                "this node waits for no more than {max} replies of {peer} at once, its `calls_max`"
            );
            return Denied::new(Reason::Busy, detail);
        }
        Denied::by(link, error)
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
    if take_back(ticket) {
        return ticket.not_sent(Reason::Expired, ticket.link.trouble());
    }
    ticket.maybe_done(Doubt::Deadline, String::new())
}

/// Takes a request out of the outbox; if the writer was faster, sends a cancel after it.
fn take_back(ticket: &Ticket) -> bool {
    let lane = ticket.link.rpc();
    let position = ticket.position;
    if lane.void(position) {
        return true;
    }
    if lane.is_carrying(position) {
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

fn read_reply<R: prost::Message + Default>(ticket: &Ticket, body: Bytes) -> Result<R, CallError> {
    let unreadable = |detail: String| ticket.maybe_done(Doubt::Reply, detail);
    match ReplyBody::read(body) {
        Some(ReplyBody::Ok(bytes)) => {
            R::decode(bytes).map_err(|error| unreadable(error.to_string()))
        }
        Some(ReplyBody::Error(failure)) => Err(match failure.origin {
            Origin::Refused => {
                let reason = Reason::from_byte(failure.status);
                ticket.not_sent(reason, failure.text)
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

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("home", &self.home).finish_non_exhaustive()
    }
}
