//! Lines over a logarithmic scale, drawn for a page of light or dark background.

use crate::report::numbers::digits;

/// What is drawn at one place.
#[derive(Debug, Clone, Copy)]
pub struct Dot {
    /// How much there was of what grows.
    pub x: f64,
    /// The median of what was measured.
    pub y: f64,
    /// The least of it.
    pub low: f64,
    /// The most of it.
    pub high: f64,
}

/// One line.
#[derive(Debug)]
pub struct Line {
    /// Its name, and its colour: `seaway` or `floor`.
    pub name: &'static str,
    /// From left to right.
    pub dots: Vec<Dot>,
}

/// One figure.
#[derive(Debug)]
pub struct Panel {
    /// What is measured.
    pub title: &'static str,
    /// All over the same points.
    pub lines: Vec<Line>,
}

/// Where things are, in pixels.
const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 270.0;
const PANEL: f64 = 410.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 396.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 214.0;
/// Of the legend: a name, a sample of the line before it, and the room between two of them.
const NAME: f64 = 60.0;
const SAMPLE: f64 = 18.0;
const GAP: f64 = 16.0;

const STYLE: &str = "
text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.tick, .below, .value, .floor-text { fill: #59636e }
.tick, .value { font-size: 11px }
.left { text-anchor: end } .mid { text-anchor: middle }
.grid { stroke: #59636e; stroke-opacity: 0.18 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.seaway-text { font-weight: 700 }
.seaway { stroke: #0f7f94 } .floor { stroke: #a3adb8 }
.seaway-dot { fill: #0f7f94 } .floor-dot { fill: #a3adb8 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .tick, .below, .value, .floor-text { fill: #9aa4af }
.grid { stroke: #9aa4af }
.seaway { stroke: #35b6cc } .floor { stroke: #6b7888 }
.seaway-dot { fill: #35b6cc } .floor-dot { fill: #6b7888 }
}";

/// Draws two figures beside each other; `below` is what grows.
pub fn draw(below: &str, panels: &[Panel; 2]) -> String {
    let [left, right] = panels;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" \
         aria-label=\"{} and {} by {below}\">\n<style>{STYLE}\n</style>\n{}{}{}</svg>\n",
        left.title,
        right.title,
        panel(left, 0.0),
        panel(right, PANEL),
        text(WIDTH / 2.0, HEIGHT - 14.0, "below mid", below),
    )
}

/// A logarithmic scale: from values to pixels.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }

    /// The round numbers on it, 1, 10, 100 …
    fn tens(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low * 0.999, self.high * 1.001);
        (-3..=12).map(|power| 10_f64.powi(power)).filter(move |ten| (low..=high).contains(ten))
    }
}

fn panel(panel: &Panel, left: f64) -> String {
    let dots = || panel.lines.iter().flat_map(|line| &line.dots);
    let least = |figure: fn(&Dot) -> f64| dots().map(figure).fold(f64::MAX, f64::min);
    let most = |figure: fn(&Dot) -> f64| dots().map(figure).fold(f64::MIN_POSITIVE, f64::max);
    let ten = |value: f64, round: fn(f64) -> f64| 10_f64.powf(round(value.log10()));
    let (x_low, x_high) = (least(|dot| dot.x), most(|dot| dot.x));
    let x = Scale { low: x_low, high: x_high, from: left + LEFT + 14.0, to: left + RIGHT - 14.0 };
    let (y_low, y_high) =
        (ten(least(|dot| dot.low), f64::floor), ten(most(|dot| dot.high), f64::ceil));
    let y = Scale { low: y_low, high: y_high, from: BOTTOM, to: TOP };

    let mut out = text(left + LEFT, 18.0, "title", panel.title);
    for tick in y.tens() {
        let at = y.at(tick);
        out += &segment("grid", (left + LEFT, at), (left + RIGHT, at));
        out += &text(left + LEFT - 7.0, at + 4.0, "tick left", &short(tick));
    }
    if let Some(line) = panel.lines.first() {
        for dot in &line.dots {
            out += &text(x.at(dot.x), BOTTOM + 18.0, "tick mid", &short(dot.x));
        }
    }
    let mut name_x = left + RIGHT;
    for line in panel.lines.iter().rev() {
        let name = line.name;
        out += &curve(line, &x, &y);
        out += &text(name_x, 18.0, &format!("left {name}-text"), name);
        let end = name_x - NAME;
        out += &segment(&format!("line {name}"), (end - SAMPLE, 14.0), (end, 14.0));
        name_x = end - SAMPLE - GAP;
    }
    // The first and the last number of seaway, on the side where no other line is.
    for line in panel.lines.iter().filter(|line| line.name == "seaway") {
        for dot in line.dots.first().into_iter().chain(line.dots.last()) {
            let is_topmost = dots().all(|other| other.x != dot.x || other.y <= dot.y);
            let at = if is_topmost { y.at(dot.high) - 7.0 } else { y.at(dot.low) + 16.0 };
            out += &text(x.at(dot.x), at, "value mid", &digits(dot.y));
        }
    }
    out
}

/// A line, its dots, and how far apart the runs of each lay.
fn curve(line: &Line, x: &Scale, y: &Scale) -> String {
    let name = line.name;
    let places: Vec<_> =
        line.dots.iter().map(|dot| format!("{:.1},{:.1}", x.at(dot.x), y.at(dot.y))).collect();
    let mut out = format!("<polyline class=\"line {name}\" points=\"{}\"/>\n", places.join(" "));
    for dot in &line.dots {
        let (at, middle) = (x.at(dot.x), y.at(dot.y));
        out += &segment(name, (at, y.at(dot.low)), (at, y.at(dot.high)));
        out +=
            &format!("<circle class=\"{name}-dot\" cx=\"{at:.1}\" cy=\"{middle:.1}\" r=\"3\"/>\n");
    }
    out
}

fn segment(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    format!(
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    )
}

fn text(x: f64, y: f64, class: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
}

/// A number of few digits, by powers of two where it is one.
fn short(value: f64) -> String {
    let of = |unit: f64| value >= unit && value % unit == 0.0;
    match value {
        _ if of(1e6) => format!("{}M", value / 1e6),
        _ if value >= 1048576.0 && of(1048576.0) => format!("{}Mi", value / 1048576.0),
        _ if of(1e3) => format!("{}k", value / 1e3),
        _ if of(1024.0) => format!("{}Ki", value / 1024.0),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_gives_each_ten_the_same_room() {
        let scale = Scale { low: 1.0, high: 1000.0, from: 0.0, to: 300.0 };
        let places: Vec<_> = scale.tens().map(|ten| scale.at(ten).round()).collect();
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0]);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [1.0, 64.0, 1024.0, 65536.0, 1000.0, 300.0, 1048576.0, 1e6].map(short);
        assert_eq!(shown, ["1", "64", "1Ki", "64Ki", "1k", "300", "1Mi", "1M"]);
    }
}
