//! "Did you mean …?": the known name nearest to a mistyped one.

/// The candidate that a typing mistake away from `text`, if there is one: at most a third of its letters differ
/// (Damerau's edits: insert, delete, replace, swap neighbours), case aside.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Distances are quadratic in the length, and no name of ours is that long.
    if text.len() > 64 {
        return None;
    }
    let wanted: Vec<char> = text.to_lowercase().chars().collect();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known: Vec<char> = candidate.to_lowercase().chars().collect();
            let distance = distance(&wanted, &known);
            (distance <= wanted.len().max(known.len()) / 3).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_known_one() {
        let known = ["replicas", "resources", "image"];
        assert_eq!(nearest("replica", known), Some("replicas"));
        assert_eq!(nearest("Replicas", known), Some("replicas"));
        assert_eq!(nearest("erplicas", known), Some("replicas"));
        assert_eq!(nearest("imgae", known), Some("image"));
    }

    #[test]
    fn a_name_unlike_any_other_finds_none() {
        assert_eq!(nearest("zzzzzz", ["replicas", "image"]), None);
        assert_eq!(nearest("", ["replicas"]), None);
        assert_eq!(nearest(&"replicas".repeat(100), ["replicas"]), None);
    }
}
