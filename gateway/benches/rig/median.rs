//! The middle of what was measured: a round that something else disturbed doesn't move it.

/// The median; of an even number of values the higher of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
