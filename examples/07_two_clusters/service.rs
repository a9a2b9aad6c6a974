//! What the services do, which are the same in both clusters: `testproto/proto/post.proto`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use seaway::{Builder, Context, Status};
use seaway_testproto::post::Letter;
use seaway_testproto::post::office::{Server, Service};

/// The letters that have come; all from one sender.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Counters>);

#[derive(Default)]
struct Counters {
    last: AtomicU64,
    handled: AtomicU64,
    out_of_order: AtomicU64,
}

impl Inbox {
    /// Registers it all.
    pub(crate) fn serve(&self, builder: Builder) -> Builder {
        let inbox = self.clone();
        builder.serve(Server::new(Office)).on_message(move |_, letter: Letter| {
            inbox.take(letter.number);
            async {}
        })
    }

    fn take(&self, number: u64) {
        let Counters { last, handled, out_of_order } = &*self.0;
        handled.fetch_add(1, Relaxed);
        // Also if it is the same once more.
        let is_late = last.fetch_max(number, Relaxed) >= number;
        out_of_order.fetch_add(u64::from(is_late), Relaxed);
    }

    /// How many letters there were, and how many came twice or too late.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.0.handled.load(Relaxed), self.0.out_of_order.load(Relaxed))
    }
}

struct Office;

impl Service for Office {
    async fn stamp(&self, _: &Context, letter: Letter) -> Result<Letter, Status> {
        Ok(letter)
    }
}
