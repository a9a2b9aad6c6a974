//! Nodes in processes of their own, which are killed, frozen and started again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use seaway::discovery::Member;
use seaway::{CallError, Doubt, Node, Undeliverable};
use support::messages::{losses, number};
use support::process::{Members, NEVER, Process};
use support::recorder::Recorder;
use support::{COUNT, Cluster, Text, addr, soon, text, until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const ME: &str = "1.1.1";
const CHILD: &str = "1.2.1";

/// Run again as a child, this is the child's part.
#[test]
fn a_child_lives_as_long_as_its_parent() {
    support::process::be_a_child();
    let parent = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    parent.block_on(async {
        // One that has not started its node, and one that has.
        for is_started in [false, true] {
            let members = Members::new();
            let mut child = run("127.0.0.1:0", &members).await;
            if is_started {
                write(&members, &[(CHILD, child.network.clone())]);
                child.start().await;
            }
            let status = child.abandon().await;
            assert!(status.success(), "{status:?}");
        }
    });
}

/// What promises call three times the bound: the machine that tests may be starved.
fn at_most(took: Duration, bound: Duration) {
    assert!(took < bound * 3, "took {took:?} where {bound:?} is promised");
}

/// A node here and one in a process of its own.
struct Pair {
    cluster: Cluster,
    me: Node,
    notices: Recorder<Undeliverable>,
    members: Members,
    child: Process,
    child_incarnation: u64,
}

async fn run(listen: &str, members: &Members) -> Process {
    Process::run("a_child_lives_as_long_as_its_parent", CHILD, listen, members).await
}

impl Pair {
    async fn new() -> Self {
        let cluster = Cluster::empty();
        let (me, notices) = cluster.sender(ME).await;
        let members = Members::new();
        let mut child = run("127.0.0.1:0", &members).await;
        let pair_members = [(ME, &*me.local_addr().to_string()), (CHILD, &*child.network)]
            .map(|(address, network)| (address, network.to_owned()));
        write(&members, &pair_members);
        cluster.discovery.put(Member::new(addr(CHILD), child.network.clone())).unwrap();
        let child_incarnation = child.start().await;
        until("the child as a member", || me.all_members().len() == 2).await;
        Self { cluster, me, notices, members, child, child_incarnation }
    }

    /// Starts another run of the child, on `listen`, and lets all know.
    async fn start_again(&self, listen: &str) -> (Process, u64) {
        let mut child = run(listen, &self.members).await;
        let me = self.me.local_addr().to_string();
        write(&self.members, &[(ME, me), (CHILD, child.network.clone())]);
        self.cluster.discovery.set_network(addr(CHILD), child.network.clone()).unwrap();
        let incarnation = child.start().await;
        (child, incarnation)
    }

    async fn send(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            soon("room", self.me.send(addr(CHILD), &number(n))).await.unwrap();
        }
    }

    /// Begins a call that never ends; gives when the connection was lost with it.
    async fn call(&self) -> JoinHandle<Instant> {
        let me = self.me.clone();
        let call = tokio::spawn(async move {
            let call = me.call(addr(CHILD), NEVER, text("hi")).within(Duration::from_secs(60));
            let outcome: Result<Text, CallError> = call.await;
            let known = Instant::now();
            assert!(
                matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. })),
                "{outcome:?}"
            );
            known
        });
        self.child.word("called").await;
        call
    }
}

fn write(members: &Members, entries: &[(&str, String)]) {
    let entries: Vec<_> = entries.iter().map(|(address, network)| (*address, &**network)).collect();
    members.write(&entries);
}

// Killed.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_peer_that_is_killed_fails_the_calls_in_flight_at_once() {
    for _ in 0..5 {
        let mut pair = Pair::new().await;
        let calling = pair.call().await;
        let killed = Instant::now();
        pair.child.kill().await;
        let known = soon("the end of the call", calling).await.unwrap();
        at_most(known.duration_since(killed), Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_what_a_kill_destroys_is_told_as_an_upper_bound() {
    let mut pair = Pair::new().await;
    pair.send(0..10).await;
    pair.child.until_handled(10).await;
    // It takes nothing any more, so these are in its buffers when it dies.
    pair.child.freeze().await;
    pair.send(10..40).await;
    pair.child.kill().await;
    let notices = pair.notices.until("the loss", |all| !losses(all).is_empty()).await;
    let [(at_most, None)] = losses(&notices)[..] else { panic!("{notices:?}") };
    let handled = pair.child.handled().len() as u64;
    // What was not in the connection waits for another one until its deadline.
    until("every message to have an end", || {
        let stats = pair.me.stats();
        stats.accepted <= handled + stats.bounced + stats.lost
    })
    .await;
    let stats = pair.me.stats();
    assert_eq!((stats.accepted, stats.lost, handled), (40, at_most, 10));
    assert!((1..=40).contains(&at_most), "at most {at_most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p14_p15_a_peer_that_is_killed_under_load_is_reached_again_within_a_second() {
    let mut pair = Pair::new().await;
    let mut next = 0;
    let mut handled = Vec::new();
    for round in 0..4 {
        pair.send(next..next + 2_000).await;
        next += 2_000;
        pair.child.until_handled(1).await;
        pair.child.kill().await;
        handled.extend(pair.child.handled());
        let (child, incarnation) = pair.start_again(&pair.child.network).await;
        assert!(incarnation > pair.child_incarnation, "round {round}");
        (pair.child, pair.child_incarnation) = (child, incarnation);
        let began = Instant::now();
        pair.send(next..next + 1).await;
        pair.child.until_handled(1).await;
        at_most(began.elapsed(), Duration::from_secs(1));
        next += 1;
    }
    handled.extend(pair.child.handled());
    assert!(handled.is_sorted_by(|a, b| a < b), "twice or out of order");
    let stats = pair.me.stats();
    let lost = stats.accepted - stats.bounced - handled.len() as u64;
    assert!(stats.lost >= lost, "{lost} are lost, {} told", stats.lost);
}

/// Calls with one number after another until told to stop; what became of each.
async fn call_on(me: Node, stop: CancellationToken) -> Vec<Result<(), CallError>> {
    let mut outcomes = Vec::new();
    while !stop.is_cancelled() {
        let n = outcomes.len() as u64;
        let reply = soon("an outcome", me.call(addr(CHILD), COUNT, number(n))).await;
        outcomes.push(reply.map(|reply| assert_eq!(reply, number(n))));
    }
    outcomes
}

/// Sends one number after another until told to stop.
async fn send_on(me: Node, stop: CancellationToken) {
    for n in 0.. {
        if stop.is_cancelled() {
            return;
        }
        soon("room", me.send(addr(CHILD), &number(n))).await.unwrap();
        if n % 16 == 0 {
            // What is sent while a child is down must not come to all of the outbox.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p03_p04_a_hundred_kills_under_load_leave_nothing_twice_late_or_untold() {
    const KILLS: usize = 100;
    let mut pair = Pair::new().await;
    let stop = CancellationToken::new();
    let calling = tokio::spawn(call_on(pair.me.clone(), stop.clone()));
    let sending = tokio::spawn(send_on(pair.me.clone(), stop.clone()));
    let (mut handled, mut called) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        pair.child.until_handled(20).await;
        pair.child.kill().await;
        handled.extend(pair.child.handled());
        called.extend(pair.child.called());
        (pair.child, _) = pair.start_again(&pair.child.network).await;
    }
    stop.cancel();
    soon("the last message", sending).await.unwrap();
    let outcomes = soon("the last call", calling).await.unwrap();
    until("every message to have an end", || {
        let stats = pair.me.stats();
        let all = handled.len() + pair.child.handled().len();
        stats.accepted <= all as u64 + stats.bounced + stats.lost
    })
    .await;
    // A reply may be faster than the line in which the child says that it was called.
    let answered = (0_u64..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).last();
    let is_said = |n: u64| called.contains(&n) || pair.child.called().contains(&n);
    until("the last call's line", || answered.is_none_or(|(n, _)| is_said(n))).await;
    handled.extend(pair.child.handled());
    called.extend(pair.child.called());

    assert!(handled.is_sorted_by(|a, b| a < b), "a message twice or out of order");
    assert!(called.is_sorted_by(|a, b| a < b), "a call twice or out of order");
    let mut in_doubt = 0;
    for (n, outcome) in (0_u64..).zip(&outcomes) {
        let is_done = called.binary_search(&n).is_ok();
        match outcome {
            Ok(()) => assert!(is_done, "{n} was answered by nobody"),
            Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }) => in_doubt += 1,
            Err(error) => assert!(error.is_safe_to_retry() && !is_done, "{n}: {error}"),
        }
    }
    // At most one call was in flight at each kill.
    assert!((1..=KILLS).contains(&in_doubt), "{in_doubt} calls in doubt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_p15_a_peer_that_comes_back_elsewhere_is_reached_within_a_second() {
    let mut pair = Pair::new().await;
    pair.send(0..1).await;
    pair.child.until_handled(1).await;
    pair.child.kill().await;
    let (child, incarnation) = pair.start_again("127.0.0.1:0").await;
    let began = Instant::now();
    pair.send(1..2).await;
    assert_eq!(child.until_handled(1).await, [1]);
    at_most(began.elapsed(), Duration::from_secs(1));
    assert!(incarnation > pair.child_incarnation);
    assert_ne!(child.network, pair.child.network);
}

// Frozen.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_peer_that_is_frozen_for_long_is_dead_and_handles_nothing_stale_afterwards() {
    let pair = Pair::new().await;
    pair.send(0..10).await;
    pair.child.until_handled(10).await;
    let calling = pair.call().await;
    pair.child.freeze().await;
    let frozen = Instant::now();
    pair.send(10..40).await;
    let known = soon("the end of the call", calling).await.unwrap();
    let took = known.duration_since(frozen);
    at_most(took, Duration::from_secs(4));
    assert!(took > Duration::from_millis(1_900), "given up after {took:?}");
    pair.notices.until("the loss", |all| !losses(all).is_empty()).await;
    // The fault is a time that passes.
    tokio::time::sleep_until((frozen + Duration::from_secs(10)).into()).await;

    pair.child.thaw();
    let began = Instant::now();
    pair.send(40..41).await;
    let is_there = |all: &[String]| all.iter().any(|line| line == "handled 40");
    pair.child.said.until("the message after it", is_there).await;
    at_most(began.elapsed(), Duration::from_secs(1));
    let handled = pair.child.handled();
    assert!(handled.iter().copied().eq((0..10).chain([40])), "stale: {handled:?}");
    let told = losses(&pair.notices.until_len(2).await);
    assert_eq!(told.last().and_then(|loss| loss.1), Some(30), "{told:?}");
    let stats = pair.me.stats();
    assert_eq!((stats.lost, stats.bounced), (30, 0));
    assert_eq!(stats.accepted, handled.len() as u64 + stats.bounced + stats.lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_peer_that_is_frozen_for_a_second_and_a_half_survives() {
    let pair = Pair::new().await;
    pair.send(0..10).await;
    pair.child.until_handled(10).await;
    pair.child.freeze().await;
    pair.send(10..40).await;
    // The fault is a time that passes.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    pair.child.thaw();
    assert!(pair.child.until_handled(40).await.iter().copied().eq(0..40));
    assert_eq!(pair.notices.all(), []);
    assert_eq!(pair.me.stats().dialed, 2, "it was given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_node_that_was_frozen_has_not_given_itself_up() {
    let members = Members::new();
    let mut child = run("127.0.0.1:0", &members).await;
    write(&members, &[(CHILD, child.network.clone())]);
    child.start_with_heartbeat(Duration::from_millis(100)).await;
    // Which of its tasks runs first afterwards differs from time to time.
    for round in 0..10_u64 {
        let (first, end) = (round * 5_000, (round + 1) * 5_000);
        child.tell(&format!("send {CHILD} {first} {end}")).await;
        child.until_handled(usize::try_from(first).unwrap() + 50).await;
        child.freeze().await;
        // The fault is a time that passes.
        tokio::time::sleep(Duration::from_millis(450)).await;
        child.thaw();
        child.until_handled(usize::try_from(end).unwrap()).await;
    }
    assert!(child.handled().iter().copied().eq(0..50_000), "twice or out of order");
}

// Two of the same name.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p15_a_zombie_that_meets_a_peer_of_its_successor_stops_itself() {
    let mut pair = Pair::new().await;
    pair.child.tell(&format!("send {ME} 0 1")).await;
    pair.send(0..1).await;
    pair.child.until_handled(1).await;
    // The fault is a time that passes: younger than that, it would take its clock to be behind.
    tokio::time::sleep(Duration::from_millis(5_500)).await;

    // The zombie's own view of the members is not changed: its network address stays.
    let elsewhere = Members::new();
    let mut successor = run("127.0.0.1:0", &elsewhere).await;
    let me = pair.me.local_addr().to_string();
    write(&elsewhere, &[(ME, me), (CHILD, successor.network.clone())]);
    pair.cluster.discovery.set_network(addr(CHILD), successor.network.clone()).unwrap();
    let incarnation = successor.start().await;
    let began = Instant::now();
    let sent = async {
        for n in 1.. {
            pair.me.send(addr(CHILD), &number(n)).await.unwrap();
            if !successor.handled().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the successor to be reached", sent).await;
    at_most(began.elapsed(), Duration::from_secs(1));

    pair.child.tell(&format!("send {ME} 1 2")).await;
    let cause = pair.child.word("stopped").await;
    assert!(cause.starts_with("Superseded"), "{cause}");
    assert!(incarnation > pair.child_incarnation);
}
