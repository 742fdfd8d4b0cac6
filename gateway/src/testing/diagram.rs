//! The state diagrams of the protocol's page, for the tests that hold them against the code.

use std::collections::BTreeSet;

/// Read when a test runs, so that a change of the page compiles nothing.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");

/// Which state follows which in the diagram under a heading; `[*]` is the beginning and the end.
pub(crate) fn diagram(heading: &str) -> BTreeSet<(String, String)> {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let arrows = page
        .lines()
        .skip_while(|line| !line.starts_with('#') || line.trim_start_matches('#').trim() != heading)
        .skip_while(|line| line.trim() != "stateDiagram-v2")
        .skip(1)
        .take_while(|line| !line.starts_with("```"));
    arrows
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (from, rest) = line
                .split_once("-->")
                .unwrap_or_else(|| panic!("no arrow: {line}"));
            let (to, _) = rest.split_once(':').unwrap_or((rest, ""));
            (from.trim().to_owned(), to.trim().to_owned())
        })
        .collect()
}
