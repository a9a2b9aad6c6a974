//! All orders of events, as far as they go.

use std::collections::HashSet;

use super::world::{Event, World};

/// Visits every world that `steps` events can lead to; `next` says which may happen.
fn explore(start: World, steps: usize, next: impl Fn(&World) -> Vec<Event>) -> HashSet<World> {
    let mut seen = HashSet::from([start.clone()]);
    let mut edge = vec![start];
    for _ in 0..steps {
        let mut further = Vec::new();
        for world in &edge {
            for event in next(world) {
                let mut world = world.clone();
                world.apply(event);
                if seen.insert(world.clone()) {
                    further.push(world);
                }
            }
        }
        edge = further;
        assert!(seen.len() < 100_000, "the machines go on and on");
    }
    seen
}

fn with_time(world: &World, mut events: Vec<Event>) -> Vec<Event> {
    if world.is_anything_due() {
        events.push(Event::Pass);
    }
    events
}

fn dialled_by_both() -> World {
    let mut world = World::new();
    for event in world.demands() {
        world.apply(event);
    }
    world
}

/// Both ends up on both lanes.
fn connected() -> World {
    let mut world = dialled_by_both();
    world.settle(|_| 0);
    world
}

#[test]
fn p12_a_simultaneous_dial_ends_in_one_session_per_lane_within_a_second() {
    let worlds = explore(dialled_by_both(), 40, World::in_flight);
    assert!(worlds.len() > 500, "{} worlds", worlds.len());
    for world in worlds {
        let took = world.clone().settle(|_| 0);
        assert!(took <= 1_000, "{took} ms from {world:#?}");
    }
}

#[test]
fn p12_who_dials_first_makes_no_difference() {
    let next = |world: &World| [world.in_flight(), world.demands()].concat();
    let worlds = explore(World::new(), 9, next);
    assert!(worlds.len() > 4_000, "{} worlds", worlds.len());
    for world in worlds {
        let took = world.clone().settle(|_| 0);
        assert!(took <= 1_000, "{took} ms from {world:#?}");
    }
}

#[test]
fn p14_whatever_happens_to_a_link_both_ends_meet_again() {
    let next = |world: &World| with_time(world, [world.in_flight(), world.faults()].concat());
    let worlds = explore(connected(), 5, next);
    assert!(worlds.len() > 10_000, "{} worlds", worlds.len());
    for world in worlds {
        meet_again(world);
    }
}

#[test]
fn p14_whatever_happens_to_a_dial_both_ends_meet_again() {
    let next = |world: &World| with_time(world, [world.in_flight(), world.faults()].concat());
    let worlds = explore(dialled_by_both(), 4, next);
    assert!(worlds.len() > 7_000, "{} worlds", worlds.len());
    for world in worlds {
        meet_again(world);
    }
}

/// Discovery has both again, whoever restarted has something to say, and no fault follows.
fn meet_again(world: World) {
    let mut healed = world.clone();
    healed.heal();
    let took = healed.settle(|_| 0);
    assert!(took <= 1_000, "{took} ms from {world:#?}");
}
