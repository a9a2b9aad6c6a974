//! Why a handshake ended without a session.

use super::Versions;
use super::fields::Tag;
use super::refusal::Refusal;
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

/// Why a handshake ended. The connection is of no more use, whatever the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The other side does not speak this protocol at all.
    #[error("what connected is not a seaway node: the connection does not begin with its magic")]
    NotSeaway,
    /// A message is longer than any may be.
    #[error("a handshake message of {0} bytes is too long")]
    TooLong(usize),
    /// A message is not built as it must be.
    #[error("malformed handshake message: {0}")]
    Malformed(&'static str),
    /// A message came that does not belong here.
    #[error("handshake message of type {found} where type {expected} was due")]
    Unexpected {
        /// The type that was due.
        expected: u8,
        /// The type that came.
        found: u8,
    },
    /// A message lacks a field.
    #[error("handshake field {0} is missing")]
    Missing(Tag),
    /// A field stands twice in a message.
    #[error("handshake field {0} stands twice in one message")]
    Twice(Tag),
    /// A field has a length or a value that it may not have.
    #[error("handshake field {0} has a length or value that it may not have")]
    Invalid(Tag),
    /// The two sides have no wire version in common. The acceptor's view; a dialer is told by
    /// [`Refusal::Version`].
    #[error("no wire version in common: this node speaks {ours}, the peer {theirs}")]
    NoCommonVersion {
        /// What this node speaks.
        ours: Versions,
        /// What the peer speaks.
        theirs: Versions,
    },
    /// The acceptor chose a version that this node did not offer.
    #[error("the peer chose wire version {0}, which this node did not offer")]
    ChosenVersion(u8),
    /// One side has a cluster key and the other has none, or the labels of their keys differ.
    #[error("no cluster key in common with the peer: give both nodes a key of the same label")]
    NoCommonKey,
    /// The peer has not the secret that goes with the label, or somebody changed the bytes.
    #[error("the peer's proof is wrong: its cluster key differs, or bytes were changed on the way")]
    WrongProof,
    /// The other side, unproven, refused. Whoever is on the path can say so: it is a reason to
    /// try again later and for nothing else.
    #[error("turned away, unproven, so try again later: {refusal}")]
    TurnedAway {
        /// The reason given; for the log only.
        refusal: Refusal,
    },
    /// The other side, which proved itself, refused.
    #[error("refused by incarnation {incarnation} of the peer: {refusal} ({text})")]
    Refused {
        /// The reason.
        refusal: Refusal,
        /// What it adds, for people.
        text: String,
        /// The incarnation of the node that refused.
        incarnation: Incarnation,
    },
    /// This node refused a peer that had proved itself.
    #[error("{peer} was refused: {refusal}")]
    Refusing {
        /// The address that the peer claimed.
        peer: LogicalAddr,
        /// The reason that it was told.
        refusal: Refusal,
    },
}
