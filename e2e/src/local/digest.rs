//! Content hashes, by which what was built before is recognized.

use std::path::Path;

use anyhow::{Context, Result};

use super::command::{command, output, output_with_input};

/// Hexadecimal digits that names carry: enough to tell builds apart, short enough to read.
const LENGTH: usize = 12;

/// One hash over the contents of `files`, in their order, and `text`.
pub(crate) async fn digest<P: AsRef<Path>>(files: &[P], text: &str) -> Result<String> {
    let mut input = text.to_owned();
    if !files.is_empty() {
        // coreutils has it in assembler; in a debug build of our own a big binary takes seconds.
        let sums = output(&mut command("sha256sum", files.iter().map(AsRef::as_ref))).await?;
        // Without the paths: the same content in another place is the same.
        input.extend(
            sums.lines()
                .filter_map(|line| line.split_whitespace().next()),
        );
    }
    let sum = output_with_input(&mut command("sha256sum", ["-"]), &input).await?;
    sum.get(..LENGTH)
        .map(str::to_owned)
        .context("sha256sum printed no hash")
}
