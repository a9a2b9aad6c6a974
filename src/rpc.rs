//! Calls: requests that are answered.
//!
//! `request`, `call` and `caller` are one side, `pending` what they wait in; `server` is the other.

mod call;
mod caller;
mod layered;
mod limit;
mod pending;
mod replier;
mod request;
mod server;

pub use call::ReplyFuture;
pub(crate) use caller::Caller;
pub use limit::Limit;
pub(crate) use pending::{Outcome, Pending};
pub use replier::Replier;
pub use request::{CallHandle, Request};
pub(crate) use server::{Methods, Requests, Server, erase};
