//! What the nodes say to each other, and what they do when they hear it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaway::{Builder, Code, Message, Method, Status};
use tokio::sync::watch;

/// Gives back what it was given.
pub(crate) const ECHO: Method<Text, Text> = Method::new("quickstart.Echo/Say");
/// Never answers.
pub(crate) const NAP: Method<Empty, Empty> = Method::new("quickstart.Bed/Nap");
/// Answers once the node has seen something as often as asked.
pub(crate) const SEEN: Method<Seen, Seen> = Method::new("quickstart.Witness/Seen");

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Seen {
    #[prost(string, tag = "1")]
    pub(crate) what: String,
    #[prost(uint64, tag = "2")]
    pub(crate) count: u64,
}

/// A message: nobody answers it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
}

impl Message for Note {
    const NAME: &'static str = "quickstart.Note";
}

/// Registers the handlers of all that.
pub(crate) fn serve(builder: Builder) -> Builder {
    let witness = Witness::default();
    let (napping, noting, asked) = (witness.clone(), witness.clone(), witness);
    let noted = Arc::new(AtomicU64::new(0));
    builder
        .on_call(ECHO, |_, text: Text| async move { Ok(text) })
        .on_call(NAP, move |_, Empty {}| {
            let witness = napping.clone();
            async move {
                witness.saw("nap begun");
                let _cancelled = OnDrop(witness);
                std::future::pending().await
            }
        })
        .on_call(SEEN, move |_, Seen { what, count }| {
            let witness = asked.clone();
            async move {
                let count = witness.wait_for(&what, count).await?;
                Ok(Seen { what, count })
            }
        })
        .on_message(move |_, note: Note| {
            let is_next = noted.fetch_max(note.number, Ordering::Relaxed) + 1 == note.number;
            noting.saw(if is_next { "note in order" } else { "note out of order" });
            async {}
        })
}

/// Nothing tells a handler that its caller has given up: its future is dropped.
struct OnDrop(Witness);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.saw("nap cancelled");
    }
}

/// Counts what happens in this process.
#[derive(Clone, Default)]
struct Witness(Arc<watch::Sender<BTreeMap<String, u64>>>);

impl Witness {
    fn saw(&self, what: &str) {
        self.0.send_modify(|counts| *counts.entry(what.to_owned()).or_default() += 1);
    }

    async fn wait_for(&self, what: &str, count: u64) -> Result<u64, Status> {
        let of = |counts: &BTreeMap<String, u64>| counts.get(what).copied().unwrap_or_default();
        let mut counts = self.0.subscribe();
        let enough = counts.wait_for(|counts| of(counts) >= count).await;
        let enough = enough.map_err(|_| Status::new(Code::Unavailable, "the witness is gone"))?;
        Ok(of(&enough))
    }
}
