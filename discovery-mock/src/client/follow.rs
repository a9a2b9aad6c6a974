//! A watch that outlives its connections.

use std::time::Duration;

use seaway::discovery::{Event, WatchSender};
use tokio::select;
use tokio::time::{Instant, sleep};

use super::MockDiscovery;
use super::conversation::{Conversation, Events};
use crate::wire::{DEAD_AFTER, Fault};

/// The longest pauses before the first and the last attempts to connect again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Tells the watcher what the server says, until nobody watches or only a new watch helps.
pub(super) async fn follow(
    discovery: MockDiscovery,
    mut conversation: Conversation,
    mut first: Event,
    watcher: WatchSender,
) {
    let mut pause = RETRY_MIN;
    let mut told = 0;
    loop {
        let began = Instant::now();
        let (mut events, mut pulse) = conversation.split();
        let fault = select! {
            fault = tell(&mut told, first, &mut events, &watcher) => fault,
            beaten = pulse.beat() => beaten.err(),
            () = watcher.closed() => return,
        };
        let Some(fault) = fault else { return };
        if began.elapsed() > DEAD_AFTER {
            pause = RETRY_MIN;
        }
        // Dropping it closes it; a dead server must not keep it open while we look for a new one.
        drop(conversation);
        let problem = discovery.tell_of(&fault);
        if watcher.send(Event::Problem(problem)).await.is_err() {
            return;
        }
        (conversation, first) = select! {
            again = open_again(&discovery, &mut pause) => again,
            () = watcher.closed() => return,
        };
        tracing::info!(server = %discovery.server, "discovery is back");
    }
}

/// Tells the watcher one event after another; `None` if there is nobody to tell, or the server
/// counts anew.
async fn tell(
    told: &mut u64,
    first: Event,
    events: &mut Events<'_>,
    watcher: &WatchSender,
) -> Option<Fault> {
    let mut event = first;
    loop {
        if let Event::Snapshot { revision, .. } | Event::Delta { revision, .. } = &event {
            if revision < told {
                return None;
            }
            *told = *revision;
        }
        watcher.send(event).await.ok()?;
        event = match events.next().await {
            Ok(event) => event,
            Err(fault) => return Some(fault),
        };
    }
}

/// Connects again, however long it takes.
async fn open_again(discovery: &MockDiscovery, pause: &mut Duration) -> (Conversation, Event) {
    loop {
        // Any pause up to the longest, so that not all nodes come at once.
        let full = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        sleep(Duration::from_millis(rand::random_range(0..=full))).await;
        *pause = RETRY_MAX.min(*pause * 2);
        match discovery.open_watch().await {
            Ok(again) => return again,
            Err(error) => {
                tracing::debug!(server = %discovery.server, ?error, "discovery is still away");
            }
        }
    }
}
