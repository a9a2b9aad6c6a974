//! Discovery engines that hang or panic, and nodes that do not mind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seaway::discovery::{Announcement, Discovery, DiscoveryError, InProcess, Member, Watch};
use seaway::{Incarnation, LogicalAddr, Node, StopCause};
use support::recorder::Recorder;
use support::{addr, soon, timed, until};

const ONE: &str = "1.1.1";

/// How an engine takes what it is asked.
#[derive(Clone, Copy)]
enum Mood {
    Hangs,
    Panics,
}

/// An engine that is well until the test says otherwise.
#[derive(Clone, Default)]
struct Moody {
    members: InProcess,
    /// What it does not take well.
    moods: Arc<Mutex<HashMap<&'static str, Mood>>>,
    /// What it was asked while it was not well.
    asked: Recorder<&'static str>,
    /// The watch, so that the test can end it.
    watch: Arc<Mutex<Option<tokio::task::AbortHandle>>>,
}

impl Moody {
    fn builder(&self) -> seaway::Builder {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let network = listener.local_addr().unwrap().to_string();
        self.members.put(Member::new(addr(ONE), network)).unwrap();
        Node::builder(ONE).discovery(self.clone()).listener(listener)
    }

    fn set(&self, what: &'static str, mood: Mood) {
        self.moods.lock().insert(what, mood);
    }

    async fn meet(&self, what: &'static str) {
        let mood = self.moods.lock().get(what).copied();
        let Some(mood) = mood else { return };
        self.asked.add(what);
        if let Mood::Panics = mood {
            panic!("on purpose");
        }
        std::future::pending::<()>().await;
    }
}

#[async_trait::async_trait]
impl Discovery for Moody {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        self.meet("watch").await;
        let mut inner = self.members.watch().await?;
        let (sender, watch) = Watch::channel(1);
        let tell = async move {
            while let Some(event) = inner.next().await {
                sender.send(event).await.ok();
            }
        };
        *self.watch.lock() = Some(tokio::spawn(tell).abort_handle());
        Ok(watch)
    }

    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        self.meet("announce").await;
        self.members.announce(me).await
    }

    async fn withdraw(&self, me: LogicalAddr, run: Incarnation) -> Result<(), DiscoveryError> {
        self.members.withdraw(me, run).await
    }
}

#[tokio::test]
async fn p17_a_node_whose_engine_takes_no_announcement_starts_all_the_same() {
    for mood in [Mood::Hangs, Mood::Panics] {
        let engine = Moody::default();
        engine.set("announce", mood);
        let node = soon("the start", engine.builder().start()).await.unwrap();
        assert_eq!(node.all_members().len(), 1);
    }
}

#[tokio::test]
async fn p17_a_node_whose_engine_panics_when_asked_again_converges_when_it_is_well() {
    let engine = Moody::default();
    let node = engine.builder().start().await.unwrap();
    engine.set("watch", Mood::Panics);
    engine.watch.lock().take().unwrap().abort();
    engine.asked.until_len(1).await;
    engine.moods.lock().clear();
    engine.members.put(Member::new(addr("1.1.2"), "127.0.0.1:1")).unwrap();
    until("the new member", || node.all_members().len() == 2).await;
}

#[tokio::test]
async fn p16_a_node_stops_though_its_engine_panics_meanwhile() {
    let engine = Moody::default();
    let node = engine.builder().start().await.unwrap();
    engine.set("announce", Mood::Panics);
    node.shutdown(Duration::from_secs(1)).await;
    assert_eq!(engine.asked.all(), ["announce"]);
    assert_eq!(soon("the end", node.stopped()).await, StopCause::Asked);
}

#[tokio::test]
async fn p16_a_node_stops_soon_though_its_engine_hangs() {
    let engine = Moody::default();
    let node = engine.builder().start().await.unwrap();
    engine.set("announce", Mood::Hangs);
    engine.asked.until_len(1).await;
    // The last announcement may take a second, and nothing waits for the one that hangs.
    let (_, took) = timed("the end", node.shutdown(Duration::from_secs(10))).await;
    assert!(took < Duration::from_millis(2_500), "took {took:?}");
}
