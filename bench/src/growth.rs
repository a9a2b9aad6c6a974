//! How calls per second and their p99 change with the number of callers, of peers, of bytes and of
//! members: a table and a plot for each.

pub mod many;
mod plot;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use self::plot::{Dot, Line, Panel};
use crate::args::Options;
use crate::cell::{Cell, measure};
use crate::crowd::descriptors;
use crate::peers::Entry;
use crate::report::numbers::{Figure, runs, show, show_median, spread};
use crate::workload::{CALLS, Workload};

/// What grows.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// Its name, for `--row` and for the file.
    pub name: &'static str,
    /// What the numbers below the plot are.
    title: &'static str,
    points: &'static [usize],
    /// Who is measured.
    peers: &'static [&'static str],
    at: fn(usize) -> Workload,
}

/// A frame has 1 MiB at most, its header and what is around the payload with it.
const PAYLOAD_MAX: usize = (1 << 20) - 64;

/// All of them, in the order of the report.
pub const AXES: &[Axis] = &[
    Axis {
        name: "callers",
        title: "callers at once, 64 B",
        points: &[1, 4, 16, 64, 256, 1024, 4096],
        peers: &["floor", "seaway"],
        at: |tasks| Workload { tasks, ..CALLS },
    },
    Axis {
        name: "nodes",
        title: "nodes called in turn by 256 callers, 64 B",
        points: &[1, 3, 10, 30, 100, 300, 1000],
        peers: &[many::NAME],
        at: |nodes| Workload { nodes, tasks: 256, ..CALLS },
    },
    Axis {
        name: "payload",
        title: "bytes each way, 16 callers",
        points: &[16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
        peers: &["floor", "seaway"],
        at: |bytes| Workload { payload_bytes: bytes.min(PAYLOAD_MAX), tasks: 16, ..CALLS },
    },
    Axis {
        name: "members",
        title: "members known to the caller, 100 of them changing a second, 64 callers, 64 B",
        points: &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
        peers: &[many::NAME],
        at: |members| Workload { members, ..CALLS },
    },
];

impl Axis {
    fn workload(&self, point: usize) -> Workload {
        // One name for each point of a short run of this program.
        let name = Box::leak(format!("{} {point}", self.name).into_boxed_str());
        Workload { name, ..(self.at)(point) }
    }
}

/// Finds the workload of a point by its name.
pub fn named(name: &str) -> Option<Workload> {
    let (axis, point) = name.split_once(' ')?;
    let axis = AXES.iter().find(|known| known.name == axis)?;
    Some(axis.workload(point.parse().ok()?))
}

/// Measures all axes wanted, repeats outermost; prints their tables, and draws them.
pub fn run(options: &Options) -> Result<()> {
    descriptors()?;
    let mut cells = Vec::new();
    for repeat in 0..options.repeats {
        for axis in &options.axes {
            for workload in axis.points.iter().map(|point| axis.workload(*point)) {
                for peer in axis.peers {
                    let peer = Entry::named(peer).context("no such peer")?;
                    let cell = measure(&peer, &workload, repeat, options)?;
                    println!("{}", serde_json::to_string(&cell)?);
                    cells.push(cell);
                }
            }
        }
    }
    for axis in &options.axes {
        print!("{}", table(axis, &cells));
    }
    if let Some(folder) = &options.svg {
        draw(folder, options, &cells)
            .with_context(|| format!("cannot draw into {}", folder.display()))?;
    }
    Ok(())
}

fn draw(folder: &Path, options: &Options, cells: &[Cell]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for axis in &options.axes {
        let panels = [
            ("calls a second", (|cell| Some(cell.per_second)) as Figure),
            ("p99, µs", |cell| cell.p99_micros),
        ];
        let panels =
            panels.map(|(title, figure)| Panel { title, lines: lines(axis, cells, figure) });
        fs::write(folder.join(format!("{}.svg", axis.name)), plot::draw(axis.title, &panels))?;
    }
    Ok(())
}

fn lines(axis: &Axis, cells: &[Cell], figure: Figure) -> Vec<Line> {
    let line = |peer: &&'static str| {
        let dots = axis.points.iter().filter_map(|point| {
            let row = format!("{} {point}", axis.name);
            let figure = spread(&runs(cells, &row, peer), figure)?;
            Some(Dot { x: *point as f64, y: figure.median, low: figure.min, high: figure.max })
        });
        // The floor is drawn as that, whoever is beside it is seaway.
        Line { name: if *peer == "floor" { "floor" } else { "seaway" }, dots: dots.collect() }
    };
    axis.peers.iter().map(line).collect()
}

/// One Markdown table: for each point what each peer did.
fn table(axis: &Axis, cells: &[Cell]) -> String {
    let mut head = format!("| {} |", axis.name);
    for peer in axis.peers {
        head += &format!(" {peer}: calls/s | p99 µs | CPU µs a call |");
    }
    let columns = head.matches('|').count() - 1;
    let mut out = format!("\n### {}\n\n{head}\n|{}\n", axis.title, "---|".repeat(columns));
    for point in axis.points {
        out += &format!("| {point} |");
        for peer in axis.peers {
            let row = format!("{} {point}", axis.name);
            let runs = runs(cells, &row, peer);
            out += &format!(
                " {} | {} | {} |",
                show(spread(&runs, |cell| Some(cell.per_second))),
                show(spread(&runs, |cell| cell.p99_micros)),
                show_median(spread(&runs, |cell| Some(cell.cpu_micros))),
            );
        }
        out += "\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_found_by_its_name() {
        for axis in AXES {
            for point in axis.points {
                let found = named(&format!("{} {point}", axis.name)).unwrap();
                assert_eq!(found.name, format!("{} {point}", axis.name));
            }
            assert!(axis.peers.iter().all(|peer| Entry::named(peer).is_some()));
        }
    }
}
