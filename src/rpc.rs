//! Calls: requests that are answered.
//!
//! `request` and `call` are the caller's side, `pending` what they wait in; `server` is the other.

mod call;
mod limit;
mod pending;
mod replier;
mod request;
mod server;

pub use call::Call;
pub(crate) use call::Caller;
pub use limit::Limit;
pub(crate) use pending::{Outcome, Pending};
pub use replier::Replier;
pub use request::{CallHandle, Request, Target};
pub(crate) use server::{Methods, Requests, Server, erase};
