//! Messages that arrive from beyond harbors: each source has a queue of its own, so that one slow
//! handler holds up nobody else whose messages come over the same connection.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::inbound::{Messages, Shared};
use crate::clock::Millis;
use crate::context::Source;
use crate::handshake::Lane;
use crate::link::{Flow, Session};
use crate::pairs::Receipts;
use crate::wire::{FLAG_RECEIPT_WANTED, Frame, NO_DEADLINE};

/// The messages of one source that wait for their turn.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// Somebody is at it.
    is_handling: bool,
}

/// A message that waits.
struct Waiting {
    frame: Frame,
    /// The time until which it may be handled.
    until: Millis,
    /// Of the run of the source that sent it.
    session: Arc<Session>,
}

impl Inbox {
    /// Whether nothing waits and nothing is being handled.
    pub(crate) fn is_empty(&self) -> bool {
        !self.0.lock().is_handling
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().frames.len()
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = self.0.lock();
        let next = queue.frames.pop_front();
        match &next {
            Some(waiting) => queue.bytes -= waiting.frame.len(),
            None => queue.is_handling = false,
        }
        next
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("bytes", &self.0.lock().bytes).finish_non_exhaustive()
    }
}

/// Hands messages from beyond harbors to their handlers.
pub(crate) struct FarMessages {
    pub(crate) shared: Arc<Shared>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) node: Weak<dyn Any + Send + Sync>,
}

/// The source has more on its way than it may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooMuch;

impl FarMessages {
    /// Takes a message that has come, in its turn.
    pub(crate) fn take(
        &self,
        inbox: &Inbox,
        session: &Arc<Session>,
        source: &Source,
        frame: Frame,
        now: Millis,
    ) -> Result<(), TooMuch> {
        let Some(node) = self.node.upgrade() else { return Err(TooMuch) };
        let home = &session.link.home;
        let mut queue = inbox.0.lock();
        let bytes = queue.bytes + frame.len();
        if queue.bytes > 0 && bytes > home.config.pair_bytes_max {
            return Err(TooMuch);
        }
        let until = match frame.header.time_left {
            NO_DEADLINE => Millis::NEVER,
            left => now.after(u64::from(left)),
        };
        // As long as a slice of what was read is there, all of it is.
        let own = |part: &Bytes| Bytes::copy_from_slice(part);
        let Frame { header, extension, body } = frame;
        let frame = Frame { header, extension: own(&extension), body: own(&body) };
        queue.frames.push_back(Waiting { frame, until, session: Arc::clone(session) });
        queue.bytes = bytes;
        if !std::mem::replace(&mut queue.is_handling, true) {
            drop(queue);
            let messages =
                Messages::new(Arc::clone(&self.shared), Arc::clone(session), source, node);
            let run = handle_all(inbox.clone(), messages, Arc::clone(&self.receipts));
            home.tasks.spawn_on(run, &home.runtime);
        }
        Ok(())
    }
}

async fn handle_all(inbox: Inbox, mut messages: Messages, receipts: Arc<Receipts>) {
    while let Some(Waiting { mut frame, until, session }) = inbox.next() {
        let home = &session.link.home;
        if until <= home.clock.now() {
            frame.header.time_left = 0;
        }
        let (seq, len) = (frame.header.seq, frame.len());
        let is_wanted = frame.header.flags & FLAG_RECEIPT_WANTED != 0;
        messages.change_session(&session);
        if let Ok(Flow::Wait) = messages.on_message(frame) {
            let ready = poll_fn(|cx| messages.poll_ready(cx));
            if home.stop.run_until_cancelled(ready).await.is_none() {
                break;
            }
        }
        if let Some(far) = &session.far {
            receipts.settle(far, Lane::Message, seq, len, is_wanted);
        }
        tokio::task::consume_budget().await;
    }
    messages.on_end();
}
