//! Messaging between the nodes of clusters, by logical address.

mod addr;
mod clock;
mod config;
mod context;
pub mod discovery;
mod dispatch;
mod error;
mod handshake;
mod incarnation;
mod link;
mod messaging;
mod metrics;
mod name;
mod net;
mod node;
mod router;
mod routing;
mod rpc;
mod wire;

pub use addr::{AddrError, LogicalAddr, NodeType};
pub use config::{ClusterKey, Config, KeyError};
pub use context::Context;
pub use error::{CallError, Code, Doubt, SendError, Status, Undeliverable};
pub use incarnation::Incarnation;
pub use metrics::Stats;
pub use name::{Message, MessageId, Method};
pub use node::{Builder, IntoAddr, Node, Report, StartError, StopCause};
pub use rpc::{Call, CallHandle, Limit, Replier, Request, Target};
pub use wire::Reason;
