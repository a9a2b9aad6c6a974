//! Messaging between the nodes of clusters: typed calls and one-way messages, by logical address.
//!
//! ```no_run
//! use seaway::discovery::MembersFile;
//! use seaway::{Context, LogicalAddr, Node, NodeType, Pick, Status};
//! # use seaway_testproto::chat;
//!
//! // What `seaway-codegen` has made of proto/chat.proto is taken in with:
//! // mod chat { seaway::include_proto!("chat"); }
//!
//! struct Room;
//!
//! impl chat::room::Service for Room {
//!     async fn join(&self, cx: &Context, guest: chat::JoinRequest) -> Result<chat::JoinReply, Status> {
//!         println!("{} brings {}", cx.peer(), guest.name);
//!         Ok(chat::JoinReply { members: 1 })
//!     }
//! #   async fn leave(&self, _: &Context, _: chat::LeaveRequest) -> Result<chat::LeaveReply, Status> {
//! #       Ok(chat::LeaveReply {})
//! #   }
//! }
//!
//! const ROOMS: NodeType = NodeType::new(7);
//! const ROOM: LogicalAddr = LogicalAddr::new(1, 7, 2);
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("1.7.1")
//!     .discovery(MembersFile::open("members.toml"))
//!     .serve(chat::room::Server::new(Room))
//!     .on_message(|cx, line: chat::Line| async move { println!("{}: {}", cx.peer(), line.text) })
//!     .on_undeliverable(|notice| eprintln!("{notice}"))
//!     .start()
//!     .await?;
//!
//! let ann = chat::JoinRequest { name: "Ann".into() };
//! chat::room::join(&node, ROOM, ann.clone()).await?;
//! chat::room::join(&node, Pick::any(ROOMS), ann.clone()).await?;
//! chat::room::join(&node, Pick::by_key(ROOMS, "Ann"), ann).await?;
//! node.send(ROOM, &chat::Line { text: "hello".into() }).await?;
//! node.stopped().await;
//! # Ok(()) }
//! ```
//!
//! # Without `.proto` files
//!
//! Methods and messages can as well be written by hand, with the crate `prost`:
//!
//! ```
//! use seaway::{Message, Method, Node};
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
//! const SHOUT: Method<Line, Line> = Method::new("chat.Crier/Shout");
//!
//! let builder = Node::builder("1.7.1")
//!     .on_call(SHOUT, |_, line: Line| async move { Ok(Line { text: line.text.to_uppercase() }) })
//!     .on_message(|cx, line: Line| async move { println!("{}: {}", cx.peer(), line.text) });
//! # drop(builder);
//! // And at another node: `node.call(room, SHOUT, line).await?`
//! ```
//!
//! # Where to look
//!
//! - [`Node`] and its [`Builder`]: everything begins here, and there is nothing else to start.
//! - [`LogicalAddr`] names one node, a [`Pick`] one of a [`NodeType`]: either says whom a call or a
//!   message is for.
//! - [`Request`] says how a call is made: its time, its metadata, whether a reply is wanted.
//! - [`CallError`] tells what certainly did not run from what may have; [`SendError`] and
//!   [`Undeliverable`] tell of messages that did not arrive.
//! - [`Stream`] is a pipe of bytes to a service of another node: [`Node::open_stream`] and
//!   [`Builder::on_stream`]; [`StreamError`] tells a break from an end.
//! - [`Context`] is what a handler knows: who asks, how much time is left, whether it is cancelled.
//! - [`discovery`] is where a node learns of its peers: from a file, in the process, or from an
//!   engine of yours.
//! - [`layer`]: what stands around each call, such as retries and rate limits.
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
mod debug;
pub mod discovery;
mod dispatch;
mod error;
mod handshake;
mod incarnation;
pub mod layer;
mod link;
mod loss;
mod map;
mod messaging;
mod metrics;
mod name;
mod net;
mod node;
mod pair;
mod pairs;
mod relay;
mod router;
mod routing;
mod rpc;
#[doc(hidden)]
pub mod rt;
mod stream;
mod stripe;
mod wire;

pub use addr::{AddrError, LogicalAddr, NodeType};
pub use config::{ClusterKey, Config, KeyError};
pub use context::Context;
pub use error::{CallError, Code, Doubt, SendError, Status, StreamError, Undeliverable};
pub use incarnation::Incarnation;
pub use metrics::Stats;
pub use name::{Message, MessageId, Method};
pub use node::{Builder, IntoAddr, Node, Report, Serve, StartError, StopCause};
pub use routing::{Key, Pick, Target};
pub use rpc::{CallHandle, Limit, Replier, ReplyFuture, Request};
pub use stream::{MessageError, MessageReader, MessageWriter, OpenStream, Stream};
pub use wire::{Break, Reason};

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
