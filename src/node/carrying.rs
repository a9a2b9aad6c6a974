//! How exported members get across: a harbor carries those of its group into the harbors'
//! discovery, and those of other groups from there into its group's.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::Inner;
use super::engine::Engine;
use super::membership::Known;
use super::picture::Source;
use crate::discovery::Member;

/// How often all is said again, and for how long that counts.
const EVERY: Duration = Duration::from_secs(3);
pub(super) const TTL: Duration = Duration::from_secs(10);
/// The least time between two words: what changes meanwhile is said together.
const PAUSE: Duration = Duration::from_millis(100);

/// What makes a carrier look again.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    /// Something may be different where it has things from.
    pub(super) news: Notify,
    /// Where it carries them to, they may be forgotten.
    pub(super) forgotten: Notify,
}

/// Carries into one discovery what the other has for it.
pub(super) struct Carrier {
    inner: Arc<Inner>,
    known: Arc<Known>,
    into: Source,
    engine: Engine,
}

impl Carrier {
    pub(super) fn new(
        inner: &Arc<Inner>,
        known: &Arc<Known>,
        into: Source,
        engine: Engine,
    ) -> Self {
        Self { inner: Arc::clone(inner), known: Arc::clone(known), into, engine }
    }

    /// Goes on for ever.
    pub(super) async fn keep_carrying(self) {
        let prompts = self.known.prompts(self.into);
        let mut carried = None;
        let mut due = Instant::now();
        loop {
            let load = self.known.picture.lock().await.load(self.into);
            if carried.as_ref() != Some(&load) || due <= Instant::now() {
                due = Instant::now() + EVERY;
                carried = self.carry(load).await;
            }
            sleep(PAUSE).await;
            select! {
                () = prompts.news.notified() => {}
                () = prompts.forgotten.notified() => carried = None,
                () = sleep_until(due) => {}
            }
        }
    }

    /// Carries all of it; returns what is there then, if that is known.
    async fn carry(&self, load: Vec<Member>) -> Option<Vec<Member>> {
        let me = self.inner.home.me;
        match self.engine.carry(me, load.clone(), TTL).await {
            Ok(()) => Some(load),
            Err(error) => {
                tracing::warn!(
                    node = %me, %error,
                    "cannot carry exported members into {}; they may soon not be seen there",
                    self.into
                );
                None
            }
        }
    }
}
