//! Sending messages, and hearing of those that came back.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::addr::LogicalAddr;
use crate::context::Context;
use crate::error::{SendError, Undeliverable};
use crate::link::{Class, Home, Link, Loss, Put, PutError, Unsent};
use crate::name::MessageId;
use crate::router::Router;
use crate::wire::{Bounce, Kind, Reason};

/// Sends a node's messages.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) home: Arc<Home>,
    pub(crate) router: Arc<Router>,
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

/// A message that has its link.
pub(crate) struct Outbound<'a, B: ?Sized> {
    link: Arc<Link>,
    put: Put,
    body: &'a B,
}

impl Sender {
    /// Waits for room until the message's deadline.
    pub(crate) async fn send(
        &self,
        to: LogicalAddr,
        id: MessageId,
        body: &(impl Body + ?Sized),
    ) -> Result<(), SendError> {
        let outbound = self.prepare(to, id, body)?;
        // One who sends and sends must not keep those away who wait in line.
        tokio::task::consume_budget().await;
        let mut outcome = outbound.put();
        if outcome == Err(PutError::Full) {
            let (lane, deadline) = (outbound.link.message(), outbound.put.deadline);
            outcome = lane.in_line(self.home.clock, deadline, || outbound.put()).await;
        }
        self.conclude(to, &outbound.link, outcome)
    }

    /// Never waits.
    pub(crate) fn try_send(
        &self,
        to: LogicalAddr,
        id: MessageId,
        body: &(impl Body + ?Sized),
    ) -> Result<(), SendError> {
        let outbound = self.prepare(to, id, body)?;
        let outcome = outbound.put();
        self.conclude(to, &outbound.link, outcome)
    }

    fn prepare<'a, B: Body + ?Sized>(
        &self,
        to: LogicalAddr,
        id: MessageId,
        body: &'a B,
    ) -> Result<Outbound<'a, B>, SendError> {
        let refuse = |reason, detail| SendError { to, reason, detail };
        let now = self.home.clock.now();
        let mut deadline = now.deadline(self.home.config.message_timeout);
        if let Some(context) = Context::current() {
            deadline = deadline.min(context.deadline());
        }
        if deadline <= now {
            return Err(refuse(Reason::Expired, String::new()));
        }
        let (len, limit) = (body.len(), self.home.config.frame_bytes_max);
        if len > limit {
            let detail = format!("it has {len} bytes; a frame takes {limit}");
            return Err(refuse(Reason::TooLarge, detail));
        }
        let link = self.router.link(to).map_err(|reason| refuse(reason, String::new()))?;
        if let Some(reason) = link.refusal() {
            return Err(refuse(reason, String::new()));
        }
        let mut header = link.header(Kind::Message, id.get());
        header.to = to;
        let put = Put {
            class: Class::Data,
            header,
            deadline,
            extension_len: 0,
            body_len: len,
            only_session: None,
        };
        Ok(Outbound { link, put, body })
    }

    fn conclude(
        &self,
        to: LogicalAddr,
        link: &Link,
        outcome: Result<u64, PutError>,
    ) -> Result<(), SendError> {
        let (reason, detail) = match outcome {
            Ok(_) => {
                self.home.counters.accepted.add(1);
                return Ok(());
            }
            Err(PutError::Closed(reason)) => (reason, String::new()),
            Err(PutError::TooLarge) => (Reason::TooLarge, String::new()),
            Err(_) => (Reason::Full, link.trouble()),
        };
        Err(SendError { to, reason, detail })
    }
}

impl<B: Body + ?Sized> Outbound<'_, B> {
    fn put(&self) -> Result<u64, PutError> {
        self.link.message().put(self.put, |out| self.body.put(out))
    }
}

type OnUndeliverable = Box<dyn Fn(Undeliverable) + Send + Sync>;

/// Tells the user what came back or was lost.
pub(crate) struct Notices {
    home: Arc<Home>,
    on_undeliverable: Option<OnUndeliverable>,
}

impl Notices {
    pub(crate) fn new(home: Arc<Home>, on_undeliverable: Option<OnUndeliverable>) -> Self {
        Self { home, on_undeliverable }
    }

    /// One frame came back from `peer`.
    pub(crate) fn on_bounce(&self, address: LogicalAddr, id: u64, bounce: &Bounce) {
        let is_message = bounce.kind == Kind::Message;
        self.bounced(
            address,
            is_message.then_some(MessageId::new(id)),
            (!is_message).then_some(bounce.subject),
            bounce.reason,
            bounce.hop,
        );
    }

    /// One frame never left.
    pub(crate) fn on_unsent(&self, unsent: &Unsent, reason: Reason) {
        let header = &unsent.header;
        let is_message = header.kind == Kind::Message;
        self.bounced(
            header.to,
            is_message.then_some(MessageId::new(header.id)),
            (!is_message).then_some(unsent.method),
            reason,
            self.home.me,
        );
    }

    fn bounced(
        &self,
        address: LogicalAddr,
        message: Option<MessageId>,
        method: Option<u64>,
        reason: Reason,
        hop: LogicalAddr,
    ) {
        self.home.counters.bounced.add(1);
        self.home.counters.bounced_by.add(reason);
        self.tell(Undeliverable::Bounced { address, message, method, reason, hop });
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
