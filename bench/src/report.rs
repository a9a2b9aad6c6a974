//! The tables that end a run.

pub mod numbers;
pub mod svg;
mod targets;

use crate::args::Options;
use crate::cell::Cell;
use crate::crowd::CrowdCell;
use crate::peers::ALL;
use crate::workload::Workload;
use numbers::{Spread, digits, none, ratios, runs, show, show_median, spread};

const HEAD: [&str; 10] = [
    "peer",
    "per second",
    "× floor",
    "p50 µs",
    "p99 µs",
    "p999 µs",
    "CPU µs each",
    "client + server + relays",
    "CPU × floor",
    "peak MiB",
];

/// Writes one Markdown table per row, one of all rows, and one of the targets: medians, and the
/// range in brackets.
pub fn markdown(cells: &[Cell], crowds: &[CrowdCell], options: &Options) -> String {
    let mut out = String::new();
    for row in &options.rows {
        out += &row_table(row, cells, options);
    }
    for row in &options.crowds {
        let of: Vec<_> = crowds.iter().filter(|cell| cell.row == row.name).collect();
        let Some(first) = of.first() else { continue };
        out += &format!("\n### {}: {} of {}\n\n", row.name, first.peers, row.peers);
        out += &line(&["figure", "seaway"].map(String::from));
        out += &rule(2);
        for name in first.figures.keys() {
            let values = of.iter().filter_map(|cell| cell.figures.get(name).copied()).collect();
            out += &line(&[(*name).to_string(), show(Spread::of(values))]);
        }
    }
    out += &all_rows(cells, options);
    out += &targets::table(cells, crowds);
    out += &format!(
        "\nMedian (min–max); repeats: {}, window: {} s. Ratios to the floor are taken within one \
         repeat.\n",
        options.repeats,
        options.window.as_secs_f64(),
    );
    for peer in &options.left_out {
        out += &format!("Left out: {peer}.\n");
    }
    out
}

/// One row: a line for each peer.
fn row_table(row: &Workload, cells: &[Cell], options: &Options) -> String {
    let mut out = format!("\n### {}, {}\n\n", row.name, row.unit());
    out += &line(&HEAD.map(String::from));
    out += &rule(HEAD.len());
    // The floor, and for streams the first peer that has them.
    let base = ALL.iter().find(|peer| (peer.can)(row)).map_or("", |peer| peer.name);
    for peer in &options.peers {
        let (own, floor) = (runs(cells, row.name, peer.name), runs(cells, row.name, base));
        if !own.is_empty() {
            out += &line(&columns(peer.name, &own, &floor));
        }
    }
    out
}

/// All rows at a glance: a column for each peer.
fn all_rows(cells: &[Cell], options: &Options) -> String {
    let mut head = vec!["per second (CPU µs each)".to_string()];
    head.extend(options.peers.iter().map(|peer| peer.name.to_string()));
    let mut out = format!("\n### All rows\n\n{}{}", line(&head), rule(head.len()));
    for row in &options.rows {
        let mut columns = vec![format!("{}, {}", row.name, row.unit())];
        for peer in &options.peers {
            let own = runs(cells, row.name, peer.name);
            let rate = spread(&own, |cell| Some(cell.per_second));
            let cpu = spread(&own, |cell| Some(cell.cpu_micros));
            columns.push(match rate {
                Some(rate) => format!("{} ({})", digits(rate.median), show_median(cpu)),
                None => none(),
            });
        }
        out += &line(&columns);
    }
    out
}

/// A line of a table.
fn line(columns: &[String]) -> String {
    format!("| {} |\n", columns.join(" | "))
}

/// The line below a table's head.
fn rule(columns: usize) -> String {
    line(&vec!["---".to_string(); columns])
}

/// The columns of one peer: its own runs, and the floor's in the same order.
fn columns(name: &str, own: &[&Cell], floor: &[&Cell]) -> [String; 10] {
    let parts = [
        spread(own, |cell| Some(cell.cpu_client_micros)),
        spread(own, |cell| Some(cell.cpu_server_micros)),
        spread(own, |cell| Some(cell.cpu_relays_micros).filter(|&micros| micros > 0.0)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().map(|part| digits(part.median)).collect();
    [
        name.to_string(),
        show(spread(own, |cell| Some(cell.per_second))),
        show(ratios(own, floor, |cell| Some(cell.per_second))),
        show(spread(own, |cell| cell.p50_micros)),
        show(spread(own, |cell| cell.p99_micros)),
        show_median(spread(own, |cell| cell.p999_micros)),
        show(spread(own, |cell| Some(cell.cpu_micros))),
        parts.join(" + "),
        show(ratios(own, floor, |cell| Some(cell.cpu_micros))),
        show_median(spread(own, |cell| Some(cell.peak_bytes as f64 / f64::from(1 << 20)))),
    ]
}
