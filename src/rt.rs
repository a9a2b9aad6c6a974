//! What generated code names, and nothing else does: one door, so that a package whose services are
//! generated needs no dependency but `seaway`. Not covered by the promise of a stable API: code and
//! library are generated and built together.

pub use std::convert::{From, Into};
pub use std::fmt;
pub use std::future::Future;
pub use std::marker::{Send, Sync};
pub use std::result::Result;
pub use std::sync::Arc;

pub use ::{prost, prost_types};

pub use crate::context::Context;
pub use crate::error::Status;
pub use crate::name::{Message, MessageId, Method};
pub use crate::node::{Builder, Node, Serve};
pub use crate::routing::Target;
pub use crate::rpc::Request;
