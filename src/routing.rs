//! Which member a frame goes to next. Pure.
//!
//! A [`Table`] holds the members that a node sees and never changes; a change makes another table,
//! which shares nearly everything with the one before. So whoever routes reads without a lock.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod table;

mod next_hop;
mod rendezvous;

pub(crate) use next_hop::{Hop, NoRoute};
pub(crate) use table::Table;
