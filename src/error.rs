//! What users are told when something does not work.
//!
//! The rule for all errors of this crate: the text says what happened, to whom, and what helps, in
//! one line that needs no other; so it names its cause itself, and `source()` has nothing to add.
//! Whoever prints an error alone sees all, and whoever prints its chain sees nothing twice. With
//! `thiserror` that is `{0}` and a plain field, or `transparent` and `#[from]`; never both.
//!
//! `{:?}` prints the text, too, behind the name to match on: it is all that is seen of an error when
//! `main` returns it or `unwrap` meets it.

use std::fmt;
use std::io;

use bytes::Bytes;

use crate::addr::LogicalAddr;
use crate::debug::debug_by_text;
use crate::name::MessageId;
use crate::routing::Target;
use crate::wire::{Break, Fault, Reason};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// The kind of a [`Status`]; numbers and meanings are those of gRPC.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Code {
            /// The number, 1–16.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The code of a number; [`Code::Unknown`] for one that is none.
            #[must_use]
            pub const fn from_number(number: u8) -> Self {
                match number {
                    $($number => Self::$name,)+
                    _ => Self::Unknown,
                }
            }
        }
    };
}

codes! {
    /// The operation was cancelled.
    Cancelled = 1,
    /// Nothing better is known.
    Unknown = 2,
    /// The request can never work, whatever the state of the system.
    InvalidArgument = 3,
    /// The time was not enough.
    DeadlineExceeded = 4,
    /// Something asked for does not exist.
    NotFound = 5,
    /// Something to be made exists.
    AlreadyExists = 6,
    /// The caller may not do that.
    PermissionDenied = 7,
    /// A quota or limit is reached.
    ResourceExhausted = 8,
    /// The system is not in the state that this needs.
    FailedPrecondition = 9,
    /// The operation lost against a concurrent one.
    Aborted = 10,
    /// Beyond the valid range.
    OutOfRange = 11,
    /// Not implemented.
    Unimplemented = 12,
    /// Something is broken.
    Internal = 13,
    /// Not available just now.
    Unavailable = 14,
    /// Data are lost for good.
    DataLoss = 15,
    /// Who calls is not known.
    Unauthenticated = 16,
}

/// How a handler says no: a code, a text for people, and bytes for programs.
///
/// ```
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinRequest {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinReply {}
/// use prost::Message;
/// use seaway::{CallError, Code, LogicalAddr, Method, Node, Status};
/// const JOIN: Method<JoinRequest, JoinReply> = Method::new("chat.Room/Join");
///
/// /// What a program needs to know of a room that is full.
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct RoomIsFull {
///     #[prost(uint32, tag = "1")]
///     retry_in_s: u32,
/// }
///
/// async fn join(_: seaway::Context, _: JoinRequest) -> Result<JoinReply, Status> {
///     let details = RoomIsFull { retry_in_s: 30 }.encode_to_vec();
///     Err(Status::new(Code::ResourceExhausted, "room 42 is full").with_details(details))
/// }
///
/// async fn ask(node: Node, room: LogicalAddr) {
///     if let Err(CallError::Status(status)) = node.call(room, JOIN, JoinRequest {}).await {
///         println!("{status}"); // ResourceExhausted: room 42 is full
///         if let Ok(full) = RoomIsFull::decode(status.details().clone()) {
///             println!("again in {} s", full.retry_in_s);
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    text: String,
    details: Bytes,
}

impl Status {
    /// A status without details. Of the text at most 4 KiB reach the caller, which ends between two
    /// characters.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), details: Bytes::new() }
    }

    /// What a handler returns that has deferred its reply; the value is not looked at.
    #[must_use]
    pub fn deferred() -> Self {
        Self::new(Code::Internal, "deferred")
    }

    /// Sets the bytes for programs, such as an encoded message. With the text they must fit a frame
    /// of the link ([`crate::Config::frame_bytes_max`]), or they do not reach the caller.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<Bytes>) -> Self {
        self.details = details.into();
        self
    }

    /// The kind.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes for programs; often empty.
    #[must_use]
    pub const fn details(&self) -> &Bytes {
        &self.details
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.text)
    }
}

impl std::error::Error for Status {}

/// Why a call has no reply.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The handler did not run and will not. Safe to retry, here or elsewhere.
    #[error("{} to {to} did not run: {}", Named(method), Why { to, reason: *reason, detail })]
    NotSent {
        /// Who was called; the address, if one was picked.
        to: Target,
        /// The full name of the method, or of a message that a layer refuses.
        method: &'static str,
        /// Why.
        reason: Reason,
        /// More, for people; may be empty.
        detail: String,
    },
    /// The request was sent, and what became of it is not known. A retry may do it twice.
    #[error("{} to {to} may have run: {cause}{}", Named(method), Detail(detail))]
    MaybeDone {
        /// Who was called; the address, if one was picked.
        to: Target,
        /// The full name of the method.
        method: &'static str,
        /// What is known.
        cause: Doubt,
        /// More, for people; may be empty.
        detail: String,
    },
    /// The handler ran and said no.
    #[error(transparent)]
    Status(#[from] Status),
}

debug_by_text!(CallError: NotSent, MaybeDone, Status);

impl CallError {
    /// Whether the handler certainly did not run.
    #[must_use]
    pub const fn is_safe_to_retry(&self) -> bool {
        matches!(self, Self::NotSent { .. })
    }
}

/// Why it is not known what became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// Its deadline passed without a reply.
    #[error("its deadline passed without a reply")]
    Deadline,
    /// The connection that carried it is lost.
    #[error("the connection was lost before the reply came")]
    ConnectionLost,
    /// The reply cannot be used: it does not decode as the type that the caller expects, or it is
    /// that of a harbor, which had no room for all of it or has lost the way by which it would come.
    #[error("its reply cannot be used")]
    Reply,
}

/// Why a message, a notification or a stream was not accepted. No handler has got anything of it; but
/// see [`crate::OpenStream`] for streams that were accepted too late.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} to {to} was not accepted: {}", Why { to, reason: *reason, detail })]
#[non_exhaustive]
pub struct SendError {
    /// Whom it was for; the address, if one was picked.
    pub to: Target,
    /// What it was, for people: `message chat.Line`, `notification chat.Room/Join`, `stream game`.
    pub what: String,
    /// Why.
    pub reason: Reason,
    /// More, for people; may be empty.
    pub detail: String,
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.reason)
    }
}

/// What broke a [`crate::Stream`]; it is inside the [`io::Error`] of its reads and writes.
///
/// ```
/// # use std::io;
/// use seaway::{Break, StreamError};
///
/// fn is_full(error: &io::Error) -> bool {
///     const ROOM_IS_FULL: u16 = 7;
///     StreamError::of(error).is_some_and(|broken| broken.cause == Break::Reset(ROOM_IS_FULL))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream broke: {cause}; {hop} says so{}", Detail(detail))]
#[non_exhaustive]
pub struct StreamError {
    /// Why.
    pub cause: Break,
    /// Who says so: the node at the other end, this one, or a harbor between them.
    pub hop: LogicalAddr,
    /// More, for people; may be empty.
    pub detail: String,
}

impl StreamError {
    /// What broke the stream that gave this error; `None` if it is another error.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Fault> for StreamError {
    fn from(Fault { cause, hop, text }: Fault) -> Self {
        Self { cause, hop, detail: text }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        StreamError::from(fault).into()
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error.cause {
            Break::Reset(_) | Break::Dropped => io::ErrorKind::ConnectionReset,
            Break::Idle => io::ErrorKind::TimedOut,
            Break::Lost | Break::Stopped => io::ErrorKind::ConnectionAborted,
            Break::Truncated => io::ErrorKind::UnexpectedEof,
            Break::Refused(_) => io::ErrorKind::ConnectionRefused,
            Break::Other(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// What a layer refuses may be a message; the name of a method has a slash.
struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.contains('/') { "call of" } else { "message" };
        write!(f, "{kind} {}", self.0)
    }
}

/// Why nothing was sent.
struct Why<'a> {
    to: &'a Target,
    reason: Reason,
    detail: &'a str,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, reason, detail } = self;
        match (to, reason) {
            // Which members there are and cannot be picked says all.
            (Target::Pick(_), Reason::NotAMember) if !detail.is_empty() => f.write_str(detail),
            _ => write!(f, "{reason}{}", Detail(detail)),
        }
    }
}

/// A text in brackets, or nothing.
struct Detail<'a>(&'a str);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// Tells of messages that `send` accepted and that did not reach a handler; see
/// [`crate::Builder::on_undeliverable`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undeliverable {
    /// One message, or one notification, came back or did not leave. Its handler did not run.
    Bounced {
        /// Whom it was for.
        address: LogicalAddr,
        /// Which message; `None` for a notification.
        message: Option<MessageId>,
        /// Which method of a notification, as its number on the wire; `None` for a message.
        method: Option<u64>,
        /// Its full name, such as `chat.Line`, as far as the node remembers what it has sent: not
        /// of bytes, and of some 200 kinds at most.
        name: Option<&'static str>,
        /// Why.
        reason: Reason,
        /// More, for people, such as why nobody could be connected to; may be empty.
        detail: String,
        /// Who sent it back; `None` if it never left this node.
        hop: Option<LogicalAddr>,
    },
    /// Messages were in a connection when it broke.
    Lost {
        /// Who was at the other end.
        peer: LogicalAddr,
        /// How many at most.
        at_most: u64,
        /// How many in truth: known when both ends have met again. A notice with this follows one
        /// without, and takes its place; one that follows none is about bounces that were lost. It
        /// never comes if the other end restarts, or is not heard of again.
        exactly: Option<u64>,
    },
}

impl fmt::Display for Undeliverable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, number) = match self {
            Self::Bounced { address, message, method, name, reason, detail, hop } => {
                match (message, name) {
                    (Some(_), Some(name)) => write!(f, "message {name}")?,
                    (Some(id), None) => write!(f, "message {id}")?,
                    (None, Some(name)) => write!(f, "notification {name}")?,
                    (None, None) => write!(f, "notification {:#018x}", method.unwrap_or(0))?,
                }
                match hop {
                    None => write!(f, " to {address} was not sent")?,
                    Some(hop) if hop == address => write!(f, " to {address} came back")?,
                    Some(hop) => write!(f, " to {address} came back from {hop}")?,
                }
                return write!(f, ": {reason}{}", Detail(detail));
            }
            Self::Lost { peer, at_most, exactly: None } => (peer, format!("at most {at_most}")),
            Self::Lost { peer, exactly: Some(exactly), .. } => (peer, format!("exactly {exactly}")),
        };
        write!(f, "messages to {peer} were lost with their connection: {number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_says_what_it_was_to_whom_and_whether_it_may_have_run() {
        let to = LogicalAddr::new(1, 2, 1);
        let (method, detail) = ("chat.Room/Join", String::new());
        let error = CallError::MaybeDone { to: to.into(), method, cause: Doubt::Deadline, detail };
        assert_eq!(
            error.to_string(),
            "call of chat.Room/Join to 1.2.1 may have run: its deadline passed without a reply"
        );
        let (reason, detail) = (Reason::Busy, "the callee is".to_owned());
        let error = CallError::NotSent { to: to.into(), method, reason, detail };
        assert_eq!(
            error.to_string(),
            "call of chat.Room/Join to 1.2.1 did not run: \
             too much is in flight; try later or elsewhere (the callee is)"
        );
        let (method, reason, detail) = ("chat.Line", Reason::Refused, "who are you?".to_owned());
        let error = CallError::NotSent { to: to.into(), method, reason, detail };
        assert_eq!(
            error.to_string(),
            "message chat.Line to 1.2.1 did not run: it is refused there (who are you?)"
        );
        let (what, detail) = ("message chat.Line".to_owned(), String::new());
        let error = SendError { to: to.into(), what, reason: Reason::Draining, detail };
        assert_eq!(
            error.to_string(),
            "message chat.Line to 1.2.1 was not accepted: \
             the node is stopping and takes nothing new"
        );
    }

    #[test]
    fn debug_prints_the_text_behind_what_to_match_on() {
        let to = LogicalAddr::new(1, 2, 1);
        let refused = Status::new(Code::NotFound, "which room?");
        assert_eq!(format!("{:?}", CallError::Status(refused)), "Status: NotFound: which room?");
        let (what, detail) = ("message chat.Line".to_owned(), String::new());
        let error = SendError { to: to.into(), what, reason: Reason::Draining, detail };
        assert_eq!(format!("{error:?}"), format!("Draining: {error}"));
    }

    #[test]
    fn a_notice_names_what_did_not_arrive_and_who_says_so() {
        let [to, other] = [(1, 2, 1), (1, 255, 1)].map(|(group, kind, id)| {
            LogicalAddr::from_bits(group << 20 | kind << 12 | id).unwrap()
        });
        let bounced = |message: Option<u64>, name, reason, detail: &str, hop| {
            let method = message.is_none().then_some(7);
            let (message, detail) = (message.map(MessageId::new), detail.to_owned());
            let notice =
                Undeliverable::Bounced { address: to, message, method, name, reason, detail, hop };
            notice.to_string()
        };
        assert_eq!(
            bounced(Some(9), Some("chat.Line"), Reason::UnknownMessage, "", Some(to)),
            "message chat.Line to 1.2.1 came back: no handler for it is registered there"
        );
        assert_eq!(
            bounced(Some(9), None, Reason::Hops, "", Some(other)),
            "message 9 to 1.2.1 came back from 1.255.1: it went through too many relays"
        );
        assert_eq!(
            bounced(None, Some("chat.Room/Join"), Reason::Expired, "cannot connect", None),
            "notification chat.Room/Join to 1.2.1 was not sent: \
             its deadline passed before it was handled (cannot connect)"
        );
        assert_eq!(
            bounced(None, None, Reason::Busy, "", Some(to)),
            "notification 0x0000000000000007 to 1.2.1 came back: \
             too much is in flight; try later or elsewhere"
        );
        let lost = |exactly| Undeliverable::Lost { peer: to, at_most: 3, exactly }.to_string();
        assert_eq!(lost(None), "messages to 1.2.1 were lost with their connection: at most 3");
        assert_eq!(lost(Some(1)), "messages to 1.2.1 were lost with their connection: exactly 1");
    }
}
