//! A bar chart of the main rows, for a page of light or dark background.

use std::fmt::Write as _;

use super::numbers::{digits, median};
use crate::args::Options;
use crate::cell::Cell;

/// The rows drawn, with what they are called there.
const ROWS: &[(&str, &str)] = &[
    ("one caller 64 B", "One caller, 64 B: calls a second"),
    ("c64 64 B", "64 callers, 64 B: calls a second"),
    ("c64 1 KiB", "64 callers, 1 KiB: calls a second"),
    ("two harbors 64 B", "64 callers, 64 B, through two relays: calls a second"),
    ("one-way typed 64 B", "One-way, 64 B: messages a second"),
    ("100 streams 64 B", "100 streams, 64 B ping-pong: round trips a second"),
];

/// Where things are, in pixels.
const WIDTH: f64 = 820.0;
const HEAD: f64 = 34.0;
const TITLE: f64 = 30.0;
const LINE: f64 = 20.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
const NAMES_END: f64 = 70.0;
const RATES: f64 = 78.0;
const RATES_WIDTH: f64 = 400.0;
const CPU: f64 = 568.0;
const CPU_WIDTH: f64 = 196.0;

const STYLE: &str = "
text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.quiet, .floor-text { fill: #59636e }
.name { text-anchor: end }
.seaway { fill: #0f7f94 } .floor { fill: #c3cad2 } .other { fill: #8795a6 }
.seaway-text { font-weight: 700 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .quiet, .floor-text { fill: #9aa4af }
.seaway { fill: #35b6cc } .floor { fill: #454d57 } .other { fill: #6b7888 }
}";

/// A peer's bar: its name, per second, and CPU time.
type Bar = (&'static str, f64, f64);

/// Draws what was measured.
pub fn draw(cells: &[Cell], options: &Options) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for (row, title) in ROWS {
        let bars = bars(cells, options, row);
        if !bars.is_empty() {
            y = panel(&mut body, y, title, &bars);
        }
    }
    let height = y;
    let head = format!(
        "{}{}",
        text(RATES, 16.0, "quiet", "Longer is better. The floor is TCP with nothing above it."),
        text(CPU, 16.0, "quiet", "CPU µs each; shorter is better."),
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"seaway beside the floor and other libraries\">\n\
         <style>{STYLE}\n</style>\n{head}{body}</svg>\n",
    )
}

fn bars(cells: &[Cell], options: &Options, row: &str) -> Vec<Bar> {
    // Of two ways to use a peer the better one is drawn; with one caller the naive floor is.
    let lesser =
        if row == ROWS[0].0 { ["floor", "yamux-bare"] } else { ["floor-naive", "yamux-bare"] };
    let drawn = options.peers.iter().filter(|peer| !lesser.contains(&peer.name));
    let bar = |name| {
        let rate = median(cells, row, name, |cell| Some(cell.per_second))?;
        Some((name, rate, median(cells, row, name, |cell| Some(cell.cpu_micros))?))
    };
    drawn.filter_map(|peer| bar(peer.name)).collect()
}

/// Draws one row from `y` down; returns where it ends.
fn panel(out: &mut String, y: f64, title: &str, bars: &[Bar]) -> f64 {
    *out += &text(RATES, y + 12.0, "title", title);
    let most = |figure: fn(&Bar) -> f64| bars.iter().map(figure).fold(0.0, f64::max);
    let (rate_max, cpu_max) = (most(|bar| bar.1), most(|bar| bar.2));
    let mut y = y + TITLE - BAR + 2.0;
    for (name, rate, cpu) in bars {
        let class = match *name {
            "seaway" => "seaway",
            "floor" | "floor-naive" => "floor",
            _ => "other",
        };
        let base = y + BAR - 2.5;
        *out += &text(NAMES_END, base, &format!("name {class}-text"), name);
        for (x, width, value) in
            [(RATES, RATES_WIDTH * rate / rate_max, rate), (CPU, CPU_WIDTH * cpu / cpu_max, cpu)]
        {
            // Writing to a string does not fail.
            writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" \
                 height=\"{BAR}\" rx=\"2\"/>",
            )
            .ok();
            *out += &text(x + width + 6.0, base, &format!("{class}-text"), &digits(*value));
        }
        y += LINE;
    }
    y + GAP
}

fn text(x: f64, y: f64, class: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
}
