//! A small discovery server for tests and laptops, with its client.
//!
//! ```
//! use std::net::TcpListener;
//!
//! use seaway::discovery::Member;
//! use seaway::{Context, LogicalAddr, Method, Node};
//! use seaway_discovery_mock::{MockDiscovery, Server};
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! struct Text {
//!     #[prost(string, tag = "1")]
//!     text: String,
//! }
//!
//! const ECHO: Method<Text, Text> = Method::new("test.Echo/Echo");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Within this process; `seaway-discovery-mock serve` is the same in a process of its own.
//! let server = Server::bind("127.0.0.1:0").await?;
//! let discovery = MockDiscovery::connect(server.local_addr().to_string());
//!
//! let (here, there) = (LogicalAddr::new(1, 1, 1), LogicalAddr::new(1, 2, 1));
//! let near = TcpListener::bind("127.0.0.1:0")?;
//! let far = TcpListener::bind("127.0.0.1:0")?;
//! server.members().put(Member::new(here, near.local_addr()?.to_string()))?;
//! discovery.put(Member::new(there, far.local_addr()?.to_string())).await?; // From anywhere.
//!
//! let echo = Node::builder(there)
//!     .discovery(discovery.clone())
//!     .listener(far)
//!     .on_call(ECHO, |_: Context, request: Text| async move { Ok(request) })
//!     .start()
//!     .await?;
//! let node = Node::builder(here).discovery(discovery).listener(near).start().await?;
//! let reply = node.call(there, ECHO, Text { text: "hello".into() }).await?;
//! assert_eq!(reply.text, "hello");
//!
//! server.members().remove(there);
//! echo.stopped().await; // A node that is no member any more stops itself.
//! # Ok(()) }
//! ```
//!
//! - [`MockDiscovery`] is what a node is given as its discovery, and changes the members from
//!   anywhere.
//! - [`Server`] is the server, in this process. Any number of nodes and other clients connect.
//! - `seaway-discovery-mock` is both for the command line, with the subcommands `serve`, `list`,
//!   `add`, `remove`, `set` and `watch`; each has a `--help`.
//!
//! # While the server is away
//!
//! Nodes go on with the members they know, and their watch finds the server when it is back. What
//! they learn then depends on what the server knows:
//!
//! - With a [state file](ServerBuilder::state), or the [members](ServerBuilder::members) of the
//!   server before, it goes on where it was. Whether a node lives is not kept: each member counts
//!   as alive until 10 s have passed in which its node did not announce itself, and nodes do that
//!   every 3 s.
//! - Without, it knows nobody. Nodes that watch doubt that, keep their members, and are told of
//!   those that are added again. But a node that begins to watch when some have been added and
//!   others have not takes those for removed, and stops if it is among them.
//!
//! # By hand
//!
//! The wire is lines of JSON, so that a person can listen in and ask:
//!
//! ```text
//! $ (echo '{"hello":{"version":1}}'; echo '{"watch":{}}'; sleep 1) | nc 127.0.0.1 8110
//! {"hello":{"version":1}}
//! {"snapshot":{"revision":1792152000000001}}
//! {"put":{"address":"1.2.1","network":"127.0.0.1:7001","exported":false,"available":true}}
//! {"end":{"revision":1792152000000001}}
//! {"alive":{}}
//! ```
//!
//! # What it is not
//!
//! There is one server and no authentication: whoever can connect may change the members. So it
//! listens on loopback only, unless [told otherwise](ServerBuilder::insecure_remote).
//!
//! # Cargo features
//!
//! `cli`, a default, is the binary. Without it there are the server and the client alone.

mod client;
mod server;
mod wire;

pub use client::MockDiscovery;
pub use server::{Server, ServerBuilder, ServerError};
