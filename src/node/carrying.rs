//! How exported members get across: a harbor carries those of its group into the harbors'
//! discovery, and those of other groups from there into its group's.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

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
        let mut changes = self.known.changed.subscribe();
        let mut carried = None;
        let mut due = Instant::now();
        loop {
            changes.mark_unchanged();
            let load = self.known.picture.lock().await.load(self.into);
            if carried.as_ref() != Some(&load) || due <= Instant::now() {
                due = Instant::now() + EVERY;
                carried = self.carry(load).await;
            }
            sleep(PAUSE).await;
            // An error would say that nothing changes any more.
            drop(timeout_at(due, changes.changed()).await);
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
