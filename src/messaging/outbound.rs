//! Sending messages, and hearing of those that came back.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::addr::LogicalAddr;
use crate::context::Context;
use crate::error::{SendError, Undeliverable};
use crate::handshake::Lane;
use crate::link::{Class, Home, Link, Put, Unsent};
use crate::loss::Loss;
use crate::name::{Message, MessageId};
use crate::pairs::Pairs;
use crate::router::{Denied, Router};
use crate::routing::Target;
use crate::wire::{Bounce, Header, Kind, Reason};

/// Sends a node's messages.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) home: Arc<Home>,
    pub(crate) router: Arc<Router>,
    pub(crate) pairs: Arc<Pairs>,
}

/// Which message it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    id: MessageId,
    /// Not known of bytes.
    name: Option<&'static str>,
}

impl Subject {
    pub(crate) const fn of<M: Message>() -> Self {
        Self { id: M::ID, name: Some(M::NAME) }
    }

    pub(crate) const fn bytes(id: MessageId) -> Self {
        Self { id, name: None }
    }

    /// The error of a message that was not accepted.
    pub(crate) fn refused(self, to: impl Into<Target>, denied: Denied) -> SendError {
        let Denied { reason, detail } = denied;
        let what = match self.name {
            Some(name) => format!("message {name}"),
            None => format!("message {}", self.id),
        };
        SendError { to: to.into(), what, reason, detail }
    }
}

/// A message to be encoded.
pub(crate) trait Body {
    fn len(&self) -> usize;
    fn put(&self, out: &mut Vec<u8>);
}

impl<M: prost::Message> Body for M {
    fn len(&self) -> usize {
        self.encoded_len()
    }

    fn put(&self, out: &mut Vec<u8>) {
        // Fails only without room, and a Vec grows.
        self.encode(out).ok();
    }
}

/// Bytes as they are.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Body for Raw<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

impl Sender {
    /// Waits for room until the message's deadline.
    pub(crate) async fn send(
        &self,
        to: &Target,
        subject: Subject,
        body: &(impl Body + ?Sized),
    ) -> Result<(), SendError> {
        let to = self.resolve(to, subject)?;
        let refused = |denied| subject.refused(to, denied);
        let put = self.prepare(to, subject, body.len()).map_err(refused)?;
        // One who sends and sends must not keep those away who wait in line.
        tokio::task::consume_budget().await;
        self.pairs.put(Lane::Message, &put, |out| body.put(out)).await.map_err(refused)
    }

    /// Never waits.
    pub(crate) fn try_send(
        &self,
        to: &Target,
        subject: Subject,
        body: &(impl Body + ?Sized),
    ) -> Result<(), SendError> {
        let to = self.resolve(to, subject)?;
        let refused = |denied| subject.refused(to, denied);
        let put = self.prepare(to, subject, body.len()).map_err(refused)?;
        self.pairs.try_put(Lane::Message, &put, |out| body.put(out)).map_err(refused)
    }

    fn resolve(&self, to: &Target, subject: Subject) -> Result<LogicalAddr, SendError> {
        self.router.resolve(to).map_err(|denied| subject.refused(to.clone(), denied))
    }

    fn prepare(&self, to: LogicalAddr, subject: Subject, len: usize) -> Result<Put, Denied> {
        let timeout = self.home.config.message_timeout;
        let now = self.home.clock.now_for(timeout);
        let mut deadline = now.deadline(timeout);
        if let Some(handlers) = Context::of_current(Context::deadline) {
            deadline = deadline.min(handlers);
        }
        if deadline <= now {
            let detail = "the handler that sends it has no time left";
            return Err(Denied::new(Reason::Expired, detail));
        }
        let limit = self.home.config.frame_bytes_max;
        if len > limit {
            let detail = format!("it has {len} bytes; a frame takes {limit}");
            return Err(Denied::new(Reason::TooLarge, detail));
        }
        if let Some(name) = subject.name {
            self.home.names.remember(subject.id.get(), name);
        }
        let header = self.home.header(Kind::Message, to, subject.id.get());
        Ok(Put {
            class: Class::Data,
            header,
            deadline,
            extension_len: 0,
            body_len: len,
            only_session: None,
        })
    }
}

type OnUndeliverable = Box<dyn Fn(Undeliverable) + Send + Sync>;

/// A frame that came back, or never left.
struct Back {
    address: LogicalAddr,
    kind: Kind,
    /// Message id or method.
    what: u64,
    reason: Reason,
    detail: String,
    hop: Option<LogicalAddr>,
}

/// Tells the user what came back or was lost.
pub(crate) struct Notices {
    home: Arc<Home>,
    on_undeliverable: Option<OnUndeliverable>,
}

impl Notices {
    pub(crate) fn new(home: Arc<Home>, on_undeliverable: Option<OnUndeliverable>) -> Self {
        Self { home, on_undeliverable }
    }

    /// One frame came back.
    pub(crate) fn on_bounce(&self, address: LogicalAddr, id: u64, bounce: &Bounce) {
        let what = if bounce.kind == Kind::Message { id } else { bounce.subject };
        self.bounced(Back {
            address,
            kind: bounce.kind,
            what,
            reason: bounce.reason,
            detail: String::new(),
            hop: Some(bounce.hop),
        });
    }

    /// One frame never left.
    pub(crate) fn on_unsent(&self, link: &Link, unsent: &Unsent, reason: Reason) {
        let Header { kind, to, id, .. } = unsent.header;
        self.bounced(Back {
            address: to,
            kind,
            what: if kind == Kind::Message { id } else { unsent.method },
            reason,
            detail: link.detail(reason),
            hop: None,
        });
    }

    fn bounced(&self, back: Back) {
        let Back { address, kind, what, reason, detail, hop } = back;
        self.home.counters.bounced.add(1);
        self.home.counters.bounced_by.add(reason);
        let is_message = kind == Kind::Message;
        self.tell(Undeliverable::Bounced {
            address,
            message: is_message.then_some(MessageId::new(what)),
            method: (!is_message).then_some(what),
            name: self.home.names.of(what),
            reason,
            detail,
            hop,
        });
    }

    /// Frames were lost with a session, or it is now known how many.
    pub(crate) fn on_loss(&self, peer: LogicalAddr, loss: Loss) {
        let Loss { at_most, exactly, instead_of } = loss;
        let lost = &self.home.counters.lost;
        lost.add(exactly.unwrap_or(at_most));
        lost.sub(instead_of);
        self.tell(Undeliverable::Lost { peer, at_most, exactly });
    }

    fn tell(&self, notice: Undeliverable) {
        tracing::debug!(%notice, "undeliverable");
        let Some(told) = &self.on_undeliverable else { return };
        if catch_unwind(AssertUnwindSafe(|| told(notice))).is_err() {
            self.home.counters.panics.add(1);
            tracing::error!("on_undeliverable panicked");
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}
