mod cuts;
mod model;

use super::*;

fn counts(session: u64, handled: u64, bounced: u64) -> Counts {
    Counts { session, handled, bounced }
}

#[test]
fn p03_a_broken_session_has_a_bound_and_then_an_exact_number() {
    let mut account = Account::default();
    account.begin(7);
    account.on_told(counts(7, 40, 1));
    assert!(account.on_bounce(7));
    assert_eq!(account.end(100), Some(Loss::bound(59)));
    assert_eq!(account.unsettled(), 7);
    account.on_bounces_gone();
    assert!(!account.on_bounce(7), "it is counted as lost");
    let loss = account.settle(counts(7, 90, 2));
    // 100 handed, 90 handled, 1 bounce arrived; the second bounce is itself lost.
    assert_eq!(loss, Some(Loss { at_most: 59, exactly: Some(9), instead_of: 59 }));
    assert_eq!(account.unsettled(), 0);
}

#[test]
fn p03_a_bounce_that_may_still_come_is_no_loss_until_its_lane_is_gone() {
    let mut account = Account::default();
    account.begin(7);
    assert_eq!(account.end(10), Some(Loss::bound(10)));
    let settled = Loss { at_most: 10, exactly: Some(1), instead_of: 10 };
    assert_eq!(account.settle(counts(7, 6, 3)), Some(settled));
    account.begin(8);
    assert!(account.on_bounce(7));
    let lost = Loss { at_most: 2, exactly: Some(2), instead_of: 0 };
    assert_eq!(account.on_bounces_gone(), Some(lost), "one of three came");
    assert!(!account.on_bounce(7), "it is counted as lost");
}

#[test]
fn told_counts_of_another_session_count_for_nothing() {
    let mut account = Account::default();
    account.begin(7);
    account.on_told(counts(6, 99, 0));
    assert_eq!(account.end(10), Some(Loss::bound(10)));
}

#[test]
fn p03_a_session_that_the_receiver_never_heard_on_is_lost_as_a_whole() {
    let mut account = Account::default();
    account.begin(7);
    assert_eq!(account.end(10), Some(Loss::bound(10)));
    let all = Loss { at_most: 10, exactly: Some(10), instead_of: 10 };
    assert_eq!(account.settle(counts(6, 10, 0)), Some(all));
    assert_eq!(account.unsettled(), 0);
}

#[test]
fn a_session_of_which_all_was_handled_is_no_loss() {
    let mut account = Account::default();
    account.begin(1);
    account.on_told(counts(1, 10, 0));
    assert_eq!(account.end(10), None);
    assert_eq!(account.settle(counts(1, 10, 0)), None);
}

#[test]
fn p19_no_count_of_a_peer_overflows() {
    let mut account = Account::default();
    account.begin(7);
    account.on_told(counts(7, u64::MAX, u64::MAX));
    assert!(account.on_bounce(7));
    assert!(account.is_settled(1));
    assert_eq!(account.end(1), None);
    assert_eq!(account.settle(counts(7, u64::MAX, u64::MAX)), None);
}
