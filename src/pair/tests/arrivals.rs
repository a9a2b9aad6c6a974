//! What a destination keeps of a pair.

use super::*;
use crate::clock::Millis;
use crate::incarnation::Incarnation;

/// Up to which number, and how many of those were handled.
fn told(arrivals: &mut Arrivals) -> (u32, u32) {
    let receipt = arrivals.receipt(Incarnation::from_bits(1), 2);
    assert_eq!((receipt.incarnation, receipt.lane), (Incarnation::from_bits(1), 2));
    (receipt.up_to, receipt.handled)
}

fn handle(arrivals: &mut Arrivals, seq: u32, now: Millis) {
    assert!(arrivals.arrive(seq));
    arrivals.settle(seq, 1, now);
}

#[test]
fn p02_only_what_is_after_all_before_may_be_handled() {
    let mut arrivals = Arrivals::default();
    assert!(arrivals.arrive(u32::MAX - 1), "whatever came first");
    assert!(!arrivals.arrive(u32::MAX - 1));
    assert!(arrivals.arrive(2));
    for late in [1, 2, u32::MAX] {
        assert!(!arrivals.arrive(late), "{late}");
    }
    assert!(arrivals.arrive(3));
}

#[test]
fn p19_a_number_that_is_none_is_never_handled() {
    let mut arrivals = Arrivals::default();
    assert!(!arrivals.arrive(0));
    handle(&mut arrivals, u32::MAX, Millis(0));
    assert!(!arrivals.arrive(0));
    arrivals.forbid(0);
    assert_eq!(told(&mut arrivals), (u32::MAX, 1));
}

#[test]
fn what_waits_for_its_turn_is_not_told_of() {
    let mut arrivals = Arrivals::default();
    assert!(arrivals.arrive(1) && arrivals.arrive(4));
    assert_eq!(told(&mut arrivals), (0, 0));
    arrivals.settle(1, 1, Millis(0));
    assert_eq!(told(&mut arrivals), (1, 1));
    arrivals.settle(4, 1, Millis(0));
    assert_eq!(told(&mut arrivals), (4, 2));
}

#[test]
fn what_is_forbidden_passes_nothing_that_waits() {
    let mut arrivals = Arrivals::default();
    assert!(arrivals.arrive(1) && arrivals.arrive(2));
    arrivals.forbid(9);
    assert_eq!(told(&mut arrivals), (0, 0));
    arrivals.settle(1, 1, Millis(0));
    assert_eq!(told(&mut arrivals), (1, 1));
    arrivals.settle(2, 1, Millis(0));
    assert_eq!(told(&mut arrivals), (9, 2), "nothing up to 9 will be handled any more");
    assert!(!arrivals.arrive(9));
    arrivals.forbid(5);
    assert!(arrivals.arrive(10));
    arrivals.settle(10, 1, Millis(0));
    assert_eq!(told(&mut arrivals), (10, 3));
}

#[test]
fn what_was_sent_back_was_not_handled_whenever_that_is_known() {
    let mut arrivals = Arrivals::default();
    assert!(arrivals.arrive(1));
    arrivals.refuse(Millis(0));
    assert_eq!(told(&mut arrivals), (0, 0), "it is neither dealt with nor handled");
    arrivals.settle(1, 1, Millis(0));
    assert_eq!(told(&mut arrivals), (1, 0));
    handle(&mut arrivals, 2, Millis(0));
    assert_eq!(told(&mut arrivals), (2, 1));
    arrivals.refuse(Millis(0));
    assert!(arrivals.is_untold());
    assert_eq!(told(&mut arrivals), (2, 0), "it was the second");
}

#[test]
fn a_receipt_is_due_at_once_and_then_after_bytes_or_time() {
    let mut arrivals = Arrivals::default();
    assert!(!arrivals.is_due(Millis(1_000)));
    handle(&mut arrivals, 1, Millis(1_000));
    assert!(arrivals.is_due(Millis(1_000)));
    told(&mut arrivals);
    assert!(!arrivals.is_due(Millis(9_000)), "all is told");
    handle(&mut arrivals, 2, Millis(9_000));
    handle(&mut arrivals, 3, Millis(9_040));
    assert!(!arrivals.is_due(Millis(9_000 + RECEIPT_MS - 1)));
    assert!(arrivals.is_due(Millis(9_000 + RECEIPT_MS)));
    told(&mut arrivals);
    assert!(arrivals.arrive(4));
    arrivals.settle(4, (256 << 10) - 1, Millis(10_000));
    assert!(!arrivals.is_due(Millis(10_000)));
    handle(&mut arrivals, 5, Millis(10_000));
    assert!(arrivals.is_due(Millis(10_000)));
}
