//! Which member is meant, and which one a frame goes to next. Pure.
//!
//! A [`Table`] holds the members that a node sees and never changes; a change makes another table,
//! which shares nearly everything with the one before. So whoever routes reads without a lock.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod candidates;
mod list;
mod next_hop;
mod paged;
mod pick;
mod rendezvous;
mod table;

pub(crate) use candidates::Candidates;
pub(crate) use next_hop::{HOPS_MAX, Hop, NoRoute, may_speak};
pub use pick::{Key, Pick, Target};
pub(crate) use table::Table;
