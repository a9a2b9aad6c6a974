//! A destination beyond harbors that stands still while a later run of it starts elsewhere.

use std::time::{Duration, Instant};

use seaway::{CallError, Doubt, Node, Undeliverable};
use tokio::task::JoinHandle;

use crate::support::messages::{losses, notice};
use crate::support::process::Process;
use crate::support::recorder::Recorder;
use crate::support::{COUNT, Number, addr, number, soon};
use crate::world::{FROM, TO, World};

/// A sender of group 1, and a node of group 2 in a process of its own that will be succeeded.
struct Scene {
    world: World,
    sender: Node,
    notices: Recorder<Undeliverable>,
}

impl Scene {
    /// In which both have talked, and the target is no longer so young that it may take its clock
    /// to be behind.
    async fn new() -> Self {
        let mut world = World::new(&["1.255.1", "2.255.1", TO]).await;
        let notices = Recorder::new();
        let sender = notice(world.builder(FROM), &notices);
        world.start().await;
        let grown_up = Instant::now() + Duration::from_secs(6);
        let this = Self { sender: sender.start().await.unwrap(), world, notices };
        this.send(0..1).await;
        this.target().until_handled(1).await;
        // The reply comes behind the first receipt.
        assert_eq!(this.count(0).await, Ok(number(0)));
        tokio::time::sleep_until(grown_up.into()).await;
        this
    }

    fn target(&self) -> &Process {
        &self.world.harbors[TO]
    }

    async fn send(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            soon("room", self.sender.send(addr(TO), &number(n))).await.unwrap();
        }
    }

    /// A call that is begun now.
    fn calling(&self, n: u64) -> JoinHandle<Result<Number, CallError>> {
        let sender = self.sender.clone();
        let call = async move {
            let call = sender.call(addr(TO), COUNT, number(n));
            call.within(Duration::from_secs(60)).await
        };
        tokio::spawn(call)
    }

    async fn count(&self, n: u64) -> Result<Number, CallError> {
        soon("the end of a call", self.calling(n)).await.unwrap()
    }

    /// Calls from this number on until a call is answered; its number.
    async fn answered(&self, first: u64) -> u64 {
        let mut n = first;
        while self.count(n).await.is_err() {
            n += 1;
        }
        n
    }

    /// Hands the address over to another run while the target is frozen and has not taken 100
    /// messages and a call; then sends 100 more. Returns the old run, and the first call that the
    /// new one has answered.
    async fn take_over(&mut self) -> (Process, u64) {
        self.send(100..200).await;
        let caught = self.calling(1);
        let old = self.world.succeed(TO).await;
        let first = self.answered(10).await;
        let caught = soon("its end", caught).await.unwrap();
        assert!(
            matches!(caught, Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. })),
            "{caught:?}"
        );
        self.send(200..300).await;
        let is_last = |all: &[String]| all.iter().any(|line| line == "handled 299");
        self.target().said.until("the last one", is_last).await;
        (old, first)
    }

    /// Waits until the old run has stopped, and compares what both have done with what was told.
    async fn account(&mut self, mut old: Process, first: u64) -> Vec<u64> {
        old.word("stopped").await;
        old.kill().await;
        let (before, after) = (old.handled(), self.target().handled());
        // What had not gone out to the old one may have gone to the new one.
        let came = *after.first().unwrap();
        assert!(came <= 200 && after.iter().copied().eq(came..300), "{after:?}");
        assert!(before.is_sorted_by(|a, b| a < b), "twice or out of order: {before:?}");
        // Nothing that was sent when the new one was there, and nothing that it has handled.
        assert!(before.iter().all(|n| *n < came), "{before:?}");
        assert!(old.called().iter().all(|n| *n < first), "{first}: {:?}", old.called());
        assert!(!self.target().called().contains(&1), "a call was made twice");
        // What it was told at last: the new run may have been meant by a bound, too, at first.
        let report = self.sender.shutdown(Duration::from_secs(5)).await;
        let (stats, told) = (self.sender.stats(), losses(&self.notices.all()));
        // Nobody but the old one could know more.
        let lost = came - 100;
        assert_eq!(told.last(), Some(&(lost, None)), "{told:?}, {report:?}");
        assert_eq!((stats.accepted, stats.lost, stats.bounced), (201, lost, 0));
        before
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p03_p15_a_run_that_was_frozen_for_long_and_succeeded_handles_nothing_any_more() {
    let mut scene = Scene::new().await;
    scene.target().freeze().await;
    let frozen = Instant::now();
    let (old, first) = scene.take_over().await;
    // The fault is a time that passes: whoever stood still so long takes nothing.
    tokio::time::sleep_until((frozen + Duration::from_secs(6)).into()).await;
    old.thaw();
    let handled = scene.account(old, first).await;
    assert_eq!(handled, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p03_p15_a_run_that_was_frozen_and_succeeded_handles_nothing_that_was_sent_later() {
    let mut scene = Scene::new().await;
    scene.target().freeze().await;
    let (old, first) = scene.take_over().await;
    old.thaw();
    // What had reached it before may be handled: it was told as lost at most.
    let handled = scene.account(old, first).await;
    assert!(handled.len() <= 101);
}
