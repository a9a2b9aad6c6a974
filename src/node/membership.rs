//! What the discoveries say: kept in the routing table, told to the links, obeyed by the node
//! itself. Each discovery is followed for itself, so that one that is gone holds up no other.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::carrying::{self, Carrier};

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
    watches: Vec<Watch>,
}

impl Membership {
    /// Waits for the first snapshot of each discovery; the node must be in all of them.
    pub(super) async fn begin(
        me: LogicalAddr,
        zone: Option<&str>,
        engines: &Engines,
    ) -> Result<Self, StartError> {
        let mut picture = Picture::new(me).in_zone(zone);
        let mut watches = Vec::new();
        for (source, engine) in engines.all() {
            let watch = timeout(FIRST_WORD, first_word(me, &mut picture, source, engine)).await;
            let watch = watch.unwrap_or(Err(StartError::DiscoverySilent(FIRST_WORD)));
            watches.push(watch.map_err(|error| said_of(source, error))?);
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
        let (picture, changed) = (Mutex::new(self.picture), watch::Sender::default());
        let known = Arc::new(Known { picture, changed });
        for ((source, engine), watch) in inner.engines.all().zip(self.watches) {
            let (inner, known, engine) = (Arc::clone(inner), Arc::clone(&known), engine.clone());
            if inner.engines.harbors.is_some() {
                let carrier = Carrier::new(&inner, &known, source, engine.clone());
                spawn(&inner, carrier.keep_carrying());
            }
            spawn(&inner, keep_announcing(Arc::clone(&inner), source, engine.clone()));
            let home = Arc::clone(&inner);
            let follower = Follower { inner: home, known, source, engine, settle_at: None };
            spawn(&inner, follower.follow(watch));
        }
    }
}

/// Starts a task that ends with the node.
fn spawn(inner: &Inner, task: impl Future<Output = ()> + Send + 'static) {
    let stop = inner.home.stop.clone();
    inner.home.tasks.spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

/// What the tasks share that follow the discoveries and carry between them.
pub(super) struct Known {
    pub(super) picture: Mutex<Picture>,
    /// Something in it is different.
    pub(super) changed: watch::Sender<()>,
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

/// Follows one discovery.
struct Follower {
    inner: Arc<Inner>,
    known: Arc<Known>,
    source: Source,
    engine: Engine,
    /// When it is believed that carried members are gone that are not told any more.
    settle_at: Option<Instant>,
}

impl Follower {
    async fn follow(mut self, watch: Watch) {
        let mut watch = Some(watch);
        let mut retry = RETRY_MIN;
        loop {
            let Some(watching) = &mut watch else {
                sleep(retry).await;
                watch = self.watch_again().await;
                retry = if watch.is_some() { RETRY_MIN } else { RETRY_MAX.min(retry * 2) };
                continue;
            };
            let settle_at = self.settle_at;
            let settle = async { sleep_until(settle_at.unwrap_or_else(Instant::now)).await };
            select! {
                event = watching.next() => {
                    let is_good = match event {
                        Some(event) => self.take_in(event).await,
                        None => false,
                    };
                    if !is_good {
                        watch = None;
                    }
                }
                () = settle, if settle_at.is_some() => self.settle().await,
            }
        }
    }

    async fn watch_again(&self) -> Option<Watch> {
        match self.engine.watch().await {
            Ok(watch) => {
                self.known.picture.lock().await.on_new_watch(self.source);
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(
                    node = %self.inner.home.me, %error, "{} cannot be reached", self.source
                );
                None
            }
        }
    }

    /// Does what an event asks for; whether the watch is still of use.
    async fn take_in(&mut self, event: Event) -> bool {
        let mut picture = self.known.picture.lock().await;
        let was_away = picture.is_unsure(self.source);
        let was_member = picture.me(self.source).is_some();
        let applied = picture.apply(self.source, event);
        report(self.inner.home.me, self.source, &applied);
        if was_away && !picture.is_unsure(self.source) {
            self.settle_at =
                picture.is_doubting(self.source).then(|| Instant::now() + carrying::TTL);
        }
        if was_member && picture.me(self.source).is_none() && self.source == Source::Harbors {
            tracing::warn!(
                node = %self.inner.home.me,
                "{} has this harbor no more: other groups lose it, its own keeps it; add it there \
                 again, or stop it", self.source
            );
        }
        self.obey(&picture, &applied.changes).await;
        !applied.rewatch
    }

    async fn settle(&mut self) {
        self.settle_at = None;
        let mut picture = self.known.picture.lock().await;
        let settled = picture.settle(self.source);
        self.obey(&picture, &settled.changes).await;
    }

    /// Lets the whole node know. The picture is held until then, so that everybody hears of changes
    /// in the order in which they came.
    async fn obey(&self, picture: &Picture, changes: &[ViewChange]) {
        let inner = &self.inner;
        for change in changes {
            let is_member = !matches!(change, ViewChange::Removed(_));
            if let Some(link) = inner.router.existing(change.address()) {
                link.set_member(is_member);
            }
        }
        inner.router.set_table(picture.table().clone());
        for change in changes {
            tell_link(inner, change).await;
        }
        if let Some(cause) = reason_to_stop(inner, changes) {
            stop::begin(inner, cause);
        }
        self.known.changed.send_replace(());
    }
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
}

/// Takes back from all discoveries what was announced and carried.
pub(super) async fn withdraw(inner: &Inner) {
    let home = &inner.home;
    let from = |source, engine: Engine| async move {
        let last_word = async {
            if inner.engines.harbors.is_some() {
                engine.carry(home.me, Vec::new(), Duration::ZERO).await?;
            }
            engine.withdraw(home.me, home.incarnation()).await
        };
        match timeout(stop::LAST_WORD, last_word).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(node = %home.me, %error, "cannot withdraw from {source}");
            }
            Err(_) => tracing::debug!(node = %home.me, "{source} does not answer"),
        }
    };
    inner.engines.ask_all(from).await;
}
