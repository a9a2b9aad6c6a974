//! Long walks through the orders of events, by chance.

use proptest::prelude::*;

use super::world::{Event, World};
use super::*;

fn walk(steps: &[(u8, u16)], is_faulty: bool) -> World {
    let mut world = World::new();
    for (dice, choice) in steps {
        world.jitter_percent = (choice % 101) as u8;
        let mut events = world.in_flight();
        match dice {
            0..=3 => events.extend(world.demands()),
            4..=9 if is_faulty => events.extend(world.faults()),
            10..=25 if world.next_timer() < Millis::NEVER => events.push(Event::Pass),
            _ => {}
        }
        if let Some(event) = events.get(usize::from(*choice) % events.len().max(1)) {
            world.apply(*event);
        }
    }
    world
}

fn steps() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((0..40_u8, any::<u16>()), 1..300)
}

proptest! {
    #[test]
    fn p12_without_faults_both_ends_agree_within_a_second(steps in steps(), seed in any::<u16>()) {
        let mut world = walk(&steps, false);
        let mut choice = usize::from(seed);
        let took = world.settle(|_| { choice = choice.wrapping_mul(31).wrapping_add(7); choice });
        prop_assert!(took <= 1_000, "{} ms", took);
    }

    #[test]
    fn p14_after_any_faults_both_ends_agree_within_a_second(steps in steps(), seed in any::<u16>()) {
        let mut world = walk(&steps, true);
        world.heal();
        let mut choice = usize::from(seed);
        let took = world.settle(|_| { choice = choice.wrapping_mul(31).wrapping_add(7); choice });
        prop_assert!(took <= 1_000, "{} ms", took);
    }
}
