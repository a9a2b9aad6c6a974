//! The handshake: two nodes prove to each other that they hold the cluster key, say who they are,
//! and agree on what the connection is for.
//!
//! ```text
//!        Dialer                                    Acceptor
//!          | -- preface, HELLO ---------------------> |  on_preface, on_hello
//!          | <------------- CHALLENGE --------------- |
//!       Proving -- PROOF ---------------------------> |  on_proof
//!          |                                        Claim    the caller looks into its tables
//!          | <--------------- READY ----------------- |  accept -> Established
//!     Established      or REFUSE, at any point        |  refuse
//! ```
//!
//! Nothing here reads a clock, a socket or a source of randomness: bytes and nonces go in, bytes
//! and values come out. Each state is used up by its step, so that no nonce serves twice. The
//! caller reads until [`message_len`] tells where a message ends and hands over exactly that
//! message; it also keeps the time limit, and the limits on connections that have not proved
//! themselves.
//!
//! The layout of the bytes is in `fields` and `message`, the proofs are in `proof`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::indexing_slicing)]

mod acceptor;
mod dialer;
mod error;
mod fields;
mod local;
mod message;
mod proof;
mod refusal;

pub(crate) use acceptor::{Acceptor, Claim, Rejected, too_many_connections};
pub(crate) use dialer::{Dial, Dialer};
pub(crate) use error::HandshakeError;
pub(crate) use fields::message_len;
pub(crate) use local::{Local, LocalError};
pub(crate) use refusal::Refusal;

use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;
use crate::wire::{Counts, Kind};

/// The length of the preface, which the dialer sends at once, followed by HELLO.
pub(crate) const PREFACE_BYTES: usize = 8;

/// The first bytes of every connection.
const MAGIC: [u8; 4] = *b"SEAW";

/// What one TCP connection of a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Calls, and the link's pulse: heartbeats, bounces, receipts.
    Rpc,
    /// One-way messages.
    Message,
    /// Streams, multiplexed.
    Stream,
}

impl Lane {
    /// The lane's number on the wire.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Rpc => 0,
            Self::Message => 1,
            Self::Stream => 2,
        }
    }

    /// The lane that frames between a source and a destination go on.
    pub(crate) const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Message => Self::Message,
            Kind::Open | Kind::End => Self::Stream,
            _ => Self::Rpc,
        }
    }

    /// The lane's place in a list of all.
    pub(crate) const fn index(self) -> usize {
        self.number() as usize
    }

    /// The lane of a number; `None` for 3–255, which are reserved.
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Rpc),
            1 => Some(Self::Message),
            2 => Some(Self::Stream),
            _ => None,
        }
    }
}

/// The wire versions that a node speaks, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The lowest; at least 1.
    pub(crate) lowest: u8,
    /// The highest; at least the lowest.
    pub(crate) highest: u8,
}

impl Versions {
    /// The versions that this library speaks.
    pub(crate) const OURS: Self = Self { lowest: 1, highest: 1 };

    /// The highest version that both speak.
    const fn common(self, other: Self) -> Option<u8> {
        let highest = if self.highest < other.highest { self.highest } else { other.highest };
        if highest >= self.lowest && highest >= other.lowest { Some(highest) } else { None }
    }

    /// Whether `version` is one of them.
    const fn contain(self, version: u8) -> bool {
        self.lowest <= version && version <= self.highest
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}–{}", self.lowest, self.highest)
    }
}

/// What the node at the other end said about itself; its proof has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) addr: LogicalAddr,
    /// Its incarnation.
    pub(crate) incarnation: Incarnation,
    /// How often it sends when it has nothing to send, in milliseconds; 100–60,000.
    pub(crate) heartbeat_ms: u32,
    /// Its version, for people; at most 64 bytes, may be empty.
    pub(crate) version_label: String,
    /// What it received on the last session of this lane that it knows; `None` if it knows none.
    pub(crate) counts: Option<Counts>,
}

impl Peer {
    /// What this node says about itself.
    fn of(local: &Local, counts: Option<Counts>) -> Self {
        Self {
            addr: local.addr,
            incarnation: local.incarnation,
            heartbeat_ms: local.heartbeat_ms,
            version_label: local.version_label.clone(),
            counts,
        }
    }
}

/// The outcome of a handshake that both sides completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Established {
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// What the connection is for.
    pub(crate) lane: Lane,
    /// The wire version.
    pub(crate) version: u8,
    /// The features that both sides offer.
    pub(crate) features: u64,
    /// The largest body of a frame, in bytes: the lower limit of the two sides.
    pub(crate) frame_bytes_max: u32,
    /// The session that begins; never 0.
    pub(crate) session: u64,
}

#[cfg(test)]
mod tests;
