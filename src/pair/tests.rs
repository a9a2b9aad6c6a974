mod arrivals;
mod model;
mod ops;
mod window;

use super::*;

/// Numbers of which any two are compared: about the end, the half and the beginning.
fn landmarks() -> impl Iterator<Item = u32> + Clone {
    let about = |n: u32| (0..=8).map(move |d: u32| n.wrapping_add(d).wrapping_sub(4));
    about(0).chain(about(1 << 31)).filter(|n| *n != 0)
}

#[test]
fn zero_is_never_given_out() {
    assert_eq!(next(0), 1);
    assert_eq!(next(u32::MAX), 1);
    assert!(landmarks().all(|n| next(n) != 0 && next(n) != n));
}

#[test]
fn the_nearer_way_round_says_which_of_two_numbers_is_after() {
    for a in landmarks() {
        let mut b = a;
        for _ in 0..20 {
            assert!(!is_after(a, b), "{a} after {b}");
            assert_eq!(is_after(b, a), a != b, "{b} after {a}");
            b = next(b);
        }
    }
}

#[test]
fn every_number_is_after_none_and_none_is_after_nothing() {
    for n in landmarks() {
        assert!(is_after(n, 0), "{n}");
        assert!(!is_after(0, n), "{n}");
    }
    assert!(!is_after(0, 0));
}
