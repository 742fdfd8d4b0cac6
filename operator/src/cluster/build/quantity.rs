//! Reads amounts of memory as Kubernetes writes them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Bytes of an amount such as `512Mi`, `1.5G` or `1e9`, rounded down; `None` for what isn't one.
pub(super) fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    if let Ok(plain) = text.parse::<f64>() {
        return whole(plain);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => power_of_two(10),
        "Mi" => power_of_two(20),
        "Gi" => power_of_two(30),
        "Ti" => power_of_two(40),
        "Pi" => power_of_two(50),
        "Ei" => power_of_two(60),
        _ => return None,
    };
    whole(digits.parse::<f64>().ok()? * factor)
}

fn power_of_two(exponent: i32) -> f64 {
    2f64.powi(exponent)
}

fn whole(bytes: f64) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked, and rounding down is what is wanted"
    )]
    (bytes.is_finite() && (0.0..=1e18).contains(&bytes)).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_of_writing_memory_are_read() {
        let read = |text: &str| bytes(&Quantity(text.to_owned()));
        assert_eq!(read("1Gi"), Some(1 << 30));
        assert_eq!(read("1.5G"), Some(1_500_000_000));
        assert_eq!(read("1e9"), Some(1_000_000_000));
        assert_eq!(read("128974848"), Some(128_974_848));
        assert_eq!(read("2000m"), Some(2));
        for nonsense in ["", "Mi", "12Q", "-1Gi", "NaN", "inf", "99Ei"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
