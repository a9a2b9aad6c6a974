//! What the chapters in `src/` speak of, so that their code can be compiled and run: the room of
//! `examples/template`.

use seaway::{Code, Context, Status};

use chat::{JoinReply, JoinRequest};

/// A service and a message.
pub mod chat {
    seaway::include_proto!("chat");
}

/// Lets in whoever has a name.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the chapters make one")]
pub struct Room;

impl chat::room::Service for Room {
    async fn join(&self, cx: &Context, guest: JoinRequest) -> Result<JoinReply, Status> {
        if guest.name.is_empty() {
            return Err(Status::new(Code::InvalidArgument, "a guest has a name"));
        }
        let welcome = format!("{} lets {} in", cx.node().address(), guest.name);
        Ok(JoinReply { welcome })
    }
}

/// The code of each chapter, and of the README. That of the first is the template: see `tests/chapters.rs`.
#[cfg(doctest)]
mod chapters {
    #[doc = include_str!("src/addresses.md")]
    struct Addresses;
    #[doc = include_str!("src/discovery.md")]
    struct Discovery;
    #[doc = include_str!("src/calls.md")]
    struct Calls;
    #[doc = include_str!("src/messages.md")]
    struct Messages;
    #[doc = include_str!("src/streams.md")]
    struct Streams;
    #[doc = include_str!("src/pickers.md")]
    struct Pickers;
    #[doc = include_str!("src/layers.md")]
    struct Layers;
    #[doc = include_str!("src/testing.md")]
    struct Testing;
    #[doc = include_str!("src/stopping.md")]
    struct Stopping;
    #[doc = include_str!("../../README.md")]
    struct Readme;
}
