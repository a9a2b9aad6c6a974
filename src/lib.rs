//! Messaging between the nodes of clusters: typed calls and one-way messages, by logical address.
//!
//! ```no_run
//! use seaway::discovery::MembersFile;
//! use seaway::{Context, LogicalAddr, Message, Method, Node};
//! # #[derive(Clone, PartialEq, prost::Message)] pub struct JoinRequest {}
//! # #[derive(Clone, PartialEq, prost::Message)] pub struct JoinReply {}
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! struct Line {
//!     #[prost(string, tag = "1")]
//!     text: String,
//! }
//!
//! impl Message for Line {
//!     const NAME: &'static str = "chat.Line";
//! }
//!
//! const JOIN: Method<JoinRequest, JoinReply> = Method::new("chat.Room/Join");
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("1.1.1")
//!     .discovery(MembersFile::open("members.toml"))
//!     .on_call(JOIN, |cx: Context, _: JoinRequest| async move {
//!         println!("{} joins", cx.peer());
//!         Ok(JoinReply {})
//!     })
//!     .on_message(|cx: Context, line: Line| async move { println!("{}: {}", cx.peer(), line.text) })
//!     .on_undeliverable(|notice| eprintln!("{notice}"))
//!     .start()
//!     .await?;
//!
//! let room: LogicalAddr = "1.2.1".parse()?;
//! let reply = node.call(room, JOIN, JoinRequest {}).await?;
//! node.send(room, &Line { text: "hello".into() }).await?;
//! node.stopped().await;
//! # Ok(()) }
//! ```
//!
//! # Where to look
//!
//! - [`Node`] and its [`Builder`]: everything begins here, and there is nothing else to start.
//! - [`Request`] says how a call is made: its time, its metadata, whether a reply is wanted.
//! - [`CallError`] tells what certainly did not run from what may have; [`SendError`] and
//!   [`Undeliverable`] tell of messages that did not arrive.
//! - [`Context`] is what a handler knows: who asks, how much time is left, whether it is cancelled.
//! - [`discovery`] is where a node learns of its peers: from a file, in the process, or from an
//!   engine of yours.
//! - [`Config`] has every limit and time, with defaults that are right on a laptop.
//!
//! # What holds for all of it
//!
//! A handler runs at most once for each call or message. Nothing is lost in silence: what was
//! accepted is handled, comes back, or is counted as lost. Every call ends by its deadline. Every
//! queue is bounded. Needs a tokio runtime with time and I/O enabled; several nodes may share one.
//!
//! There are no Cargo features.

mod addr;
mod clock;
mod config;
mod context;
pub mod discovery;
mod dispatch;
mod error;
mod handshake;
mod incarnation;
pub mod layer;
mod link;
mod messaging;
mod metrics;
mod name;
mod net;
mod node;
mod router;
mod routing;
mod rpc;
#[doc(hidden)]
pub mod rt;
mod wire;

pub use addr::{AddrError, LogicalAddr, NodeType};
pub use config::{ClusterKey, Config, KeyError};
pub use context::Context;
pub use error::{CallError, Code, Doubt, SendError, Status, Undeliverable};
pub use incarnation::Incarnation;
pub use metrics::Stats;
pub use name::{Message, MessageId, Method};
pub use node::{Builder, IntoAddr, Node, Report, Serve, StartError, StopCause};
pub use routing::{Key, Pick, Target};
pub use rpc::{CallHandle, Limit, Replier, ReplyFuture, Request};
pub use wire::Reason;

/// Takes in what `seaway-codegen` made of the files of one protobuf package, by the package's name.
/// Best in a module of that name:
///
/// ```text
/// pub mod chat {
///     seaway::include_proto!("chat");
/// }
/// ```
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}
