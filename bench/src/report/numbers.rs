//! Medians, ratios, and how numbers are shown.

use crate::cell::Cell;

/// One figure of a run.
pub type Figure = fn(&Cell) -> Option<f64>;

/// Median and range of one figure over the repeats.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The middle one, or between the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these values, if there are any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
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

/// Of one figure.
pub fn spread(cells: &[&Cell], figure: Figure) -> Option<Spread> {
    Spread::of(cells.iter().filter_map(|cell| figure(cell)).collect())
}

/// A figure's ratio to another peer's in the same repeat, when the noise was most alike.
pub fn ratios(own: &[&Cell], base: &[&Cell], figure: Figure) -> Option<Spread> {
    let ratio = |(own, base): (&&Cell, &&Cell)| Some(figure(own)? / figure(base)?);
    Spread::of(own.iter().zip(base).filter_map(ratio).collect())
}

/// The runs of a peer and row.
pub fn runs<'c>(cells: &'c [Cell], row: &str, peer: &str) -> Vec<&'c Cell> {
    cells.iter().filter(|cell| cell.row == row && cell.peer == peer).collect()
}

/// The median of a peer's figure in a row, if it was measured.
pub fn median(cells: &[Cell], row: &str, peer: &str, figure: Figure) -> Option<f64> {
    Some(spread(&runs(cells, row, peer), figure)?.median)
}

/// Median and range.
pub fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(none, |Spread { median, min, max }| {
        format!("{} ({}–{})", digits(median), digits(min), digits(max))
    })
}

/// The median alone.
pub fn show_median(spread: Option<Spread>) -> String {
    spread.map_or_else(none, |spread| digits(spread.median))
}

/// What was not measured.
pub fn none() -> String {
    "–".to_string()
}

/// Three digits that count.
pub fn digits(value: f64) -> String {
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
