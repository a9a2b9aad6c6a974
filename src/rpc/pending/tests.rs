use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn addr(id: u16) -> LogicalAddr {
    LogicalAddr::new(1, 1, id)
}

fn entry(peer: u16, position: u64, deadline: Millis) -> Entry {
    Entry { to: addr(peer), hop: addr(peer), position, deadline }
}

fn enter(pending: &Pending, peer: u16) -> u64 {
    pending.enter(entry(peer, 0, Millis::NEVER), None).unwrap()
}

fn poll(pending: &Pending, id: u64) -> Poll<Outcome> {
    pending.poll(id, &mut Context::from_waker(Waker::noop()))
}

fn reply(text: &'static str) -> Outcome {
    Outcome::Reply(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_reply_ends_its_call_and_wakes_the_caller() {
    let (pending, woken) = (Pending::new(), Arc::new(Woken::default()));
    let waker = Waker::from(Arc::clone(&woken));
    let id = enter(&pending, 1);
    assert_eq!(pending.poll(id, &mut Context::from_waker(&waker)), Poll::Pending);
    assert!(pending.complete(id, addr(1), reply("yes")));
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(poll(&pending, id), Poll::Ready(reply("yes")));
}

#[test]
fn p07_a_second_reply_changes_nothing() {
    let pending = Pending::new();
    let id = enter(&pending, 1);
    assert!(pending.complete(id, addr(1), reply("first")));
    assert!(!pending.complete(id, addr(1), reply("second")));
    assert_eq!(poll(&pending, id), Poll::Ready(reply("first")));
}

#[test]
fn p07_a_late_reply_does_not_complete_the_call_that_has_its_place_now() {
    let pending = Pending::new();
    let old = enter(&pending, 1);
    assert!(pending.leave(old));
    let new = enter(&pending, 1);
    assert_eq!(old & u64::from(u32::MAX), new & u64::from(u32::MAX), "the same place");
    assert!(!pending.complete(old, addr(1), reply("late")));
    assert_eq!(poll(&pending, new), Poll::Pending);
}

#[test]
fn p07_a_reply_of_another_peer_is_not_believed() {
    let pending = Pending::new();
    let id = enter(&pending, 1);
    // 17 shares the table with 1.
    for other in [2, 17] {
        assert!(!pending.complete(id, addr(other), reply("forged")));
    }
    assert_eq!(poll(&pending, id), Poll::Pending);
}

#[test]
fn p07_a_reply_comes_from_whom_was_called_and_not_from_the_hop() {
    let pending = Pending::new();
    let through = Entry { hop: addr(9), ..entry(1, 0, Millis::NEVER) };
    let id = pending.enter(through, None).unwrap();
    assert!(!pending.complete(id, addr(9), reply("forged")));
    assert!(pending.complete(id, addr(1), reply("yes")));
}

#[test]
fn a_call_that_its_caller_has_left_is_gone() {
    let pending = Pending::new();
    let id = enter(&pending, 1);
    assert!(pending.leave(id), "it was still waiting");
    assert!(!pending.leave(id));
    assert!(!pending.complete(id, addr(1), reply("late")));
    let done = enter(&pending, 1);
    pending.complete(done, addr(1), reply("yes"));
    assert!(!pending.leave(done), "it was not waiting any more");
}

#[test]
fn p04_a_cut_ends_what_was_sent_on_that_lane_and_nothing_else() {
    let pending = Pending::new();
    let at = |peer, position| pending.enter(entry(peer, position, Millis::NEVER), None).unwrap();
    let (sent, unsent, other) = (at(1, 99), at(1, 100), at(17, 99));
    pending.cut(addr(1), 100);
    assert_eq!(poll(&pending, sent), Poll::Ready(Outcome::Cut));
    assert_eq!(poll(&pending, unsent), Poll::Pending);
    assert_eq!(poll(&pending, other), Poll::Pending, "another hop in the same table");
}

#[test]
fn a_cut_does_not_take_a_reply_back() {
    let pending = Pending::new();
    let id = enter(&pending, 1);
    pending.complete(id, addr(1), reply("yes"));
    pending.cut(addr(1), u64::MAX);
    assert_eq!(poll(&pending, id), Poll::Ready(reply("yes")));
}

#[test]
fn p13_a_cut_wakes_each_caller_once() {
    let (pending, woken) = (Pending::new(), Arc::new(Woken::default()));
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..100 {
        let id = enter(&pending, 1);
        assert!(pending.poll(id, &mut Context::from_waker(&waker)).is_pending());
    }
    pending.cut(addr(1), 1);
    pending.cut(addr(1), 1);
    assert_eq!(woken.0.load(Ordering::Relaxed), 100);
}

/// Waits for the call's outcome and says how long that took in virtual time.
async fn ended(pending: &Pending, clock: &Clock, id: u64) -> (Outcome, u64) {
    let outcome = std::future::poll_fn(|cx| pending.poll(id, cx)).await;
    (outcome, clock.now().0)
}

#[tokio::test(start_paused = true)]
async fn p05_a_call_ends_at_its_deadline_and_not_before() {
    let (pending, clock) = (Pending::new(), Clock::start());
    let id = pending.enter(entry(1, 0, Millis(5_000)), None).unwrap();
    tokio::select! {
        () = pending.watch_deadlines(clock) => unreachable!("it watches until dropped"),
        (outcome, at) = ended(&pending, &clock, id) => {
            assert_eq!(outcome, Outcome::Expired);
            assert!((5_000..=5_002).contains(&at), "at {at} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p05_an_earlier_deadline_that_comes_later_is_kept_too() {
    let (pending, clock) = (Arc::new(Pending::new()), Clock::start());
    let late = pending.enter(entry(1, 0, Millis(5_000)), None).unwrap();
    let watch = Arc::clone(&pending);
    let watching = tokio::spawn(async move { watch.watch_deadlines(clock).await });
    tokio::time::advance(Duration::from_millis(100)).await;
    // The one in the same table, the other in another.
    for peer in [17, 2] {
        let deadline = clock.now().after(300);
        let early = pending.enter(entry(peer, 0, deadline), None).unwrap();
        let (outcome, at) = ended(&pending, &clock, early).await;
        assert_eq!(outcome, Outcome::Expired);
        assert!(Millis(at).since(deadline) <= 2, "at {at} ms, due at {deadline:?}");
    }
    assert_eq!(poll(&pending, late), Poll::Pending);
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn p05_all_deadlines_are_kept_in_whatever_order_they_come() {
    let (pending, clock) = (Arc::new(Pending::new()), Clock::start());
    let watch = Arc::clone(&pending);
    let watching = tokio::spawn(async move { watch.watch_deadlines(clock).await });
    let due = |call: u64| 10 + call * 7_919 % 1_000;
    let calls: Vec<_> = (0..200_u64)
        .map(|call| {
            let peer = u16::try_from(call % 20).unwrap();
            (pending.enter(entry(peer, 0, Millis(due(call))), None).unwrap(), due(call))
        })
        .collect();
    let waits = calls.into_iter().map(|(id, due)| {
        let pending = Arc::clone(&pending);
        tokio::spawn(async move { (ended(&pending, &clock, id).await, due) })
    });
    for wait in waits.collect::<Vec<_>>() {
        let ((outcome, at), due) = wait.await.unwrap();
        assert_eq!(outcome, Outcome::Expired);
        assert!((due..=due + 2).contains(&at), "at {at} ms, due at {due} ms");
    }
    watching.abort();
}

#[derive(Clone, Debug)]
enum Op {
    Enter { peer: u16, position: u64 },
    Complete { which: usize, from: u16 },
    Forge { id: u64, from: u16 },
    Poll { which: usize },
    Leave { which: usize },
    Cut { peer: u16, below: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    // 1 and 17 share a table.
    let peer = || prop::sample::select(vec![1_u16, 2, 17]);
    prop_oneof![
        4 => (peer(), 0..100_u64).prop_map(|(peer, position)| Op::Enter { peer, position }),
        3 => (any::<usize>(), peer()).prop_map(|(which, from)| Op::Complete { which, from }),
        1 => (any::<u64>(), peer()).prop_map(|(id, from)| Op::Forge { id, from }),
        3 => any::<usize>().prop_map(|which| Op::Poll { which }),
        1 => any::<usize>().prop_map(|which| Op::Leave { which }),
        1 => (peer(), 0..100_u64).prop_map(|(peer, below)| Op::Cut { peer, below }),
    ]
}

#[derive(Clone, Debug)]
enum Call {
    Waiting { peer: u16, position: u64 },
    Done(Outcome),
    Gone,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn p07_each_call_gets_its_own_outcome_and_no_other(ops in prop::collection::vec(op(), 1..150)) {
        let pending = Pending::new();
        let mut calls: Vec<(u64, Call)> = Vec::new();
        for (number, op) in ops.into_iter().enumerate() {
            let len = calls.len().max(1);
            match op {
                Op::Enter { peer, position } => {
                    let id = pending.enter(entry(peer, position, Millis::NEVER), None).unwrap();
                    prop_assert!(calls.iter().all(|(other, _)| *other != id), "ids are not reused");
                    calls.push((id, Call::Waiting { peer, position }));
                }
                Op::Complete { which, from } => {
                    let Some((id, call)) = calls.get_mut(which % len) else { continue };
                    let outcome = Outcome::Reply(Bytes::from(number.to_string()));
                    let is_right = matches!(call, Call::Waiting { peer, .. } if *peer == from);
                    prop_assert_eq!(pending.complete(*id, addr(from), outcome.clone()), is_right);
                    if is_right {
                        *call = Call::Done(outcome);
                    }
                }
                Op::Forge { id, from } => {
                    if calls.iter().all(|(known, _)| *known != id) {
                        prop_assert!(!pending.complete(id, addr(from), Outcome::Cut));
                    }
                }
                Op::Poll { which } => {
                    let Some((id, call)) = calls.get_mut(which % len) else { continue };
                    let expected = match std::mem::replace(call, Call::Gone) {
                        Call::Done(outcome) => Poll::Ready(outcome),
                        Call::Gone => Poll::Ready(Outcome::Expired),
                        waiting => { *call = waiting; Poll::Pending }
                    };
                    prop_assert_eq!(poll(&pending, *id), expected);
                }
                Op::Leave { which } => {
                    let Some((id, call)) = calls.get_mut(which % len) else { continue };
                    let was_waiting = matches!(call, Call::Waiting { .. });
                    prop_assert_eq!(pending.leave(*id), was_waiting);
                    *call = Call::Gone;
                }
                Op::Cut { peer: hop, below } => {
                    pending.cut(addr(hop), below);
                    for (_, call) in &mut calls {
                        if matches!(call, Call::Waiting { peer, position } if *peer == hop && *position < below) {
                            *call = Call::Done(Outcome::Cut);
                        }
                    }
                }
            }
        }
    }
}
