//! Ready services: [`echo`], which gives back what it gets, and [`health`], which says how a node is.
//!
//! ```no_run
//! use seaway::{LogicalAddr, Node};
//! use seaway::discovery::MembersFile;
//! use seaway_pbrpc::health::Condition;
//! use seaway_pbrpc::{Echo, Health, echo, health};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let health = Health::new();
//! let node = Node::builder("1.1.1")
//!     .discovery(MembersFile::open("members.toml"))
//!     .serve(echo::Server::new(Echo))
//!     .serve(health::checker::Server::new(health.clone()))
//!     .start()
//!     .await?;
//! health.set("chat.Room", Condition::Serving);
//!
//! let other = LogicalAddr::new(1, 2, 1);
//! let reply = echo::call(&node, other, echo::Request { msg: "hi".into() }).await?;
//! assert_eq!(reply.msg, "hi");
//! let whole = health::CheckRequest::default();
//! let reply = health::checker::check(&node, other, whole).await?;
//! assert_eq!(reply.condition(), Condition::Serving);
//! # Ok(()) }
//! ```
//!
//! # Adding a service
//!
//! Each file in `proto/` becomes a module of this package, named after its protobuf package: put a
//! file there, and nothing else is needed.

mod ready;
mod services {
    #![allow(missing_docs, reason = "a .proto file has no place for the docs of its module")]
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}

pub use ready::{Echo, Health};
pub use services::*;
