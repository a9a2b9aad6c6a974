//! What seaway is meant to reach, and whether it did in this run.

use super::numbers::{Figure, Spread, digits, median};
use super::{line, rule};
use crate::cell::Cell;
use crate::crowd::{CrowdCell, MESSAGE, RPC};

/// One of them: a figure of seaway's, as a multiple of what it is measured by.
struct Target {
    row: &'static str,
    what: What,
    times: f64,
    base: Base,
}

#[derive(Clone, Copy)]
enum What {
    /// At least so many per second.
    Rate,
    /// At most so much CPU time.
    Cpu,
    /// At most so late, half of them.
    P50,
    /// At most so late, 99 of 100.
    P99,
}

/// What a target is a multiple of.
#[derive(Clone, Copy)]
enum Base {
    /// The same of another peer, of the best one if they are several.
    Peers(&'static [&'static str]),
    /// The same of seaway in another row.
    Row(&'static str),
}

const FLOOR: Base = Base::Peers(&["floor"]);
const TARPC: Base = Base::Peers(&["tarpc"]);
const TONIC: Base = Base::Peers(&["tonic"]);
const NATS: Base = Base::Peers(&["nats"]);
const YAMUX: Base = Base::Peers(&["yamux"]);

const fn rate(row: &'static str, times: f64, base: Base) -> Target {
    Target { row, what: What::Rate, times, base }
}

const fn at_most(row: &'static str, what: What, times: f64, base: Base) -> Target {
    Target { row, what, times, base }
}

const TARGETS: &[Target] = &[
    at_most("one caller 64 B", What::P50, 1.1, Base::Peers(&["floor", "floor-naive"])),
    at_most("one caller 64 B", What::P50, 1.0, Base::Peers(&["tarpc", "tonic"])),
    rate("c64 64 B", 0.75, FLOOR),
    at_most("c64 64 B", What::Cpu, 1.5, FLOOR),
    rate("c64 64 B", 4.0, TARPC),
    rate("c64 64 B", 8.0, TONIC),
    at_most("c64 beside trouble", What::P99, 2.0, Base::Row("c64 64 B")),
    rate("c256 64 B", 0.75, FLOOR),
    at_most("c256 64 B", What::Cpu, 1.5, FLOOR),
    rate("c256 64 B", 4.0, TARPC),
    rate("c256 64 B", 8.0, TONIC),
    rate("c64 1 KiB", 0.75, FLOOR),
    at_most("c64 1 KiB", What::Cpu, 1.5, FLOOR),
    rate("c64 1 KiB", 4.0, TARPC),
    rate("c64 1 KiB", 8.0, TONIC),
    rate("c16 64 KiB", 0.8, FLOOR),
    rate("one-way raw 64 B", 0.6, FLOOR),
    rate("one-way raw 64 B", 2.0, NATS),
    rate("one-way raw 1 KiB", 0.75, FLOOR),
    rate("one-way raw 1 KiB", 2.0, NATS),
    rate("one-way typed 64 B", 0.6, FLOOR),
    rate("one-way typed 64 B", 2.0, NATS),
    rate("one-way typed 1 KiB", 0.75, FLOOR),
    rate("one-way typed 1 KiB", 2.0, NATS),
    rate("one harbor 64 B", 0.75, FLOOR),
    rate("two harbors 64 B", 0.75, FLOOR),
    rate("two harbors 64 B", 3.0, NATS),
    rate("bulk stream", 1.0, YAMUX),
    rate("100 streams 64 B", 1.0, YAMUX),
    rate("100 streams 64 B", 1.0, TONIC),
];

/// KiB that a lane may take at either end.
const LANE_KIB_MAX: f64 = 16.0;

impl Target {
    /// What it asks for, in words.
    fn text(&self) -> String {
        let what = match self.what {
            What::Rate => "per second ≥",
            What::Cpu => "CPU each ≤",
            What::P50 => "p50 ≤",
            What::P99 => "p99 ≤",
        };
        let base = match self.base {
            Base::Peers(peers) => peers.join(" or "),
            Base::Row(row) => row.to_string(),
        };
        format!("{what} {} × {base}", self.times)
    }

    /// The ratio of the medians, if both were measured.
    fn measured(&self, cells: &[Cell]) -> Option<f64> {
        let figure: Figure = match self.what {
            What::Rate => |cell| Some(cell.per_second),
            What::Cpu => |cell| Some(cell.cpu_micros),
            What::P50 => |cell| cell.p50_micros,
            What::P99 => |cell| cell.p99_micros,
        };
        let best = if self.is_least() { f64::max } else { f64::min };
        let base = match self.base {
            Base::Peers(peers) => peers
                .iter()
                .filter_map(|peer| median(cells, self.row, peer, figure))
                .reduce(best)?,
            Base::Row(row) => median(cells, row, "seaway", figure)?,
        };
        Some(median(cells, self.row, "seaway", figure)? / base)
    }

    const fn is_least(&self) -> bool {
        matches!(self.what, What::Rate)
    }

    fn is_met(&self, measured: f64) -> bool {
        if self.is_least() { measured >= self.times } else { measured <= self.times }
    }
}

/// A table of all targets that this run can tell of; nothing if there are none.
pub fn table(cells: &[Cell], crowds: &[CrowdCell]) -> String {
    let mut lines = Vec::new();
    let mut missed = 0;
    let mut tell = |row: &str, text: String, measured: String, is_met: bool| {
        missed += usize::from(!is_met);
        let verdict = if is_met { "yes" } else { "**no**" };
        lines.push(line(&[row.to_string(), text, measured, verdict.to_string()]));
    };
    for target in TARGETS {
        if let Some(measured) = target.measured(cells) {
            tell(target.row, target.text(), digits(measured), target.is_met(measured));
        }
    }
    let kib = |name| {
        let values = crowds.iter().filter_map(|cell| cell.figures.get(name).copied()).collect();
        Some(Spread::of(values)?.median)
    };
    for (end, rpc, message) in [("hub", RPC[0], MESSAGE[0]), ("spoke", RPC[1], MESSAGE[1])] {
        if let (Some(rpc), Some(message)) = (kib(rpc), kib(message)) {
            let lane = f64::midpoint(rpc, message);
            let text = format!("KiB a lane ≤ {LANE_KIB_MAX}, {end}, with its part of the link");
            tell("idle peers", text, digits(lane), lane <= LANE_KIB_MAX);
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let head = ["row", "target", "measured", "met"].map(String::from);
    let count = lines.len();
    format!(
        "\n### Targets: {} of {count} met\n\n{}{}{}\nRatios of medians.\n",
        count - missed,
        line(&head),
        rule(head.len()),
        lines.concat(),
    )
}
