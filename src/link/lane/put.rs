//! A frame to be put into a lane, and why it was not.

use crate::clock::Millis;
use crate::link::outbox::{Class, Rejected};
use crate::wire::{Header, Reason};

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
