//! Services and messages of seaway from `.proto` files, for build scripts. Needs no `protoc`.

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
