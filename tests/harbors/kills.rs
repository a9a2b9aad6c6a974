//! Harbors that are killed, frozen and started again under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seaway::{CallError, Doubt};

use crate::groups::config;
use crate::support::messages::{losses, notice, number};
use crate::support::process::NEVER;
use crate::support::recorder::Recorder;
use crate::support::{addr, soon, text, timed, until};
use crate::world::{Ends, FROM, TO, World, answered};

/// What promises call three times the bound: the machine that tests may be starved.
fn at_most(took: Duration, bound: Duration) {
    assert!(took < bound * 3, "took {took:?} where {bound:?} is promised");
}

/// Two harbors of group 1, one of group 2, and the harbor on the way between the ends.
async fn scene() -> (World, Ends, &'static str) {
    let mut world = World::new(&["1.255.1", "1.255.2", "2.255.1"]).await;
    let ends = Ends::start(&mut world).await;
    let way = world.way(&ends.sender, addr(TO)).await;
    (world, ends, way)
}

/// Waits until all that was accepted has an end, and sees to it that the account is exact.
async fn account(ends: &Ends) {
    let is_settled = || {
        let stats = ends.sender.stats();
        stats.accepted == ends.inbox.len() as u64 + stats.bounced + stats.lost
    };
    until("the account to be settled", is_settled).await;
    let report = ends.sender.shutdown(Duration::from_secs(5)).await;
    let stats = ends.sender.stats();
    let losses = losses(&ends.notices.all());
    let (told, handled) = (ends.sender.bounced_by_reason(), ends.inbox.len());
    assert!(is_settled(), "{stats:?}, handled {handled}, {losses:?}, {told:?}: {report:?}");
    // Whatever was told as a bound is known exactly at last.
    assert!(losses.last().is_none_or(|(_, exactly)| exactly.is_some()), "{losses:?}");
    let exact: u64 = losses.iter().filter_map(|(_, exactly)| *exactly).sum();
    assert_eq!(stats.lost, exact, "{losses:?}");
    let handled = ends.inbox.all();
    assert!(handled.is_sorted_by(|a, b| a < b), "out of order, or twice");
}

/// Kills these harbors and starts them again, one after another, each time after some more has
/// arrived; sends all the while, and at least 10,000 numbers.
async fn kill_under_load(world: &mut World, ends: &Ends, harbors: &[&'static str]) {
    ends.deliver_first(0..1).await;
    let is_over = AtomicBool::new(false);
    let sending = async {
        let mut n = 1;
        while n < 10_000 || !is_over.load(Ordering::SeqCst) {
            ends.send(n..n + 1).await;
            n += 1;
        }
        n - 1
    };
    let killing = async {
        for harbor in harbors {
            ends.inbox.until_len(ends.inbox.len() + 1_000).await;
            world.kill(harbor).await;
            world.start_again(harbor).await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let (last, ()) = tokio::join!(sending, killing);
    ends.inbox.until("the last one", |all| all.last() == Some(&last)).await;
    account(ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_the_account_is_exact_when_a_harbor_is_killed_under_load() {
    let (mut world, ends, way) = scene().await;
    kill_under_load(&mut world, &ends, &[way]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p03_harbors_that_die_in_turn_make_nothing_late_or_double() {
    let (mut world, ends, _) = scene().await;
    kill_under_load(&mut world, &ends, &["1.255.1", "1.255.2"].repeat(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_the_account_is_exact_when_harbors_of_the_other_group_are_killed_in_turn() {
    let mut world = World::new(&["1.255.1", "2.255.1", "2.255.2"]).await;
    let ends = Ends::start(&mut world).await;
    kill_under_load(&mut world, &ends, &["2.255.1", "2.255.2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p18_a_killed_harbor_is_survived_at_once() {
    let (mut world, ends, way) = scene().await;
    world.kill(way).await;
    let killed = Instant::now();
    let errors = answered(&ends.sender, TO, Duration::from_secs(5)).await;
    at_most(killed.elapsed(), Duration::from_secs(1));
    assert!(errors.len() <= 1, "{errors:?}");
    // And messages.
    let sent = Instant::now();
    ends.deliver(0..100).await;
    at_most(sent.elapsed(), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p18_a_frozen_harbor_is_survived() {
    let (world, ends, way) = scene().await;
    ends.deliver_first(0..100).await;
    world.harbors[way].freeze().await;
    let frozen = Instant::now();
    ends.send(100..200).await;
    let errors = answered(&ends.sender, TO, Duration::from_secs(30)).await;
    at_most(frozen.elapsed(), Duration::from_secs(5));
    assert!(
        matches!(&errors[..], [] | [CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }]),
        "{errors:?}"
    );
    ends.send(200..300).await;
    ends.inbox.until("the last one", |all| all.last() == Some(&299)).await;
    account(&ends).await;
    // What it had inside comes late, and is handled no more.
    world.harbors[way].thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_what_a_frozen_harbor_had_inside_is_never_handled_late() {
    let (world, ends, way) = scene().await;
    ends.deliver_first(0..100).await;
    world.harbors[way].freeze().await;
    ends.send(100..200).await;
    answered(&ends.sender, TO, Duration::from_secs(30)).await;
    ends.send(200..300).await;
    ends.inbox.until("the last one", |all| all.last() == Some(&299)).await;
    world.harbors[way].thaw();
    // By then it has told how it went on.
    answered(&ends.sender, TO, Duration::from_secs(30)).await;
    account(&ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p04_p13_calls_in_flight_through_a_killed_harbor_fail_at_once() {
    for killed in ["1.255.1", "2.255.1"] {
        let mut world = World::new(&["1.255.1", "2.255.1"]).await;
        let (said, mut heard) = crate::support::events::events();
        let callee = world.builder(TO).on_call(NEVER, move |_, _| {
            said.say("called");
            std::future::pending()
        });
        let caller = world.builder(FROM);
        world.start().await;
        let _callee = callee.start().await.unwrap();
        let sender = caller.start().await.unwrap();
        let calling = {
            let sender = sender.clone();
            tokio::spawn(async move {
                let call = sender.call(addr(TO), NEVER, text("hi"));
                (call.within(Duration::from_secs(60)).await, Instant::now())
            })
        };
        heard.expect("called").await;
        let began = Instant::now();
        world.kill(killed).await;
        let (outcome, ended) = soon("the end of the call", calling).await.unwrap();
        at_most(ended - began, Duration::from_millis(200));
        assert!(
            matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. })),
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_p16_what_a_node_beyond_that_is_removed_had_stays_a_bound_and_holds_up_no_stop() {
    let mut world = World::new(&["1.255.1", "2.255.1", TO]).await;
    let (notices, patience) = (Recorder::new(), Duration::from_millis(300));
    let impatient = config(|config| config.stop_timeout = patience);
    let sender = notice(world.builder(FROM).config(impatient), &notices);
    world.start().await;
    let sender = sender.start().await.unwrap();
    soon("room", sender.send(addr(TO), &number(0))).await.unwrap();
    world.harbors[TO].until_handled(1).await;
    world.harbors[TO].freeze().await;
    for n in 1..=10 {
        soon("room", sender.send(addr(TO), &number(n))).await.unwrap();
    }
    world.kill(TO).await;
    notices.until_len(1).await;
    world.cluster.discovery.remove(addr(TO));
    let stopping = sender.shutdown(Duration::from_secs(20));
    let (report, took) = timed("the end", stopping).await;
    assert!(report.is_clean(), "{report:?}");
    at_most(took, patience + Duration::from_secs(1));
    let (stats, told) = (sender.stats(), losses(&notices.all()));
    // The receipt of the first may be lost as well.
    assert!((10..=11).contains(&(stats.bounced + stats.lost)), "{stats:?}");
    assert!(told.iter().all(|(_, exactly)| exactly.is_none()), "nobody can know: {told:?}");
}
