//! The functions that Kubernetes adds to CEL and the rules use: `quantity`, `compareTo`, `isCIDR`.
//!
//! They are here to evaluate the rules away from an API server; quantities are thousandths as an int.

use std::{net::IpAddr, sync::Arc, sync::LazyLock};

use cel::{
    DeclarationError, Env, ExecutionError, add_member_overload, add_overload,
    common::types::{CelBool, CelInt, CelString},
};

/// Environment of the rules.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(extension)
        .expect("the standard library has none of them");
    Arc::new(env)
});

fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    add_overload!(env, fn quantity: (CelString) -> Result<CelInt>)?;
    add_member_overload!(env, fn compare_to: (CelInt, CelInt) -> CelInt, name = "compareTo")?;
    add_overload!(env, fn is_cidr: (CelString) -> CelBool, name = "isCIDR")
}

fn quantity(text: &CelString<'_>) -> Result<CelInt, ExecutionError> {
    let parsed = parse_quantity(text.inner());
    let parsed = parsed.ok_or_else(|| ExecutionError::function_error("quantity", "no quantity"))?;
    Ok(CelInt::from(parsed))
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the macro passes references"
)]
fn compare_to(left: &CelInt, right: &CelInt) -> CelInt {
    CelInt::from(left.inner().cmp(right.inner()) as i64)
}

fn is_cidr(text: &CelString<'_>) -> CelBool {
    CelBool::from(parse_cidr(text.inner()))
}

/// A quantity in thousandths. Fractions past the third digit don't occur: the schema refuses them.
pub(crate) fn parse_quantity(text: &str) -> Option<i64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: i64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 3 {
        return None;
    }
    let thousandths: i64 = format!("{whole}{fraction:0<3}").parse().ok()?;
    Some(thousandths.saturating_mul(factor))
}

/// Whether it is an address range as Kubernetes takes it: an address, `/` and a prefix length.
pub(crate) fn parse_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let plain = length == "0" || !length.starts_with('0');
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    plain
        && length.bytes().all(|b| b.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_across_units() {
        assert_eq!(parse_quantity("1Gi"), Some(1_073_741_824_000));
        assert_eq!(parse_quantity("1.5k"), Some(1_500_000));
        assert!(parse_quantity("1G") < parse_quantity("1Gi"));
        for text in ["", "Gi", "1.2345", "1Xi", "-1"] {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }

    #[test]
    fn address_ranges_are_told_from_addresses() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::1/128"] {
            assert!(parse_cidr(text), "{text}");
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "a/8",
            "",
        ] {
            assert!(!parse_cidr(text), "{text}");
        }
    }
}
