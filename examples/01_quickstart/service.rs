//! What the nodes serve: the service `Stop` and the message `Note` of `testproto/proto/tour.proto`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaway::{Builder, Code, Context, Status};
use seaway_testproto::tour::stop::{Server, Service};
use seaway_testproto::tour::{NapReply, NapRequest, Note, Seen, Text};
use tokio::sync::watch;

/// Registers it all.
pub(crate) fn serve(builder: Builder) -> Builder {
    let diary = Diary::default();
    let (noted, notes) = (AtomicU64::new(0), diary.clone());
    builder.serve(Server::new(Stop { diary })).on_message(move |_, note: Note| {
        let is_next = noted.fetch_max(note.number, Ordering::Relaxed) + 1 == note.number;
        notes.add(if is_next { "note in order" } else { "note out of order" });
        async {}
    })
}

struct Stop {
    diary: Diary,
}

impl Service for Stop {
    async fn echo(&self, _: &Context, text: Text) -> Result<Text, Status> {
        Ok(text)
    }

    async fn nap(&self, _: &Context, _: NapRequest) -> Result<NapReply, Status> {
        self.diary.add("nap begun");
        let _cancelled = OnDrop(self.diary.clone());
        std::future::pending().await
    }

    async fn witness(&self, _: &Context, Seen { what, count }: Seen) -> Result<Seen, Status> {
        let count = self.diary.wait_for(&what, count).await?;
        Ok(Seen { what, count })
    }
}

/// Nothing tells a handler that its caller has given up: its future is dropped.
struct OnDrop(Diary);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add("nap cancelled");
    }
}

/// Counts what happens in this process.
#[derive(Clone, Default)]
struct Diary(Arc<watch::Sender<BTreeMap<String, u64>>>);

impl Diary {
    fn add(&self, what: &str) {
        self.0.send_modify(|counts| *counts.entry(what.to_owned()).or_default() += 1);
    }

    async fn wait_for(&self, what: &str, count: u64) -> Result<u64, Status> {
        let of = |counts: &BTreeMap<String, u64>| counts.get(what).copied().unwrap_or_default();
        let mut counts = self.0.subscribe();
        let enough = counts.wait_for(|counts| of(counts) >= count).await;
        let enough = enough.map_err(|_| Status::new(Code::Unavailable, "the diary is gone"))?;
        Ok(of(&enough))
    }
}
