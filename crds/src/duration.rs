//! Durations as a Room's `maxAge` writes them: `24h`, `7d`, `1h30m`.

use thiserror::Error;

/// Longest duration that is taken: a hundred years.
pub const MAX_SECONDS: u64 = 36_500 * 86_400;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not whole numbers, each followed by a unit.
    #[error(
        "`{0}` is no duration: write whole numbers with `d`, `h`, `m` or `s`, such as `24h`, `7d` or `1h30m`"
    )]
    Malformed(String),
    /// Zero, or past [`MAX_SECONDS`].
    #[error("`{0}` is out of range: write a duration from `1s` to `36500d`")]
    OutOfRange(String),
}

/// Reads a duration, in whole seconds, from 1 to [`MAX_SECONDS`].
pub fn parse_seconds(text: &str) -> Result<u64, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let out_of_range = || DurationError::OutOfRange(text.to_owned());
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for byte in text.bytes() {
        let unit = match byte {
            b'0'..=b'9' => {
                let grown = number
                    .unwrap_or(0)
                    .checked_mul(10)
                    .and_then(|n| n.checked_add(u64::from(byte - b'0')));
                number = Some(grown.ok_or_else(out_of_range)?);
                continue;
            }
            b'd' => 86_400,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(malformed()),
        };
        let seconds = number
            .take()
            .ok_or_else(malformed)?
            .checked_mul(unit)
            .ok_or_else(out_of_range)?;
        total = total.checked_add(seconds).ok_or_else(out_of_range)?;
    }
    if number.is_some() || text.is_empty() {
        return Err(malformed());
    }
    if total == 0 || total > MAX_SECONDS {
        Err(out_of_range())
    } else {
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse_seconds("24h"), Ok(86_400));
        assert_eq!(parse_seconds("1h30m"), Ok(5400));
        assert_eq!(parse_seconds("7d"), Ok(604_800));
        assert_eq!(parse_seconds("36500d"), Ok(MAX_SECONDS));
    }

    #[test]
    fn text_without_unit_or_number_is_malformed() {
        for text in ["", "24", "h", "1h2", "-1h", "1 h", "1.5h", "1w", "１h"] {
            assert_eq!(
                parse_seconds(text),
                Err(DurationError::Malformed(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn zero_and_more_than_a_hundred_years_are_out_of_range() {
        for text in [
            "0s",
            "0d0h",
            "36501d",
            "99999999999999999999h",
            "18446744073709551615d",
        ] {
            assert_eq!(
                parse_seconds(text),
                Err(DurationError::OutOfRange(text.to_owned())),
                "{text}"
            );
        }
    }
}
