//! A frame to be put into a lane, whether it may be, and why it was not.

use std::sync::Arc;

use super::Queue;
use crate::clock::Millis;
use crate::link::outbox::{Class, Rejected};
use crate::link::session::Session;
use crate::wire::{HEADER_LEN, Header, Kind, Reason};

/// A frame to be put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) class: Class,
    pub(crate) header: Header,
    pub(crate) deadline: Millis,
    /// Length of the extension in bytes.
    pub(crate) extension_len: usize,
    /// Length of the body in bytes.
    pub(crate) body_len: usize,
    /// The session that the frame belongs to, if it must not outlive it.
    pub(crate) only_session: Option<u64>,
}

impl Put {
    /// A frame of the node's own that cannot wait for room. It may outlive sessions, if its kind
    /// does.
    pub(crate) const fn control(header: Header, deadline: Millis, body_len: usize) -> Self {
        let (class, extension_len, only_session) = (Class::Control, 0, None);
        Self { class, header, deadline, extension_len, body_len, only_session }
    }
}

/// Why a frame was not put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutError {
    /// There is no room; with `put`, until the deadline.
    Full,
    /// Too much is on its way to the destination, which lies beyond harbors.
    Window,
    /// The frame's session is over.
    Over,
    /// The peer takes no frame as large as this.
    TooLarge,
    /// Nothing more is sent to the peer.
    Closed(Reason),
    /// The peer takes nothing, not even what cannot wait: the link must be closed.
    Overflow,
    /// The body has more bytes than was said: see [`LONGER`].
    Longer,
}

/// What people are told of [`PutError::Longer`].
pub(crate) const LONGER: &str = "its `encoded_len` says fewer bytes than it encodes to";

impl From<Rejected> for PutError {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Full => Self::Full,
            Rejected::Overflow => Self::Overflow,
            Rejected::Longer => Self::Longer,
        }
    }
}

impl Queue {
    /// Whether the frame may be put; then [`Queue::put`] is to follow.
    pub(super) fn check(&mut self, put: &Put, is_draining: bool) -> Result<(), PutError> {
        if is_draining && matches!(put.header.kind, Kind::Message | Kind::Request) {
            return Err(PutError::Closed(Reason::Draining));
        }
        // Answers and signs of life go on until the session ends.
        if let Some(reason) = self.closed
            && put.header.is_lasting()
            && !(put.header.is_answer() && self.session.is_some())
        {
            return Err(PutError::Closed(reason));
        }
        let is_over = |session: &Arc<Session>| session.is_finishing();
        if put.header.kind == Kind::Down && self.session.as_ref().is_none_or(is_over) {
            // Who has no connection to hear it over knows by that.
            return Err(PutError::Over);
        }
        let len = HEADER_LEN + put.extension_len + put.body_len;
        if put.header.hops > 0 {
            self.check_passing(put, len)?;
        } else if put.class == Class::Data && self.is_congested {
            return Err(PutError::Full);
        }
        if let Some(session) = put.only_session
            && self.session.as_ref().is_none_or(|current| current.id != session)
        {
            return Err(PutError::Over);
        }
        if self.session.as_ref().is_some_and(|session| put.body_len > session.frame_bytes_max) {
            return Err(PutError::TooLarge);
        }
        let checked = self.outbox.check(put.class, len);
        if checked == Err(Rejected::Full) && put.header.hops == 0 {
            self.is_congested = true;
        }
        checked.map_err(PutError::from)
    }

    /// A harbor sends back what has no room: nobody waits for it, and nobody is held up.
    fn check_passing(&self, put: &Put, len: usize) -> Result<(), PutError> {
        let has_room = self.share.has_room(put.class, self.outbox.passing(), len);
        match put.class {
            Class::Data if !has_room || !self.outbox.has_room_of_pair(&put.header, len) => {
                Err(PutError::Full)
            }
            Class::Data => Ok(()),
            _ if !has_room || !self.outbox.has_spare(len) => Err(PutError::Overflow),
            _ => Ok(()),
        }
    }

    /// Puts a frame that was checked; returns its position.
    #[inline]
    pub(super) fn put(
        &mut self,
        put: Put,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, PutError> {
        let Put { header, deadline, extension_len, body_len, .. } = put;
        let position = self.outbox.put(header, deadline, (extension_len, body_len), body)?;
        self.put += 1;
        Ok(position)
    }
}
