//! What the machine is told and what it answers.

use std::fmt;

use crate::clock::Millis;
use crate::handshake::Lane;
use crate::incarnation::Incarnation;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Start an attempt to connect.
    Dial { lane: Lane, attempt: u64 },
    /// Give the attempt up, whatever it has reached.
    Abandon { lane: Lane },
    /// Close the session and make its counts final. No `on_ended` follows.
    End { lane: Lane, session: u64, cause: Cause },
    /// Let the newcomer in.
    Accept { lane: Lane, newcomer: u64 },
    /// Turn the newcomer away.
    Refuse { lane: Lane, newcomer: u64, refusal: Denial },
    /// Send a ping on the lane and say `on_heard` when anything comes back.
    Probe { lane: Lane },
    /// Send a ping on the rpc lane.
    Ping,
    /// The peer has another incarnation now: nothing of the older one counts any more.
    Reborn,
}

/// Why a newcomer is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Denial {
    /// We have a session on this lane, or our own dial goes first.
    Duplicate,
    /// A later run of the same address is known.
    Older(Incarnation),
    /// The peer is not, or no longer, a member.
    NotAMember,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// The connection was closed or reset, or the peer broke a rule.
    Closed,
    /// Nothing was heard for three heartbeats.
    Silent,
    /// The peer took no byte from its rpc lane for three heartbeats.
    Stalled,
    /// This node stood still for longer than its peers wait.
    Frozen,
    /// The peer came back with a new connection for the lane.
    Replaced,
    /// The peer has restarted.
    Reborn,
    /// The rpc lane, the pulse of the link, is gone.
    Pulse,
    /// Discovery gives the peer another network address.
    Moved,
    /// This node goes on as a later incarnation.
    Renewed,
    /// Discovery no longer has the peer.
    Removed,
    /// This node stops.
    Stopped,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection was lost",
            Self::Silent => "nothing was heard of the peer for three heartbeats",
            Self::Stalled => "the peer took no byte for three heartbeats",
            Self::Frozen => "this node stood still for longer than its peers wait",
            Self::Replaced => "the peer has lost the connection and made a new one",
            Self::Reborn => "the peer has restarted",
            Self::Pulse => "all connections with the peer were lost",
            Self::Moved => "discovery gives the peer another network address",
            Self::Renewed => "this node goes on as a later run",
            Self::Removed => "discovery no longer has the peer",
            Self::Stopped => "this node stops",
        })
    }
}

/// When something last moved on the link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
    /// Last byte from the peer, on any lane.
    pub(crate) heard: Millis,
    /// Last byte to the peer on the rpc lane.
    pub(crate) sent: Millis,
    /// Since when the rpc lane's writer is stuck; `None` if it is not.
    pub(crate) stuck_since: Option<Millis>,
}

/// What an attempt to connect has led to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) session: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) heartbeat_ms: u64,
}

/// What somebody who wants a lane has said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed {
    pub(crate) incarnation: Incarnation,
    /// The last session of the lane that it knows; 0: none.
    pub(crate) last_session: u64,
    /// Whether our own attempt on the lane has already sent its HELLO.
    pub(crate) is_said: bool,
}
