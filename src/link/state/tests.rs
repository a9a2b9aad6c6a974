mod explore;
mod pulse;
mod table;
mod walk;
mod world;

use super::*;

const TIMES: Times = Times { heartbeat_ms: 1_000, backoff_min_ms: 50, backoff_max_ms: 500 };

fn lower() -> LogicalAddr {
    LogicalAddr::new(1, 1, 1)
}

fn higher() -> LogicalAddr {
    LogicalAddr::new(1, 1, 2)
}

fn incarnation(number: u64) -> Incarnation {
    Incarnation::from_bits(number)
}
