//! Services and messages of [seaway](https://docs.rs/seaway) from `.proto` files, for build
//! scripts. Needs no `protoc`.
//!
//! ```no_run
//! // build.rs
//! fn main() -> std::io::Result<()> {
//!     seaway_codegen::compile(["proto/chat.proto", "proto/echo.proto"])
//! }
//! ```
//!
//! ```toml
//! # Cargo.toml: the generated code needs no other dependency
//! [dependencies]
//! seaway = "0.1"
//! [build-dependencies]
//! seaway-codegen = "0.1"
//! ```
//!
//! # Two forms of a file
//!
//! **Long**: a package, services and messages.
//!
//! ```proto
//! // proto/chat.proto
//! syntax = "proto3";
//! package chat;
//! import "seaway/options.proto";                       // ships inside this crate
//!
//! service Room {
//!   rpc Join(JoinRequest) returns (JoinReply);
//! }
//! message JoinRequest { string name = 1; }
//! message JoinReply { uint32 members = 1; }
//! message Line { option (seaway.message_id) = 1001; string text = 1; }
//! ```
//!
//! **Short**: messages `request` and `response`, with neither package nor service. They make one
//! service that is named after the file, as is the package, and has the method `call`.
//!
//! ```proto
//! // proto/echo.proto, as if it ended with:
//! // package echo; service echo { rpc call(request) returns (response); }
//! syntax = "proto3";
//! message request  { string msg = 1; }
//! message response { string msg = 1; }
//! ```
//!
//! Any other file without a package is refused. `proto2` and `proto3` are understood, editions are
//! not.
//!
//! # What comes out
//!
//! For each protobuf package a file of its name, with the types of prost and these:
//!
//! ```text
//! pub mod chat { seaway::include_proto!("chat"); }
//! pub mod echo { seaway::include_proto!("echo"); }
//!
//! impl chat::room::Service for Lobby {                              // serve
//!     async fn join(&self, cx: &Context, request: chat::JoinRequest) -> Result<chat::JoinReply, Status> { … }
//! }
//! Node::builder("1.1.1").serve(chat::room::Server::new(Lobby))
//!
//! chat::room::join(&node, address, request).await?;                 // call: a `seaway::Request`
//! echo::call(&node, address, echo::Request { msg: "hi".into() }).await?;
//! node.send(address, &chat::Line { text: "hello".into() }).await?;  // each message can be sent
//! ```
//!
//! - For a service, the module `room` with the trait `Service`, the type `Server` (made of a service
//!   or of an `Arc` of one), for each method a function, and its `seaway::Method` in capitals. In the
//!   short form all that stands beside the messages.
//! - For a message, also a nested one, `seaway::Message`: its full name, and the id if it was given
//!   one by `(seaway.message_id)`. Without that, the hash of the name stands for it on the wire.
//! - Comments become docs. `google.protobuf` becomes what prost makes of it: `Timestamp`
//!   of `prost_types`, `()` for `Empty`, `bool` for `BoolValue`.
//!
//! Packages are found from each other by `super`, so their modules must be nested as their names
//! are: package `chat.v1` belongs into `mod chat { pub mod v1 { … } }`. With many packages,
//! `.prost(|prost| prost.include_file("all.rs"))` writes these modules, to be taken in with
//! `include!(concat!(env!("OUT_DIR"), "/all.rs"))`.
//!
//! Imported files are generated as well. Where another crate has done that, say so:
//! `.prost(|prost| prost.extern_path(".common", "::their_crate::common"))`.
//!
//! # What is refused
//!
//! With file and line, all at once: methods with a `stream`, which seaway does not have; two messages
//! with one id; two methods with one hash; methods and modules of services that would be the same in
//! Rust, and methods that would be a word of it.
//!
//! # The lock file
//!
//! What has been released must keep its meaning: older nodes are still running. A file
//! `seaway.lock` beside the `.proto` files remembers it, and is a line for each message and method
//! of the files given, sorted by name:
//!
//! ```text
//! message chat.Line = 1001
//! method chat.Room/Join = 0xf3d2d52cf4ffb1e9 (chat.JoinRequest) returns (chat.JoinReply)
//! retired message chat.Shout = 1002
//! ```
//!
//! `SEAWAY_LOCK=chat-server cargo build`, with the name of the package, makes it or adds what is
//! new: do that when you release. A plain build never writes it, and what is not yet in it may still
//! change. But it fails, and says what was and what is, when something in it has another id or other
//! types, or is gone. What is gone for good is marked by hand, with `retired` before its line: its id
//! is then never used again. To be sure that nothing was forgotten, let the release run
//! `SEAWAY_LOCK=chat-server cargo build && git diff --exit-code`.

mod check;
mod config;
mod generator;
mod lock;
mod model;
mod names;
mod problem;
mod source;

pub use config::{Config, compile, configure};
pub use prost_build;
