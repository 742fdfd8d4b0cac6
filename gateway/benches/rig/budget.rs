//! What was measured against what it may be, as a table; a bench that passes a budget ends with a failure.

use std::process::ExitCode;

/// One row of the table.
pub(crate) struct Budget {
    pub(crate) what: &'static str,
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
    /// What the same takes at least, where there is such a thing; then it is the ratio that has a limit.
    pub(crate) yardstick: Option<Yardstick>,
    pub(crate) at_most: f64,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) struct Yardstick {
    pub(crate) measured: f64,
    /// The median of the ratios of single rounds, which are closer together than their figures.
    pub(crate) ratio: f64,
}

impl Budget {
    fn is_met(&self) -> bool {
        self.yardstick.map_or(self.measured, |it| it.ratio) <= self.at_most
    }
}

/// Prints the rows; a failure unless all are met.
pub(crate) fn report(rows: &[Budget]) -> ExitCode {
    println!(
        "{:<44} {:>12} {:>12} {:>7} {:>12}  met",
        "what", "yardstick", "measured", "ratio", "budget"
    );
    for row in rows {
        let figure = |value: f64| format!("{value:.2} {}", row.unit);
        let (yardstick, ratio, budget) = match row.yardstick {
            None => ("–".to_owned(), "–".to_owned(), figure(row.at_most)),
            Some(it) => (
                figure(it.measured),
                format!("{:.2}", it.ratio),
                format!("{:.2} ×", row.at_most),
            ),
        };
        println!(
            "{:<44} {yardstick:>12} {:>12} {ratio:>7} {budget:>12}  {}",
            row.what,
            figure(row.measured),
            if row.is_met() { "yes" } else { "NO" }
        );
    }
    if rows.iter().all(Budget::is_met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
