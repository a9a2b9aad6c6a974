//! Signs of life.

use super::*;

fn up() -> Machine {
    let mut machine = Machine::new(lower(), higher(), TIMES);
    machine.on_accepted(Lane::Message, 2, 1_000, Millis(0));
    machine.on_accepted(Lane::Rpc, 1, 1_000, Millis(0));
    machine
}

fn signs(heard: u64, sent: u64) -> Signs {
    Signs { heard: Millis(heard), sent: Millis(sent), stuck_since: None }
}

fn tick(machine: &mut Machine, now: u64, signs: Signs) -> Vec<Action> {
    machine.on_timer(Millis(now), signs, [false; LANES.len()])
}

#[test]
fn p13_a_ping_goes_out_when_nothing_else_did_for_a_second() {
    let mut machine = up();
    assert_eq!(machine.next_timer(signs(500, 500)), Millis(1_500));
    assert_eq!(tick(&mut machine, 1_499, signs(500, 500)), []);
    assert_eq!(tick(&mut machine, 1_500, signs(500, 500)), [Action::Ping]);
}

#[test]
fn p13_a_ping_that_is_not_written_yet_is_not_sent_again_at_once() {
    let mut machine = up();
    let signs = signs(900, 0);
    assert_eq!(tick(&mut machine, 1_000, signs), [Action::Ping]);
    assert_eq!(tick(&mut machine, 1_001, signs), []);
    assert_eq!(machine.next_timer(signs), Millis(2_000), "or the driver would spin");
    assert_eq!(tick(&mut machine, 2_000, signs), [Action::Ping]);
}

#[test]
fn p13_a_new_session_pings_by_its_own_time() {
    let mut machine = up();
    assert_eq!(tick(&mut machine, 1_000, signs(900, 0)), [Action::Ping]);
    machine.on_ended(Lane::Rpc, 1, Millis(1_000), 1.0);
    machine.on_accepted(Lane::Rpc, 3, 1_000, Millis(1_100));
    assert_eq!(machine.next_timer(signs(1_100, 1_100)), Millis(2_100));
}

#[test]
fn p13_a_peer_is_dead_after_three_heartbeats_of_silence_and_never_before() {
    let mut machine = up();
    assert_eq!(tick(&mut machine, 3_499, signs(500, 3_000)), []);
    let ends = [
        Action::End { lane: Lane::Message, session: 2, cause: Cause::Silent },
        Action::End { lane: Lane::Rpc, session: 1, cause: Cause::Silent },
    ];
    assert_eq!(machine.next_timer(signs(500, 3_000)), Millis(3_500));
    assert_eq!(tick(&mut machine, 3_500, signs(500, 3_000)), ends);
}

#[test]
fn p13_a_link_with_a_message_lane_only_dies_of_silence_too() {
    let mut machine = Machine::new(lower(), higher(), TIMES);
    machine.on_accepted(Lane::Message, 2, 1_000, Millis(0));
    machine.lanes[0] = LaneState::Dialing { attempt: 1 };
    assert_eq!(machine.next_timer(signs(0, 0)), Millis(3_000));
    let end = Action::End { lane: Lane::Message, session: 2, cause: Cause::Silent };
    assert_eq!(tick(&mut machine, 3_000, signs(0, 0)), [end]);
}

#[test]
fn p13_a_peer_with_a_slower_heartbeat_has_its_own_time() {
    let mut machine = Machine::new(lower(), higher(), TIMES);
    machine.on_accepted(Lane::Rpc, 1, 5_000, Millis(0));
    assert_eq!(tick(&mut machine, 14_999, signs(0, 14_000)), []);
    assert_eq!(tick(&mut machine, 15_000, signs(0, 14_000)).len(), 1);
}

#[test]
fn p11_a_peer_that_takes_no_byte_for_three_heartbeats_is_closed() {
    let stuck = |now: u64| {
        let mut machine = up();
        let signs = Signs { stuck_since: Some(Millis(100)), ..signs(now, now) };
        (machine.next_timer(signs), tick(&mut machine, now, signs))
    };
    assert_eq!(stuck(3_099), (Millis(3_100), Vec::new()));
    let ends = stuck(3_100).1;
    let causes = ends.iter().map(|end| matches!(end, Action::End { cause: Cause::Stalled, .. }));
    assert_eq!(causes.collect::<Vec<_>>(), [true, true]);
}

/// Two nodes that say nothing but pings and pongs over a line with `delay` ms each way.
///
/// Returns when each was found dead, if it was.
fn talk(delay: u64, frozen_at: u64, until: u64) -> [Option<u64>; 2] {
    let mut machines = [up(), up()];
    let (mut heard, mut sent) = ([0; 2], [0; 2]);
    let (mut wire, mut dead): (Vec<(u64, usize, bool)>, _) = (Vec::new(), [None; 2]);
    for now in 0..until {
        let arrived: Vec<_> = wire.extract_if(.., |(at, _, _)| *at == now).collect();
        for (_, node, is_ping) in arrived {
            heard[node] = now;
            let runs = node == 0 || now < frozen_at;
            if is_ping && runs {
                sent[node] = now;
                wire.push((now + delay, 1 - node, false));
            }
        }
        for node in 0..2 {
            let runs = dead[node].is_none() && (node == 0 || now < frozen_at);
            let signs = signs(heard[node], sent[node]);
            if !runs || machines[node].next_timer(signs) > Millis(now) {
                continue;
            }
            for action in tick(&mut machines[node], now, signs) {
                match action {
                    Action::Ping => {
                        sent[node] = now;
                        wire.push((now + delay, 1 - node, true));
                    }
                    Action::End { cause: Cause::Silent, .. } => dead[node] = Some(now),
                    action => panic!("{action:?}"),
                }
            }
        }
    }
    dead
}

#[test]
fn p13_a_peer_that_runs_is_never_found_dead_however_idle() {
    for delay in [1, 100, 999, 1_900] {
        assert_eq!(talk(delay, u64::MAX, 30_000), [None, None], "{delay} ms each way");
    }
}

#[test]
fn p13_a_peer_that_stands_still_is_found_dead_within_four_seconds() {
    for frozen_at in (10_000..11_000).step_by(50) {
        let [found, _] = talk(20, frozen_at, 20_000);
        let took = found.expect("it is found") - frozen_at;
        assert!((1_900..=4_000).contains(&took), "{took} ms after it stood still");
    }
}
