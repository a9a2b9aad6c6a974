//! Messaging between the nodes of clusters, by logical address.

mod addr;
mod clock;
mod config;
mod incarnation;

pub use addr::{AddrError, LogicalAddr, NodeType};
pub use config::{ClusterKey, Config, KeyError};
pub use incarnation::Incarnation;
