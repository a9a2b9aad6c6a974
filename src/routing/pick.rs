//! Whom a call or a message is for: a node by its address, or one picked among those of a type.
//! Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::iter::successors;
use std::sync::Arc;

use super::candidates::{Candidates, Drawn};
use super::rendezvous::{mix, score};
use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::Member;
use crate::name::fnv1a;

/// Whom a call or a message is for.
///
/// ```
/// use seaway::{LogicalAddr, NodeType, Pick, Target};
/// const ROOMS: NodeType = NodeType::new(7);
/// let named = Target::from(LogicalAddr::new(1, 7, 42));
/// let picked = Target::from(Pick::any(ROOMS));
/// assert_eq!((named.to_string(), picked.to_string()), ("1.7.42".into(), "any node of type 7".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The node with this address, available or not.
    Address(LogicalAddr),
    /// One node of a type, picked anew each time.
    Pick(Pick),
}

impl From<LogicalAddr> for Target {
    fn from(address: LogicalAddr) -> Self {
        Self::Address(address)
    }
}

impl From<Pick> for Target {
    fn from(pick: Pick) -> Self {
        Self::Pick(pick)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Pick(pick) => pick.fmt(f),
        }
    }
}

/// How to pick one among the available nodes of a type: those of the own group, the node itself
/// among them, and the exported ones of groups that a harbor leads to.
///
/// A node that has said that it stops, or that could not be connected to within the last second, is
/// passed over while there is another; but not by [`Pick::by_key`] and [`Pick::with`], for which
/// only discovery counts, so that all who pick agree.
///
/// ```no_run
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinRequest {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinReply {}
/// # const JOIN: seaway::Method<JoinRequest, JoinReply> = seaway::Method::new("chat.Room/Join");
/// # async fn example(node: seaway::Node, user: u64) -> Result<(), seaway::CallError> {
/// use seaway::{NodeType, Pick};
/// const ROOMS: NodeType = NodeType::new(7);
/// node.call(Pick::any(ROOMS), JOIN, JoinRequest {}).await?;
/// node.call(Pick::by_key(ROOMS, user), JOIN, JoinRequest {}).await?;
/// node.call(Pick::weighted(ROOMS).near(), JOIN, JoinRequest {}).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Pick {
    node_type: NodeType,
    how: How,
    is_near: bool,
}

#[derive(Clone)]
enum How {
    Any,
    RoundRobin,
    Weighted,
    Key(u64),
    With(Arc<Chooser>),
}

type Chooser = dyn Fn(&[Arc<Member>]) -> Option<LogicalAddr> + Send + Sync;

impl Pick {
    /// Any of them, at random.
    #[must_use]
    pub const fn any(node_type: NodeType) -> Self {
        Self { node_type, how: How::Any, is_near: false }
    }

    /// One after another, in the order of their addresses. The node counts on for each type,
    /// whoever in it picks.
    #[must_use]
    pub const fn round_robin(node_type: NodeType) -> Self {
        Self { node_type, how: How::RoundRobin, is_near: false }
    }

    /// At random, each as often as its label `weight` says: a whole number up to 1,000,000; 1
    /// without the label, or when it is none. One with weight 0 gets nothing.
    #[must_use]
    pub const fn weighted(node_type: NodeType) -> Self {
        Self { node_type, how: How::Weighted, is_near: false }
    }

    /// The same one for the same key, on every node, machine and build that sees the same members
    /// available. When one goes, only its keys move, spread over all others; when one comes, it
    /// takes an even share.
    ///
    /// By rendezvous hashing (Thaler, Ravishankar: "A Name-Based Mapping Scheme for Rendezvous",
    /// 1996), which looks at each of them: some 2 ns for each.
    #[must_use]
    pub fn by_key(node_type: NodeType, key: impl Into<Key>) -> Self {
        Self { node_type, how: How::Key(key.into().0), is_near: false }
    }

    /// Whichever the function chooses, given all of them: those of the own group first, then
    /// others, in the order of their addresses. `None` is as if there were none. It runs for each
    /// call and must not block.
    ///
    /// ```
    /// use seaway::{NodeType, Pick};
    /// let newest = Pick::with(NodeType::new(7), |rooms| {
    ///     let newest = rooms.iter().max_by_key(|room| room.labels.get("version"));
    ///     newest.map(|room| room.address)
    /// });
    /// ```
    #[must_use]
    pub fn with(
        node_type: NodeType,
        choose: impl Fn(&[Arc<Member>]) -> Option<LogicalAddr> + Send + Sync + 'static,
    ) -> Self {
        Self { node_type, how: How::With(Arc::new(choose)), is_near: false }
    }

    /// Only among those with the same label `zone` as this node, as long as there is one.
    #[must_use]
    pub fn near(mut self) -> Self {
        self.is_near = true;
        self
    }

    /// The type that is picked from.
    #[must_use]
    pub const fn node_type(&self) -> NodeType {
        self.node_type
    }

    /// Picks. `random` and `turn` give the next such number; `is_good` is whether a node is worth
    /// trying as far as this node knows.
    pub(crate) fn choose(
        &self,
        candidates: &Candidates,
        random: impl FnOnce() -> u64,
        turn: impl FnMut() -> usize,
        is_good: impl Fn(LogicalAddr) -> bool,
    ) -> Option<LogicalAddr> {
        let drawn = candidates.drawn(self.is_near);
        match &self.how {
            How::Any => {
                let alike = drawn.addresses().map(|address| (address, 1));
                let draw = |random| drawn.get(below(random, drawn.len())?);
                good(random(), draw, alike, is_good)
            }
            How::RoundRobin => next(drawn, turn, is_good),
            How::Weighted => {
                good(random(), |random| drawn.by_weight(random), drawn.weighed(), is_good)
            }
            How::Key(key) => drawn.addresses().max_by_key(|address| score(*key, *address)),
            How::With(choose) => choose(drawn.members()),
        }
    }
}

/// How often is drawn before all are looked at.
const DRAWS_MAX: usize = 8;

/// A good one if there is any. It is drawn anew and not the next one taken, so that no neighbour
/// gets a bad one's share as well.
fn good(
    random: u64,
    draw: impl Fn(u64) -> Option<LogicalAddr>,
    all: impl Iterator<Item = (LogicalAddr, u32)>,
    is_good: impl Fn(LogicalAddr) -> bool,
) -> Option<LogicalAddr> {
    let first = draw(random)?;
    let mut randoms = successors(Some(random), |random| Some(mix(*random)));
    let mut draws = randoms.by_ref().take(DRAWS_MAX).filter_map(draw);
    let good = draws.find(|drawn| is_good(*drawn));
    drop(draws);
    let all = all.filter(|(address, _)| is_good(*address));
    good.or_else(|| drawn_of(all, randoms.next()?)).or(Some(first))
}

/// One of them, as often as it weighs.
fn drawn_of(all: impl Iterator<Item = (LogicalAddr, u32)>, random: u64) -> Option<LogicalAddr> {
    let mut total = 0;
    let sums = all.map(|(address, weight)| {
        total += u64::from(weight);
        (address, total)
    });
    let sums: Vec<_> = sums.collect();
    let at = u64::try_from(below(random, total.try_into().ok()?)?).ok()?;
    sums.get(sums.partition_point(|(_, sum)| *sum <= at)).map(|(address, _)| *address)
}

fn next(
    drawn: Drawn<'_>,
    mut turn: impl FnMut() -> usize,
    is_good: impl Fn(LogicalAddr) -> bool,
) -> Option<LogicalAddr> {
    let mut draw = || drawn.get(turn().checked_rem(drawn.len())?);
    let first = draw()?;
    let mut this = first;
    for _ in 0..drawn.len() {
        if is_good(this) {
            return Some(this);
        }
        this = draw()?;
    }
    Some(first)
}

/// A number below `len` from a random one. See Lemire: "Fast Random Integer Generation in an
/// Interval", 2019; without its correction, which matters for lengths near 2⁶⁴ only.
pub(super) fn below(random: u64, len: usize) -> Option<usize> {
    let scaled = (u128::from(random) * u128::try_from(len).ok()?) >> 64;
    usize::try_from(scaled).ok().filter(|at| *at < len)
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node_type = self.node_type;
        match self.how {
            How::Any => write!(f, "any node of type {node_type}")?,
            How::RoundRobin => write!(f, "the next node of type {node_type}")?,
            How::Weighted => write!(f, "any node of type {node_type} by weight")?,
            How::Key(_) => write!(f, "the node of type {node_type} for a key")?,
            How::With(_) => write!(f, "a chosen node of type {node_type}")?,
        }
        f.write_str(if self.is_near { ", the near ones first" } else { "" })
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pick({self})")
    }
}

impl PartialEq for Pick {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.how, &other.how) {
            (How::Any, How::Any)
            | (How::RoundRobin, How::RoundRobin)
            | (How::Weighted, How::Weighted) => true,
            (How::Key(one), How::Key(two)) => one == two,
            (How::With(one), How::With(two)) => Arc::ptr_eq(one, two),
            _ => false,
        };
        is_same && self.node_type == other.node_type && self.is_near == other.is_near
    }
}

impl Eq for Pick {}

/// What [`Pick::by_key`] picks by: a number as it is, or the hash of a text or of bytes (FNV-1a,
/// 64 bits), which is the same on every build and machine.
///
/// ```
/// use seaway::Key;
/// assert_eq!(Key::from("ann"), Key::from(b"ann".as_slice()));
/// assert_ne!(Key::from(42_u64), Key::from("42"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl From<u64> for Key {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

impl From<u32> for Key {
    fn from(key: u32) -> Self {
        Self(key.into())
    }
}

impl From<LogicalAddr> for Key {
    fn from(key: LogicalAddr) -> Self {
        Self(key.bits().into())
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        Self(fnv1a(key))
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        key.as_bytes().into()
    }
}

impl From<&String> for Key {
    fn from(key: &String) -> Self {
        key.as_bytes().into()
    }
}

#[cfg(test)]
mod tests;
