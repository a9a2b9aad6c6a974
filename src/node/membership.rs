//! What discovery says: kept in the routing table, told to the links, obeyed by the node itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::time::sleep;

use super::stop::{self, StopCause};
use super::{Inner, StartError};
use crate::addr::LogicalAddr;
use crate::discovery::{
    Announcement, Discovery, DiscoveryError, Event, Member, View, ViewChange, Watch,
};
use crate::link;
use crate::routing::Table;

/// How often a node says that it lives, and for how long that counts.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(3);
const ANNOUNCE_TTL: Duration = Duration::from_secs(10);
/// Pauses between attempts to reach a discovery engine that is gone.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How many reports of one event are logged in full.
const REPORTS_MAX: usize = 8;

/// See the module.
pub(super) struct Membership {
    me: LogicalAddr,
    discovery: Arc<dyn Discovery>,
    watch: Option<Watch>,
    view: View,
    table: Table,
}

impl Membership {
    pub(super) fn new(me: LogicalAddr, discovery: Arc<dyn Discovery>) -> Self {
        Self { me, discovery, watch: None, view: View::new(me), table: Table::new(me) }
    }

    /// Waits for the first snapshot.
    pub(super) async fn first(&mut self) -> Result<(), StartError> {
        let mut watch = self.discovery.watch().await?;
        while let Some(event) = watch.next().await {
            let is_snapshot = matches!(event, Event::Snapshot { .. });
            self.apply(event);
            if is_snapshot {
                self.watch = Some(watch);
                return Ok(());
            }
        }
        Err(StartError::DiscoveryEnded)
    }

    /// What discovery has of this node.
    pub(super) fn me(&self) -> Option<&Arc<Member>> {
        self.view.get(self.me)
    }

    pub(super) fn table(&self) -> Table {
        self.table.clone()
    }

    /// Takes an event in; returns what changed, and whether only a new watch helps.
    fn apply(&mut self, event: Event) -> (Vec<ViewChange>, bool) {
        let applied = self.view.apply(event);
        for report in applied.reports.iter().take(REPORTS_MAX) {
            tracing::warn!(node = %self.me, %report, "discovery");
        }
        if applied.reports.len() > REPORTS_MAX {
            let more = applied.reports.len() - REPORTS_MAX;
            tracing::warn!(node = %self.me, more, "discovery: more of the same");
        }
        if !applied.changes.is_empty() {
            self.table = self.table.with(&applied.changes);
        }
        (applied.changes, applied.rewatch)
    }

    /// Follows discovery until the node stops. Without the engine, the node goes on with what it
    /// knew last.
    pub(super) async fn follow(mut self, inner: Arc<Inner>) {
        let stop = inner.home.stop.clone();
        let mut retry = RETRY_MIN;
        loop {
            let event = match &mut self.watch {
                Some(watch) => select! {
                    biased;
                    () = stop.cancelled() => return,
                    event = watch.next() => event,
                },
                None => None,
            };
            let Some(event) = event else {
                self.watch = select! {
                    biased;
                    () = stop.cancelled() => return,
                    watch = self.rewatch(retry) => watch,
                };
                retry = if self.watch.is_some() { RETRY_MIN } else { RETRY_MAX.min(retry * 2) };
                continue;
            };
            let (changes, is_lost) = self.apply(event);
            if is_lost {
                self.watch = None;
            }
            inner.router.set_table(self.table.clone());
            for change in &changes {
                tell_link(&inner, change).await;
            }
            if let Some(cause) = self.reason_to_stop(&inner, &changes) {
                stop::begin(&inner, cause);
            }
        }
    }

    async fn rewatch(&mut self, pause: Duration) -> Option<Watch> {
        sleep(pause).await;
        match self.discovery.watch().await {
            Ok(watch) => {
                self.view.on_new_watch();
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(node = %self.me, %error, "discovery cannot be reached");
                None
            }
        }
    }

    fn reason_to_stop(&self, inner: &Inner, changes: &[ViewChange]) -> Option<StopCause> {
        let mine = changes.iter().find(|change| change.address() == self.me)?;
        match mine {
            ViewChange::Removed(_) => Some(StopCause::Removed),
            ViewChange::Updated { old, new } if old.network != new.network => {
                Some(StopCause::Moved)
            }
            ViewChange::Added(new) | ViewChange::Updated { new, .. } => {
                let newer = new.incarnation?;
                (newer > inner.home.incarnation()).then_some(StopCause::Superseded(newer))
            }
        }
    }
}

async fn tell_link(inner: &Inner, change: &ViewChange) {
    let Some(link) = inner.router.existing(change.address()) else { return };
    if link.peer == inner.home.me {
        return;
    }
    match change {
        ViewChange::Added(new) => {
            link.tell(link::Event::Returned).await;
            if let Some(incarnation) = new.incarnation {
                link.tell(link::Event::Incarnation(incarnation)).await;
            }
        }
        ViewChange::Removed(_) => link.tell(link::Event::Removed).await,
        ViewChange::Updated { old, new } => {
            if let Some(incarnation) = new.incarnation
                && new.incarnation != old.incarnation
            {
                link.tell(link::Event::Incarnation(incarnation)).await;
            }
            if old.network != new.network {
                link.tell(link::Event::Moved).await;
            }
        }
    }
}

/// Says once that the node lives.
///
/// # Errors
///
/// Only those that trying again does not mend.
pub(super) async fn announce(inner: &Inner, available: bool) -> Result<(), StartError> {
    let home = &inner.home;
    let announcement =
        Announcement::new(home.me, home.incarnation()).available(available).ttl(ANNOUNCE_TTL);
    let announcement = inner
        .labels
        .iter()
        .fold(announcement, |announcement, (key, value)| announcement.label(key, value));
    match inner.discovery.announce(&announcement).await {
        Ok(()) => Ok(()),
        Err(DiscoveryError::Superseded { recorded, .. })
            if stop::on_superseded(inner, recorded) =>
        {
            let again = Announcement { incarnation: home.incarnation(), ..announcement };
            Ok(inner.discovery.announce(&again).await?)
        }
        Err(
            error @ (DiscoveryError::Superseded { .. }
            | DiscoveryError::NotAMember(_)
            | DiscoveryError::Invalid(_)),
        ) => Err(error.into()),
        Err(error) => {
            tracing::warn!(node = %home.me, %error, "cannot announce; peers may see the node as gone");
            Ok(())
        }
    }
}

/// Says every few seconds that the node lives.
pub(super) async fn keep_announcing(inner: Arc<Inner>) {
    loop {
        select! {
            biased;
            () = inner.home.stop.cancelled() => return,
            () = sleep(ANNOUNCE_EVERY) => {}
        }
        let available = inner.stopping.borrow().is_none();
        let announced = inner.home.stop.run_until_cancelled(announce(&inner, available)).await;
        match announced.unwrap_or(Ok(())) {
            Err(StartError::Discovery(DiscoveryError::Superseded { recorded, .. })) => {
                stop::begin(&inner, StopCause::Superseded(recorded));
            }
            Err(error) => tracing::warn!(node = %inner.home.me, %error, "cannot announce"),
            Ok(()) => {}
        }
    }
}
