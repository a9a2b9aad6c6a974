//! One transition each.

use super::*;

const QUIET: Signs = Signs { heard: Millis(0), sent: Millis(0), stuck_since: None };
/// When sessions that began at the start have lasted.
const LATER: Millis = Millis(SETTLED_MS);
const BOTH: [bool; LANES.len()] = [true, true, false];
const NONE: [bool; LANES.len()] = [false; LANES.len()];

fn machine() -> Machine {
    Machine::new(lower(), higher(), TIMES)
}

/// Frames wait on the lane.
fn demand(machine: &mut Machine, lane: Lane) -> Vec<Action> {
    machine.on_timer(Millis(0), QUIET, LANES.map(|of| of == lane))
}

fn met(session: u64, number: u64) -> Met {
    Met { session, incarnation: incarnation(number), heartbeat_ms: 1_000 }
}

fn claim(number: u64, last_session: u64) -> Claimed {
    Claimed { incarnation: incarnation(number), last_session, is_said: false }
}

/// Up on the lanes given; session 1 on rpc, 2 on message.
fn up(lanes: &[Lane]) -> Machine {
    let mut machine = machine();
    machine.on_incarnation(incarnation(10));
    for lane in lanes {
        machine.on_accepted(*lane, lane.index() as u64 + 1, 1_000, Millis(0));
    }
    machine
}

fn end(lane: Lane, cause: Cause) -> Action {
    Action::End { lane, session: lane.index() as u64 + 1, cause }
}

fn accept(lane: Lane, newcomer: u64) -> Action {
    Action::Accept { lane, newcomer }
}

fn duplicate(lane: Lane, newcomer: u64) -> Action {
    Action::Refuse { lane, newcomer, refusal: Denial::Duplicate }
}

#[test]
fn p12_nothing_is_dialled_without_demand() {
    let mut machine = machine();
    assert_eq!(machine.on_timer(Millis(9_999), QUIET, NONE), []);
    assert_eq!(machine.next_timer(QUIET), Millis::NEVER);
}

#[test]
fn the_rpc_lane_comes_with_the_first_use_of_any() {
    let dial = |lane, attempt| Action::Dial { lane, attempt };
    assert_eq!(demand(&mut machine(), Lane::Rpc), [dial(Lane::Rpc, 1)]);
    assert_eq!(demand(&mut machine(), Lane::Message), [dial(Lane::Rpc, 1), dial(Lane::Message, 2)]);
}

#[test]
fn a_lane_is_dialled_once_however_much_waits() {
    let mut machine = machine();
    assert_eq!(demand(&mut machine, Lane::Rpc).len(), 1);
    assert_eq!(demand(&mut machine, Lane::Rpc), []);
    assert_eq!(machine.on_timer(Millis(10), QUIET, [true, false, false]), []);
}

#[test]
fn an_attempt_that_was_given_up_leads_to_no_session() {
    let mut machine = machine();
    demand(&mut machine, Lane::Rpc);
    machine.on_moved();
    let late = machine.on_connected(Lane::Rpc, 1, met(7, 1), Millis(0));
    assert_eq!(late, (false, Vec::new()));
    assert!(machine.is_idle());
}

#[test]
fn p14_a_backoff_is_full_jitter_from_50_to_500_ms_and_doubles() {
    for (failures, bound) in [(0, 50), (1, 100), (2, 200), (3, 400), (4, 500), (5, 500), (99, 500)]
    {
        assert_eq!(TIMES.backoff_ms(failures, 1.0), bound, "after {failures} failures");
        assert_eq!(TIMES.backoff_ms(failures, 0.5), bound / 2);
        assert_eq!(TIMES.backoff_ms(failures, 0.0), 1, "never at once, which would spin");
    }
}

#[test]
fn p14_a_failed_attempt_is_repeated_after_the_backoff_and_not_before() {
    let mut machine = machine();
    demand(&mut machine, Lane::Rpc);
    machine.on_failed(Lane::Rpc, 1, Millis(100), 1.0);
    assert_eq!(machine.next_timer(QUIET), Millis(150));
    assert_eq!(
        machine.on_timer(Millis(149), QUIET, BOTH),
        [Action::Dial { lane: Lane::Message, attempt: 2 }]
    );
    assert_eq!(
        machine.on_timer(Millis(150), QUIET, BOTH),
        [Action::Dial { lane: Lane::Rpc, attempt: 3 }]
    );
}

#[test]
fn p14_a_peer_that_fails_for_ever_is_tried_every_500_ms() {
    let mut machine = machine();
    let (mut now, mut last) = (Millis(0), Millis(0));
    for _ in 0..100 {
        let [Action::Dial { attempt, .. }] = machine.on_timer(now, QUIET, [true, false, false])[..]
        else {
            panic!("no dial at {now:?}");
        };
        assert!(now.since(last) <= 500);
        machine.on_failed(Lane::Rpc, attempt, now, 1.0);
        last = now;
        now = machine.next_timer(QUIET);
    }
}

#[test]
fn p14_after_an_attempt_that_hung_there_is_no_further_pause() {
    let mut machine = machine();
    machine.failures = 99;
    demand(&mut machine, Lane::Rpc);
    machine.on_failed(Lane::Rpc, 1, Millis(0), 1.0);
    let again = [Action::Dial { lane: Lane::Rpc, attempt: 2 }];
    assert_eq!(machine.on_timer(Millis(800), QUIET, [true, false, false]), again);
}

/// Up on rpc after five failed attempts.
fn up_at_last() -> Machine {
    let mut machine = machine();
    for attempt in 1..=5 {
        machine.lanes = [LaneState::Dialing { attempt }, LaneState::Idle, LaneState::Idle];
        machine.on_failed(Lane::Rpc, attempt, Millis(0), 1.0);
    }
    machine.on_accepted(Lane::Rpc, 1, 1_000, Millis(0));
    machine
}

#[test]
fn p14_a_session_that_lasted_begins_backoffs_anew() {
    let mut machine = up_at_last();
    machine.on_ended(Lane::Rpc, 1, Millis(SETTLED_MS), 1.0);
    let dial = [Action::Dial { lane: Lane::Rpc, attempt: 1 }];
    assert_eq!(machine.on_timer(Millis(SETTLED_MS), QUIET, [true, false, false]), dial, "at once");
    machine.on_failed(Lane::Rpc, 1, Millis(SETTLED_MS), 1.0);
    assert_eq!(machine.next_timer(QUIET), Millis(SETTLED_MS + 50));
}

#[test]
fn p14_while_a_session_lasts_backoffs_begin_anew() {
    let mut machine = up_at_last();
    machine.on_timer(Millis(SETTLED_MS), QUIET, NONE);
    machine.on_moved();
    demand(&mut machine, Lane::Rpc);
    machine.on_failed(Lane::Rpc, 1, Millis(0), 1.0);
    assert_eq!(machine.next_timer(QUIET), Millis(50));
}

#[test]
fn a_peer_that_lets_us_in_and_closes_at_once_is_not_dialled_without_pause() {
    let mut machine = up_at_last();
    machine.on_ended(Lane::Rpc, 1, Millis(SETTLED_MS - 1), 1.0);
    assert_eq!(machine.on_timer(Millis(499), QUIET, BOTH), [], "neither lane");
    assert_eq!(machine.on_timer(Millis(500), QUIET, BOTH).len(), 2);
}

#[test]
fn p14_an_address_change_cancels_backoffs_and_attempts() {
    let mut machine = machine();
    demand(&mut machine, Lane::Message);
    machine.on_failed(Lane::Rpc, 1, Millis(0), 1.0);
    assert_eq!(machine.on_moved(), [Action::Abandon { lane: Lane::Message }]);
    assert_eq!(machine.on_timer(Millis(0), QUIET, BOTH).len(), 2, "both are dialled at once");
}

#[test]
fn p12_the_lower_node_turns_a_newcomer_away_once_it_has_said_hello() {
    let said = Claimed { is_said: true, ..claim(1, 0) };
    let mut lower = machine();
    demand(&mut lower, Lane::Rpc);
    assert_eq!(lower.on_newcomer(Lane::Rpc, 1, said, Millis(0)), [duplicate(Lane::Rpc, 1)]);
}

#[test]
fn p12_otherwise_a_newcomer_goes_before_an_attempt() {
    let accepted = [Action::Abandon { lane: Lane::Rpc }, accept(Lane::Rpc, 1)];
    let mut lower = machine();
    demand(&mut lower, Lane::Rpc);
    assert_eq!(lower.on_newcomer(Lane::Rpc, 1, claim(1, 0), Millis(0)), accepted);
    let mut higher = Machine::new(higher(), self::lower(), TIMES);
    demand(&mut higher, Lane::Rpc);
    assert_eq!(higher.on_newcomer(Lane::Rpc, 1, claim(1, 0), Millis(0)), accepted);
}

#[test]
fn a_peer_that_has_lost_the_session_replaces_it_at_once() {
    let mut machine = up(&[Lane::Rpc, Lane::Message]);
    let actions = machine.on_newcomer(Lane::Message, 1, claim(10, 2), Millis(0));
    assert_eq!(actions, [end(Lane::Message, Cause::Replaced), accept(Lane::Message, 1)]);
}

#[test]
fn a_newcomer_that_does_not_know_the_session_waits_for_a_probe() {
    let mut machine = up(&[Lane::Rpc]);
    let actions = machine.on_newcomer(Lane::Rpc, 1, claim(10, 0), Millis(0));
    assert_eq!(actions, [Action::Probe { lane: Lane::Rpc }]);
    assert!(machine.is_up(Lane::Rpc));
    assert_eq!(machine.on_heard(Lane::Rpc), [duplicate(Lane::Rpc, 1)]);
}

#[test]
fn a_probe_that_stays_silent_for_500_ms_lets_the_newcomer_in() {
    let mut machine = up(&[Lane::Message]);
    machine.lanes[0] = LaneState::Dialing { attempt: 1 };
    machine.on_newcomer(Lane::Message, 1, claim(10, 0), Millis(100));
    assert_eq!(machine.next_timer(QUIET), Millis(600));
    assert_eq!(machine.on_timer(Millis(599), QUIET, NONE), []);
    let taken_over = [end(Lane::Message, Cause::Silent), accept(Lane::Message, 1)];
    assert_eq!(machine.on_timer(Millis(600), QUIET, NONE), taken_over);
}

#[test]
fn a_lane_that_a_newcomer_takes_over_is_not_dialled_as_well() {
    let mut machine = up(&[Lane::Rpc, Lane::Message]);
    machine.on_newcomer(Lane::Message, 1, claim(10, 0), Millis(0));
    let taken_over = [end(Lane::Message, Cause::Silent), accept(Lane::Message, 1)];
    assert_eq!(machine.on_timer(Millis(500), QUIET, BOTH), taken_over);
}

#[test]
fn a_second_newcomer_takes_the_place_of_the_first_but_not_more_time() {
    let mut machine = up(&[Lane::Message]);
    machine.lanes[0] = LaneState::Dialing { attempt: 1 };
    machine.on_newcomer(Lane::Message, 1, claim(10, 0), Millis(0));
    let second = machine.on_newcomer(Lane::Message, 2, claim(10, 0), Millis(400));
    assert_eq!(second, [duplicate(Lane::Message, 1)]);
    assert_eq!(machine.on_timer(Millis(500), QUIET, NONE)[1], accept(Lane::Message, 2));
}

#[test]
fn a_newcomer_that_gives_up_leaves_the_session_alone() {
    let mut machine = up(&[Lane::Rpc]);
    machine.on_newcomer(Lane::Rpc, 1, claim(10, 0), Millis(0));
    machine.on_newcomer_gone(Lane::Rpc, 1);
    let signs = Signs { heard: Millis(600), sent: Millis(600), stuck_since: None };
    assert_eq!(machine.on_timer(Millis(600), signs, NONE), []);
    assert!(machine.is_up(Lane::Rpc));
}

#[test]
fn the_end_of_the_session_lets_the_newcomer_that_waits_in() {
    let mut machine = up(&[Lane::Message]);
    machine.on_newcomer(Lane::Message, 1, claim(10, 0), Millis(0));
    let ended = [end(Lane::Message, Cause::Closed), accept(Lane::Message, 1)];
    assert_eq!(machine.on_ended(Lane::Message, 2, LATER, 1.0), ended);
}

#[test]
fn the_end_of_a_session_that_is_over_means_nothing() {
    let mut machine = up(&[Lane::Rpc]);
    assert_eq!(machine.on_ended(Lane::Rpc, 99, LATER, 1.0), []);
    assert!(machine.is_up(Lane::Rpc));
}

#[test]
fn p13_the_rpc_lane_takes_all_others_with_it_and_goes_last() {
    let mut machine = up(&[Lane::Rpc, Lane::Message]);
    let ended = [end(Lane::Message, Cause::Pulse), end(Lane::Rpc, Cause::Closed)];
    assert_eq!(machine.on_ended(Lane::Rpc, 1, LATER, 1.0), ended);
    assert!(machine.is_idle());
}

#[test]
fn another_lane_goes_alone() {
    let mut machine = up(&[Lane::Rpc, Lane::Message]);
    assert_eq!(machine.on_ended(Lane::Message, 2, LATER, 1.0), [end(Lane::Message, Cause::Closed)]);
    assert!(machine.is_up(Lane::Rpc));
}

#[test]
fn the_pulse_is_dialled_when_the_peer_does_not_bring_it() {
    let mut machine = up(&[Lane::Message]);
    assert_eq!(machine.on_timer(Millis(199), QUIET, NONE), []);
    let dial = Action::Dial { lane: Lane::Rpc, attempt: 1 };
    assert_eq!(machine.on_timer(Millis(200), QUIET, NONE), [dial]);
}

#[test]
fn p15_a_newer_incarnation_ends_all_of_the_older() {
    let mut machine = up(&[Lane::Rpc, Lane::Message]);
    let actions = machine.on_newcomer(Lane::Message, 1, claim(11, 0), Millis(0));
    let ends = [end(Lane::Message, Cause::Reborn), end(Lane::Rpc, Cause::Reborn)];
    assert_eq!(actions[..2], ends);
    assert_eq!(actions[2..], [Action::Reborn, accept(Lane::Message, 1)]);
}

#[test]
fn p15_an_older_incarnation_is_told_so() {
    let mut machine = up(&[Lane::Rpc]);
    let refusal = Denial::Older(incarnation(10));
    let refused = [Action::Refuse { lane: Lane::Rpc, newcomer: 1, refusal }];
    assert_eq!(machine.on_newcomer(Lane::Rpc, 1, claim(9, 1), Millis(0)), refused);
    assert!(machine.is_up(Lane::Rpc));
}

#[test]
fn p15_an_attempt_that_finds_an_older_incarnation_fails() {
    let mut machine = machine();
    demand(&mut machine, Lane::Rpc);
    machine.on_incarnation(incarnation(10));
    let older = machine.on_connected(Lane::Rpc, 1, met(1, 9), Millis(0));
    assert_eq!(older, (false, Vec::new()));
    machine.on_failed(Lane::Rpc, 1, Millis(0), 1.0);
    assert_eq!(
        machine.on_timer(Millis(0), QUIET, [true, false, false]),
        [],
        "it waits before the next"
    );
}

#[test]
fn p15_a_prober_of_the_older_incarnation_is_turned_away() {
    let mut machine = up(&[Lane::Rpc]);
    machine.on_newcomer(Lane::Rpc, 1, claim(10, 0), Millis(0));
    let actions = machine.on_incarnation(incarnation(11));
    let turned_away = [duplicate(Lane::Rpc, 1), end(Lane::Rpc, Cause::Reborn), Action::Reborn];
    assert_eq!(actions, turned_away);
}

#[test]
fn p17_nothing_new_begins_with_a_peer_that_discovery_no_longer_has() {
    let mut machine = up(&[Lane::Rpc]);
    machine.on_retired();
    assert!(machine.is_up(Lane::Rpc), "but what is up may finish");
    let denied = Action::Refuse { lane: Lane::Rpc, newcomer: 1, refusal: Denial::NotAMember };
    assert_eq!(machine.on_newcomer(Lane::Rpc, 1, claim(10, 1), Millis(0)), [denied]);
    assert_eq!(demand(&mut machine, Lane::Message), []);
}

#[test]
fn p17_a_newcomer_that_waits_is_turned_away_when_discovery_loses_the_peer() {
    let mut machine = up(&[Lane::Rpc]);
    machine.on_newcomer(Lane::Rpc, 1, claim(10, 0), Millis(0));
    let denied = Action::Refuse { lane: Lane::Rpc, newcomer: 1, refusal: Denial::NotAMember };
    assert_eq!(machine.on_retired(), [denied]);
    assert!(machine.is_up(Lane::Rpc));
}
