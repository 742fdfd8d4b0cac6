//! Numbers as a status shows them: two significant digits, so that a status doesn't change with every connection.

/// Rounds to two significant digits: 41,283 becomes 41,000.
pub fn two_significant_digits(number: u64) -> i64 {
    let mut scale: u64 = 1;
    while number / scale >= 100 {
        scale *= 10;
    }
    let half = scale / 2;
    let rounded = number.saturating_add(half) / scale * scale;
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keep_two_digits() {
        let shown: Vec<i64> = [0, 7, 99, 100, 104, 105, 994, 995, 41_283]
            .into_iter()
            .map(two_significant_digits)
            .collect();
        assert_eq!(shown, [0, 7, 99, 100, 100, 110, 990, 1000, 41_000]);
    }

    proptest! {
        #[test]
        fn rounding_is_off_by_at_most_a_twentieth(number in 0_u64..1 << 60) {
            let shown = u64::try_from(two_significant_digits(number)).expect("not negative");
            prop_assert!(shown.abs_diff(number) <= number / 20 + 1);
        }
    }
}
