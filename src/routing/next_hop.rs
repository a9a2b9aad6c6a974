//! The rules by which frames find their way. Pure.
//!
//! ```text
//!  own group        me ------------------------------------> to
//!  other group      me ---> harbor of mine ---> harbor of its ---> to
//! ```
//!
//! The rules of a relay speak of groups only, never of what is in the table. So no frame circles,
//! whatever different nodes believe: it passes two harbors at most.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use super::rendezvous::score;
use super::table::Table;
use crate::addr::LogicalAddr;
use crate::discovery::Member;

/// More relays than this are not on any honest way.
pub(crate) const HOPS_MAX: u8 = 4;

/// Where a frame goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop<'a> {
    /// It has arrived.
    Local,
    /// To the node that it is for.
    Direct(&'a Arc<Member>),
    /// To a harbor that relays it.
    Harbor(&'a Arc<Member>),
}

/// What the groups alone say of the next hop.
enum Way<'a> {
    Hop(Hop<'a>),
    /// Over one of the harbors of this group.
    Over(u16),
}

/// Why a frame cannot go anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoute {
    /// The destination is in the own group, and nobody has that address.
    #[error("{0} is not a member")]
    NotAMember(LogicalAddr),
    /// The way leads through a harbor of this group, and none is known.
    #[error("no harbor of group {0} is known")]
    NoHarbor(u16),
    /// The frame is somebody else's, and relaying it is not this node's part.
    #[error("a frame from {from} to {to} has no business here")]
    NotOnTheWay { from: LogicalAddr, to: LogicalAddr },
}

impl Table {
    /// Says where a frame goes next on its way from `from`, which is this node or, at a harbor,
    /// whoever it relays for.
    ///
    /// All frames of a pair take the same harbor; which one, rendezvous hashing says. Harbors that
    /// `is_down` (their link is known to be broken) come last, then those that discovery calls
    /// unavailable: a bad harbor is tried when there is no better one.
    ///
    /// A destination in another group need not be in the table: a reply goes to a node that is
    /// not exported, too. Whether something may be *begun* with it is for the caller to say.
    pub(crate) fn next_hop(
        &self,
        from: LogicalAddr,
        to: LogicalAddr,
        is_down: impl Fn(LogicalAddr) -> bool,
    ) -> Result<Hop<'_>, NoRoute> {
        match self.way(from, to)? {
            Way::Hop(hop) => Ok(hop),
            Way::Over(group) => self.harbor(group, from, to, is_down),
        }
    }

    /// Whether there is a hop towards this member.
    pub(super) fn leads_to(&self, to: LogicalAddr) -> bool {
        match self.way(self.me(), to) {
            Ok(Way::Hop(_)) => true,
            Ok(Way::Over(group)) => self.harbors(group).next().is_some(),
            Err(_) => false,
        }
    }

    fn way(&self, from: LogicalAddr, to: LogicalAddr) -> Result<Way<'_>, NoRoute> {
        let me = self.me();
        if to == me {
            return Ok(Way::Hop(Hop::Local));
        }
        if from != me && !is_relay(me, from, to) {
            return Err(NoRoute::NotOnTheWay { from, to });
        }
        if to.group() == me.group() {
            let member = self.get(to).ok_or(NoRoute::NotAMember(to))?;
            return Ok(Way::Hop(Hop::Direct(member)));
        }
        if !me.is_harbor() {
            return Ok(Way::Over(me.group()));
        }
        match self.get(to) {
            // Harbors of two groups talk directly.
            Some(harbor) if to.is_harbor() => Ok(Way::Hop(Hop::Direct(harbor))),
            _ => Ok(Way::Over(to.group())),
        }
    }

    /// The harbor of a group that a pair of nodes takes.
    fn harbor(
        &self,
        group: u16,
        from: LogicalAddr,
        to: LogicalAddr,
        is_down: impl Fn(LogicalAddr) -> bool,
    ) -> Result<Hop<'_>, NoRoute> {
        let pair = u64::from(from.bits()) << 32 | u64::from(to.bits());
        let rank = |harbor: &Arc<Member>| {
            (!is_down(harbor.address), harbor.available, score(pair, harbor.address))
        };
        let mut best = None;
        for page in self.harbors(group) {
            for harbor in page {
                let rank = rank(harbor);
                if best.is_none_or(|(best, _)| best < rank) {
                    best = Some((rank, harbor));
                }
            }
        }
        best.map(|(_, harbor)| Hop::Harbor(harbor)).ok_or(NoRoute::NoHarbor(group))
    }
}

/// Whether a frame on its way may pass through `me`: out of the own group or into it.
fn is_relay(me: LogicalAddr, from: LogicalAddr, to: LogicalAddr) -> bool {
    let (goes_out, comes_in) = (from.group() == me.group(), to.group() == me.group());
    me.is_harbor() && goes_out != comes_in
}

/// Whether a peer that is not the source may hand on what is from it: harbors may, for nodes of
/// other groups towards members, and for nodes of their own towards harbors.
pub(crate) fn may_speak(me: LogicalAddr, peer: LogicalAddr, from: LogicalAddr) -> bool {
    let is_neighbour = peer.group() == me.group();
    match (peer.is_harbor(), me.is_harbor()) {
        (true, false) => is_neighbour && from.group() != me.group(),
        // Harbors of different groups are connected: each speaks for itself.
        (true, true) => !is_neighbour && from.group() == peer.group() && !from.is_harbor(),
        (false, _) => false,
    }
}

#[cfg(test)]
mod tests;
