//! The tables that end a run.

use crate::args::Options;
use crate::cell::Cell;
use crate::crowd::CrowdCell;
use crate::peers::ALL;

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

/// Writes one Markdown table per row: medians, and the range in brackets.
pub fn markdown(cells: &[Cell], crowds: &[CrowdCell], options: &Options) -> String {
    let mut out = String::new();
    for row in &options.rows {
        out += &format!("\n### {}, {}\n\n", row.name, row.unit());
        out += &line(&HEAD.map(String::from));
        out += &line(&HEAD.map(|_| "---".to_string()));
        // The floor, and for streams the first peer that has them.
        let base = ALL.iter().find(|peer| (peer.can)(row)).map_or("", |peer| peer.name);
        for peer in &options.peers {
            let of = |name| cells.iter().filter(|c| c.row == row.name && c.peer == name).collect();
            let (own, floor): (Vec<_>, Vec<_>) = (of(peer.name), of(base));
            if !own.is_empty() {
                out += &line(&columns(peer.name, &own, &floor));
            }
        }
    }
    for row in &options.crowds {
        let of: Vec<_> = crowds.iter().filter(|cell| cell.row == row.name).collect();
        let Some(first) = of.first() else { continue };
        out += &format!("\n### {}, {} of {}\n\n", row.name, first.peers, row.peers);
        out += "| figure | seaway |\n| --- | --- |\n";
        for name in first.figures.keys() {
            let values = of.iter().filter_map(|cell| cell.figures.get(name).copied()).collect();
            out += &line(&[(*name).to_string(), show(Spread::of(values))]);
        }
    }
    out += &format!(
        "\nMedian (min–max); repeats: {}, window: {} s. Ratios are taken within one repeat.\n",
        options.repeats,
        options.window.as_secs_f64(),
    );
    for peer in &options.left_out {
        out += &format!("Left out: {peer}.\n");
    }
    out
}

fn line(columns: &[String]) -> String {
    format!("| {} |\n", columns.join(" | "))
}

/// The columns of one peer: its own runs, and the floor's in the same order.
fn columns(name: &str, own: &[&Cell], floor: &[&Cell]) -> [String; 10] {
    let rate = |cell: &Cell| Some(cell.per_second);
    let cpu = |cell: &Cell| Some(cell.cpu_micros);
    let parts = [
        spread(own, |cell| Some(cell.cpu_client_micros)),
        spread(own, |cell| Some(cell.cpu_server_micros)),
        spread(own, |cell| Some(cell.cpu_relays_micros).filter(|&micros| micros > 0.0)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().map(|part| digits(part.median)).collect();
    [
        name.to_string(),
        show(spread(own, rate)),
        show(ratios(own, floor, rate)),
        show(spread(own, |cell| cell.p50_micros)),
        show(spread(own, |cell| cell.p99_micros)),
        spread(own, |cell| cell.p999_micros).map_or_else(none, |spread| digits(spread.median)),
        show(spread(own, cpu)),
        parts.join(" + "),
        show(ratios(own, floor, cpu)),
        spread(own, |cell| Some(cell.peak_bytes as f64 / f64::from(1 << 20)))
            .map_or_else(none, |spread| digits(spread.median)),
    ]
}

/// Median and range of one figure over the repeats.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { median, min, max })
    }
}

fn spread(cells: &[&Cell], figure: impl Fn(&Cell) -> Option<f64>) -> Option<Spread> {
    Spread::of(cells.iter().filter_map(|cell| figure(cell)).collect())
}

/// A figure's ratio to the floor's in the same repeat, when the noise was most alike.
fn ratios(own: &[&Cell], floor: &[&Cell], figure: impl Fn(&Cell) -> Option<f64>) -> Option<Spread> {
    let ratio = |(own, floor): (&&Cell, &&Cell)| Some(figure(own)? / figure(floor)?);
    Spread::of(own.iter().zip(floor).filter_map(ratio).collect())
}

fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(none, |Spread { median, min, max }| {
        format!("{} ({}–{})", digits(median), digits(min), digits(max))
    })
}

fn none() -> String {
    "–".to_string()
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2}M", value * 1e-6),
        1e5.. => format!("{:.0}k", value * 1e-3),
        1e3.. => format!("{:.1}k", value * 1e-3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_between_the_two_in_the_middle() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [878_123.0, 12.2e6, 25_900.0, 142.4, 37.04, 1.268, 0.1349].map(digits);
        assert_eq!(shown, ["878k", "12.20M", "25.9k", "142", "37.0", "1.27", "0.135"]);
    }
}
