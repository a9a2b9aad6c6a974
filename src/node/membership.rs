//! What the discoveries say: kept in the routing table, told to the links, obeyed by the node
//! itself. Each discovery is followed for itself, so that one that is gone holds up no other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::engine::{Engine, Engines};
use super::picture::{Picture, Source};
use super::stop::{self, StopCause};
use super::{Inner, StartError};
use crate::addr::LogicalAddr;
use crate::discovery::{Announcement, Applied, DiscoveryError, Event, Member, ViewChange, Watch};
use crate::link;
use crate::routing::Table;

/// How long a node waits for its first word from discovery.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// How often a node says that it lives, and for how long that counts.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(3);
const ANNOUNCE_TTL: Duration = Duration::from_secs(10);
/// Pauses between attempts to reach a discovery engine that is gone.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How many reports of one event are logged in full.
const REPORTS_MAX: usize = 8;

/// What a node that starts has learned from its discoveries.
pub(super) struct Membership {
    /// What the discovery of its group has of the node itself.
    pub(super) me: Arc<Member>,
    pub(super) table: Table,
    picture: Picture,
    watches: Vec<(Source, Watch)>,
}

impl Membership {
    /// Waits for the first snapshot of each discovery; the node must be in all of them.
    pub(super) async fn begin(me: LogicalAddr, engines: &Engines) -> Result<Self, StartError> {
        let mut picture = Picture::new(me);
        let mut watches = Vec::new();
        for (source, engine) in engines.all() {
            let watch = timeout(FIRST_WORD, first_word(me, &mut picture, source, engine)).await;
            let watch = watch.unwrap_or(Err(StartError::DiscoverySilent(FIRST_WORD)));
            watches.push((source, watch.map_err(|error| said_of(source, error))?));
        }
        let member = |source| {
            let member = picture.me(source).cloned();
            member.ok_or_else(|| said_of(source, StartError::NotAMember(me)))
        };
        if engines.harbors.is_some() {
            member(Source::Harbors)?;
        }
        let (me, table) = (member(Source::Cluster)?, picture.table().clone());
        Ok(Self { me, table, picture, watches })
    }

    /// Follows the discoveries, and says to them that the node lives, until it stops. Without an
    /// engine, the node goes on with what it knew last.
    pub(super) fn follow(self, inner: &Arc<Inner>) {
        let tasks = &inner.home.tasks;
        let picture = Arc::new(Mutex::new(self.picture));
        for (source, watch) in self.watches {
            let (inner, picture) = (Arc::clone(inner), Arc::clone(&picture));
            tasks.spawn(follow(inner, picture, source, watch));
        }
        for (source, engine) in inner.engines.all() {
            tasks.spawn(keep_announcing(Arc::clone(inner), source, engine.clone()));
        }
    }
}

fn said_of(source: Source, error: StartError) -> StartError {
    match source {
        Source::Cluster => error,
        Source::Harbors => StartError::HarborDiscovery(Box::new(error)),
    }
}

async fn first_word(
    me: LogicalAddr,
    picture: &mut Picture,
    source: Source,
    engine: &Engine,
) -> Result<Watch, StartError> {
    let mut watch = engine.watch().await?;
    while let Some(event) = watch.next().await {
        let is_snapshot = matches!(event, Event::Snapshot { .. });
        report(me, source, &picture.apply(source, event));
        if is_snapshot {
            return Ok(watch);
        }
    }
    Err(StartError::DiscoveryEnded)
}

/// Says in the log what a person should know of an event.
fn report(me: LogicalAddr, source: Source, applied: &Applied) {
    for report in applied.reports.iter().take(REPORTS_MAX) {
        tracing::warn!(node = %me, %report, "{source}");
    }
    if applied.reports.len() > REPORTS_MAX {
        let more = applied.reports.len() - REPORTS_MAX;
        tracing::warn!(node = %me, more, "{source}: more of the same");
    }
}

/// Follows one discovery until the node stops.
async fn follow(inner: Arc<Inner>, picture: Arc<Mutex<Picture>>, source: Source, watch: Watch) {
    let stop = inner.home.stop.clone();
    let mut watch = Some(watch);
    let mut retry = RETRY_MIN;
    let following = async {
        loop {
            let event = match &mut watch {
                Some(watch) => watch.next().await,
                None => None,
            };
            let Some(event) = event else {
                sleep(retry).await;
                watch = watch_again(&inner, &picture, source).await;
                retry = if watch.is_some() { RETRY_MIN } else { RETRY_MAX.min(retry * 2) };
                continue;
            };
            if !take_in(&inner, &picture, source, event).await {
                watch = None;
            }
        }
    };
    stop.run_until_cancelled(following).await;
}

async fn watch_again(inner: &Inner, picture: &Mutex<Picture>, source: Source) -> Option<Watch> {
    let (_, engine) = inner.engines.all().find(|(of, _)| *of == source)?;
    match engine.watch().await {
        Ok(watch) => {
            picture.lock().await.on_new_watch(source);
            Some(watch)
        }
        Err(error) => {
            tracing::warn!(node = %inner.home.me, %error, "{source} cannot be reached");
            None
        }
    }
}

/// Does what an event asks for; whether the watch is still of use.
async fn take_in(
    inner: &Arc<Inner>,
    picture: &Mutex<Picture>,
    source: Source,
    event: Event,
) -> bool {
    // Held until the links are told, so that they hear of changes in the order in which they came.
    let mut picture = picture.lock().await;
    let me = inner.home.me;
    let was_there = picture.me(source).is_some();
    let applied = picture.apply(source, event);
    report(me, source, &applied);
    inner.router.set_table(picture.table().clone());
    for change in &applied.changes {
        tell_link(inner, change).await;
    }
    if let Some(cause) = reason_to_stop(inner, &applied.changes) {
        stop::begin(inner, cause);
    } else if was_there && picture.me(source).is_none() {
        tracing::warn!(
            node = %me,
            "{source} has this harbor no more: other groups lose it, its own group keeps it; \
             add it there again, or stop it"
        );
    }
    !applied.rewatch
}

fn reason_to_stop(inner: &Inner, changes: &[ViewChange]) -> Option<StopCause> {
    let mine = changes.iter().find(|change| change.address() == inner.home.me)?;
    match mine {
        ViewChange::Removed(_) => Some(StopCause::Removed),
        ViewChange::Updated { old, new } if old.network != new.network => Some(StopCause::Moved),
        ViewChange::Added(new) | ViewChange::Updated { new, .. } => {
            let newer = new.incarnation?;
            (newer > inner.home.incarnation()).then_some(StopCause::Superseded(newer))
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

/// Says once to all discoveries that the node lives.
///
/// # Errors
///
/// Only those that trying again does not mend.
pub(super) async fn announce(inner: &Inner, available: bool) -> Result<(), StartError> {
    let to = |source, engine| async move {
        let announced = announce_to(inner, source, &engine, available).await;
        announced.map_err(|error| said_of(source, error.into()))
    };
    let (cluster, harbors) = inner.engines.ask_all(to).await;
    cluster.and(harbors.unwrap_or(Ok(())))
}

async fn announce_to(
    inner: &Inner,
    source: Source,
    engine: &Engine,
    available: bool,
) -> Result<(), DiscoveryError> {
    let home = &inner.home;
    let announcement =
        Announcement::new(home.me, home.incarnation()).available(available).ttl(ANNOUNCE_TTL);
    let announcement = inner
        .labels
        .iter()
        .fold(announcement, |announcement, (key, value)| announcement.label(key, value));
    // The node takes over once, so from the latest of its runs that any discovery has told of.
    let told = inner.router.member(home.me).and_then(|me| me.incarnation);
    match engine.announce(&announcement).await {
        Ok(()) => Ok(()),
        Err(DiscoveryError::Superseded { recorded, .. })
            if stop::on_superseded(inner, told.map_or(recorded, |told| told.max(recorded))) =>
        {
            let again = Announcement { incarnation: home.incarnation(), ..announcement };
            engine.announce(&again).await
        }
        Err(
            error @ (DiscoveryError::Superseded { .. }
            | DiscoveryError::NotAMember(_)
            | DiscoveryError::Invalid(_)),
        ) => Err(error),
        Err(error) => {
            tracing::warn!(
                node = %home.me, %error,
                "cannot announce to {source}; peers may see the node as gone"
            );
            Ok(())
        }
    }
}

/// Says every few seconds to one discovery that the node lives.
async fn keep_announcing(inner: Arc<Inner>, source: Source, engine: Engine) {
    let stop = inner.home.stop.clone();
    let announcing = async {
        loop {
            sleep(ANNOUNCE_EVERY).await;
            let available = inner.stopping.borrow().is_none();
            match announce_to(&inner, source, &engine, available).await {
                Err(DiscoveryError::Superseded { recorded, .. }) => {
                    stop::begin(&inner, StopCause::Superseded(recorded));
                }
                Err(error) => {
                    tracing::warn!(node = %inner.home.me, %error, "cannot announce to {source}");
                }
                Ok(()) => {}
            }
        }
    };
    stop.run_until_cancelled(announcing).await;
}

/// Takes back from all discoveries what was announced.
pub(super) async fn withdraw(inner: &Inner) {
    let home = &inner.home;
    let from = |source, engine: Engine| async move {
        match timeout(stop::LAST_WORD, engine.withdraw(home.me, home.incarnation())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(node = %home.me, %error, "cannot withdraw from {source}");
            }
            Err(_) => tracing::debug!(node = %home.me, "{source} does not answer"),
        }
    };
    inner.engines.ask_all(from).await;
}
