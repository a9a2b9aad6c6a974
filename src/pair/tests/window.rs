//! What a source keeps of a pair.

use proptest::prelude::*;

use super::super::window::{ASK_MS, GRACE_MS, OPEN_MS};
use super::*;
use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::loss::Loss;
use crate::wire::Receipt;

const UNTIL: Millis = Millis(5_000);

fn receipt(run: u64, up_to: u32, handled: u32) -> Receipt {
    Receipt { incarnation: Incarnation::from_bits(run), up_to, handled, lane: 2 }
}

fn exactly(lost: u64, instead_of: u64) -> Option<Loss> {
    Some(Loss { at_most: instead_of.max(lost), exactly: Some(lost), instead_of })
}

fn at_most(lost: u64, instead_of: u64) -> Option<Loss> {
    Some(Loss { at_most: lost, exactly: None, instead_of })
}

/// One that knows of a run of the destination, and has sent so many more.
fn window(sent: u32) -> Window {
    let mut window = Window::default();
    window.send(1, UNTIL);
    assert_eq!(window.on_receipt(receipt(1, 1, 1), Millis(0)), None);
    (0..sent).for_each(|_| window.send(1, UNTIL));
    window
}

#[test]
fn p09_what_is_on_its_way_counts_and_one_alone_always_has_room() {
    let mut window = Window::default();
    assert!(window.has_room(1_000, 100));
    window.send(60, UNTIL);
    assert!(window.has_room(40, 100) && !window.has_room(41, 100));
    window.send(40, UNTIL);
    assert!(!window.has_room(1, 100));
    assert!(window.on_bounce(2));
    assert!(window.has_room(40, 100) && !window.has_room(41, 100));
    assert_eq!(window.on_receipt(receipt(1, 1, 1), Millis(0)), None);
    assert!(window.has_room(1_000, 100) && window.is_settled());
}

#[test]
fn p03_a_break_has_a_bound_and_a_receipt_the_exact_number() {
    let mut window = window(9);
    assert!(window.on_bounce(5));
    assert_eq!(window.on_break(), at_most(8, 0));
    assert_eq!(window.on_break(), None, "that is told");
    assert_eq!(window.on_receipt(receipt(1, 9, 6), Millis(0)), None, "10 may still come");
    assert_eq!(window.on_break(), at_most(3, 8));
    assert_eq!(window.on_receipt(receipt(1, 10, 7), Millis(0)), exactly(2, 3));
    assert!(window.is_settled());
    assert!(!window.on_bounce(6), "it counts as lost");
}

#[test]
fn p03_what_comes_back_behind_a_break_is_in_doubt_no_longer() {
    let mut window = window(3);
    assert_eq!(window.on_break(), at_most(3, 0));
    window.send(1, UNTIL);
    assert!(window.on_bounce(2) && window.on_bounce(4));
    assert_eq!(window.on_timer(Millis(1)).0, None, "one is missing");
    assert!(window.on_bounce(3));
    assert_eq!(window.on_timer(Millis(2)), (exactly(0, 3), None));
    assert!(!window.is_clear(), "one was sent after it");
    assert_eq!(window.on_receipt(receipt(1, 5, 2), Millis(3)), None);
    assert!(window.is_settled());
}

#[test]
fn a_break_of_a_path_on_which_nothing_was_is_no_loss() {
    let mut window = window(0);
    assert_eq!(window.on_break(), None);
    assert!(window.is_settled());
}

#[test]
fn p03_nobody_claims_to_know_what_an_earlier_run_has_handled() {
    let mut window = window(4);
    assert_eq!(window.on_receipt(receipt(2, 0, 0), Millis(0)), at_most(4, 0));
    assert_eq!(window.on_receipt(receipt(1, 5, 5), Millis(0)), None, "of the earlier run");
    assert_eq!(window.on_break(), None, "that is told");
    assert_eq!(window.on_receipt(receipt(2, 5, 1), Millis(0)), at_most(3, 4));
    assert!(window.is_settled());
    window.send(1, UNTIL);
    assert_eq!(window.on_break(), at_most(1, 0));
    assert_eq!(window.on_receipt(receipt(2, 6, 1), Millis(0)), exactly(1, 1), "all of one run");
}

#[test]
fn p03_a_first_receipt_behind_a_break_may_be_that_of_a_second_run() {
    for (handled, told) in [(1, None), (3, exactly(0, 3)), (2, at_most(1, 3))] {
        let mut window = Window::default();
        (0..3).for_each(|_| window.send(1, UNTIL));
        assert_eq!(window.on_break(), at_most(3, 0));
        let up_to = if told.is_none() { 1 } else { 3 };
        let loss = window.on_receipt(receipt(1, up_to, handled), Millis(0));
        assert_eq!(loss, told.or_else(|| at_most(2, 3)), "{handled} handled");
    }
}

#[test]
fn a_receipt_of_before_or_of_what_was_never_sent_counts_for_nothing() {
    let mut window = window(4);
    assert_eq!(window.on_receipt(receipt(1, 3, 3), Millis(0)), None);
    assert_eq!(window.on_receipt(receipt(1, 2, 2), Millis(0)), None);
    assert_eq!(window.on_receipt(receipt(1, 6, 6), Millis(0)), None);
    assert_eq!(window.on_break(), at_most(2, 0), "4 and 5");
}

#[test]
fn p03_an_open_frame_is_lost_only_when_nothing_more_can_come_of_it() {
    let mut window = window(2);
    assert_eq!(window.on_receipt(receipt(1, 2, 1), Millis(100)), None);
    assert!(window.on_bounce(2), "a relay sent it back");
    assert_eq!(window.on_receipt(receipt(1, 3, 1), Millis(OPEN_MS)), None);
    let (early, late) = (Millis(2 * OPEN_MS - 1), Millis(2 * OPEN_MS));
    assert_eq!(window.on_timer(early), (None, None), "its time began with it");
    assert_eq!(window.on_timer(late), (exactly(1, 0), None));
    assert!(!window.on_bounce(3) && window.is_settled());
}

#[test]
fn p03_what_is_open_is_lost_in_time_whatever_else_is_told() {
    let mut window = window(2);
    assert_eq!(window.on_receipt(receipt(1, 2, 1), Millis(0)), None);
    assert_eq!(window.on_receipt(receipt(1, 3, 2), Millis(OPEN_MS - 1)), None);
    assert_eq!(window.on_timer(Millis(OPEN_MS)), (exactly(1, 0), None));
}

#[test]
fn p03_a_receipt_below_what_a_break_put_at_risk_settles_nothing() {
    let mut window = window(1);
    window.send(1, Millis::NEVER);
    assert_eq!(window.on_break(), at_most(2, 0));
    assert_eq!(window.on_timer(UNTIL.after(GRACE_MS)).0, None, "2 is over, and 3 is not");
    assert_eq!(window.on_receipt(receipt(1, 2, 2), Millis(0)), None);
    assert_eq!(window.on_receipt(receipt(1, 3, 2), Millis(0)), exactly(1, 2));
}

#[test]
fn p19_a_bounce_of_what_was_handled_counts_for_nothing() {
    let mut window = window(1);
    assert_eq!(window.on_receipt(receipt(1, 2, 2), Millis(0)), None);
    assert!(!window.on_bounce(2) && window.is_settled());
}

#[test]
fn p03_a_bounce_of_what_counts_as_lost_takes_the_place_of_nothing_else() {
    let mut window = window(1);
    window.on_break();
    window.send(1, UNTIL);
    assert_eq!(window.on_receipt(receipt(1, 3, 2), Millis(0)), exactly(1, 1));
    window.send(1, UNTIL);
    assert_eq!(window.on_receipt(receipt(1, 4, 2), Millis(0)), None);
    assert!(!window.on_bounce(2), "it is lost");
    assert!(window.on_bounce(4));
    assert!(window.is_settled());
}

#[test]
fn the_destination_is_asked_until_it_tells_and_closed_from_the_second_time_on() {
    let mut window = window(2);
    assert_eq!(window.on_timer(Millis(0)), (None, None));
    window.on_break();
    window.send(1, UNTIL);
    assert_eq!(window.on_timer(Millis(10)), (None, Some(Ask { close: 0 })));
    assert_eq!(window.on_timer(Millis(9 + ASK_MS)), (None, None));
    assert_eq!(window.on_timer(Millis(10 + ASK_MS)), (None, Some(Ask { close: 3 })));
    assert_eq!(window.on_receipt(receipt(1, 3, 2), Millis(0)), exactly(1, 2));
    assert_eq!(window.on_timer(Millis(10 + 2 * ASK_MS)), (None, None));
}

#[test]
fn p03_what_nobody_tells_of_stays_a_bound() {
    const PATIENCE: u64 = 60_000;
    let mut window = window(3);
    assert_eq!(window.give_up(Millis::NEVER, PATIENCE), None, "nothing is broken");
    assert_eq!(window.on_break(), at_most(3, 0));
    assert_eq!(window.give_up(Millis::NEVER, PATIENCE), None, "nobody was asked");
    window.on_timer(Millis(0));
    assert_eq!(window.on_receipt(receipt(1, 2, 2), Millis(1_000)), None);
    // From then on it says nothing, whatever else breaks.
    window.on_timer(Millis(2_000));
    (0..2).for_each(|_| window.send(1, Millis::NEVER));
    assert_eq!(window.on_break(), at_most(4, 3));
    window.on_timer(Millis(3_000));
    window.send(1, Millis::NEVER);
    assert_eq!(window.give_up(Millis(2_000 + PATIENCE - 1), PATIENCE), None);
    assert!(!window.is_settled());
    assert_eq!(window.give_up(Millis(2_000 + PATIENCE), PATIENCE), at_most(5, 4));
    assert!(window.is_settled() && window.has_room(1_000, 1_000));
    assert!(!window.on_bounce(7), "it counts as lost");
    assert_eq!(window.on_timer(Millis::NEVER), (None, None));
    // It is back, with some of them.
    assert_eq!(window.on_receipt(receipt(1, 7, 4), Millis(0)), None);
    assert_eq!(window.on_timer(Millis(OPEN_MS)), (None, None));
    window.send(1, UNTIL);
    assert_eq!(window.on_break(), at_most(1, 0));
    assert_eq!(window.on_receipt(receipt(1, 8, 4), Millis(0)), exactly(1, 1));
}

#[test]
fn p09_a_frame_of_which_nothing_comes_holds_its_room_until_its_time_is_over() {
    let mut window = window(0);
    window.send(60, UNTIL);
    window.send(40, UNTIL.after(1));
    let over = UNTIL.after(GRACE_MS);
    assert_eq!(window.on_timer(Millis(over.0 - 1)), (None, None));
    assert!(!window.has_room(60, 100));
    assert_eq!(window.on_timer(over), (at_most(1, 0), Some(Ask { close: 0 })));
    assert!(window.has_room(60, 100) && !window.has_room(61, 100));
    // What may still come is not forbidden.
    window.send(1, Millis::NEVER);
    let (loss, ask) = window.on_timer(over.after(ASK_MS));
    assert_eq!((loss, ask), (at_most(2, 1), Some(Ask { close: 0 })));
    let (loss, ask) = window.on_timer(over.after(2 * ASK_MS));
    assert_eq!((loss, ask), (None, Some(Ask { close: 3 })));
    assert!(!window.is_clear());
}

#[test]
fn a_number_of_long_ago_is_not_taken_for_one_to_come() {
    let mut window = window(1);
    window.on_break();
    assert_eq!(window.on_receipt(receipt(1, 2, 1), Millis(0)), exactly(1, 1));
    for last in [1 << 30, 1 << 31, 3 << 30, 9] {
        window.last = last;
        assert_eq!(window.on_receipt(receipt(1, last, 1), Millis(0)), None);
        window.send(1, UNTIL);
        assert_eq!(window.on_receipt(receipt(1, last + 1, 1), Millis(0)), None);
        assert!(window.on_bounce(last + 1), "{last}");
        assert!(window.is_settled());
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Send,
    Receipt { run: u64, up_to: u32, handled: u32 },
    Bounce { seq: u32 },
    Break,
    Timer { ms: u64 },
    GiveUp { patience_ms: u64 },
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..20_u32, 1 => any::<u32>(), 1 => Just(u32::MAX), 1 => Just(i32::MIN.cast_unsigned())]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Send),
        3 => (0..4_u64, number(), number())
            .prop_map(|(run, up_to, handled)| Op::Receipt { run, up_to, handled }),
        2 => number().prop_map(|seq| Op::Bounce { seq }),
        1 => Just(Op::Break),
        1 => (0..9_000_u64).prop_map(|ms| Op::Timer { ms }),
        1 => (0..9_000_u64).prop_map(|patience_ms| Op::GiveUp { patience_ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p19_no_lie_of_a_destination_overflows_or_holds_the_sender_up(
        start in number(), ops in prop::collection::vec(op(), 1..100),
    ) {
        let (mut window, mut now, mut lost) = (Window::starting_at(start), Millis(0), 0_u64);
        let mut count = |loss: Option<Loss>| {
            let Some(Loss { at_most, exactly, instead_of }) = loss else { return };
            lost = (lost + exactly.unwrap_or(at_most)).checked_sub(instead_of).unwrap();
        };
        for op in ops {
            match op {
                Op::Send => window.send(10, now.after(UNTIL.0)),
                Op::Receipt { run, up_to, handled } => {
                    count(window.on_receipt(receipt(run, up_to, handled), now));
                }
                Op::Bounce { seq } => drop(window.on_bounce(seq)),
                Op::Break => count(window.on_break()),
                Op::Timer { ms } => {
                    now = now.after(ms);
                    count(window.on_timer(now).0);
                }
                Op::GiveUp { patience_ms } => count(window.give_up(now, patience_ms)),
            }
        }
        count(window.on_timer(now.after(UNTIL.0 + GRACE_MS)).0);
        prop_assert!(window.is_clear() && window.has_room(usize::MAX, 0));
    }
}
