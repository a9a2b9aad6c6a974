//! One-way messages: sending them, handing them to their handlers, and what comes back.

mod beyond;
mod inbound;
mod outbound;

pub(crate) use beyond::{FarMessages, Inbox};
pub(crate) use inbound::{Handlers, Messages, Registered, Shared, bytes_handler, typed_handler};
pub(crate) use outbound::{Notices, Raw, Sender, Subject};
