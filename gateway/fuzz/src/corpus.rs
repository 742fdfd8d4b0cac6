//! The kept inputs of each target: one file a target, one input a line, escaped so that it can be read and reviewed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

fn file_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(format!("{target}.txt"))
}

/// All kept inputs of a target.
pub(crate) fn load(target: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let file = file_of(target);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            unescape(line).with_context(|| format!("{}:{}", file.display(), index + 1))
        })
        .collect()
}

/// Replaces a target's inputs by those in a folder.
#[cfg_attr(
    not(feature = "libfuzzer"),
    expect(dead_code, reason = "only a fuzzing run has new inputs")
)]
pub(crate) fn keep(target: &str, folder: &Path) -> anyhow::Result<usize> {
    let mut inputs = fs::read_dir(folder)?
        .map(|entry| Ok(fs::read(entry?.path())?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let mut lines = String::new();
    for input in &inputs {
        writeln!(lines, "{}", input.escape_ascii())?;
    }
    fs::write(file_of(target), lines)?;
    Ok(inputs.len())
}

/// Writes a target's inputs into a folder, one file each, as libFuzzer wants them.
#[cfg_attr(
    not(feature = "libfuzzer"),
    expect(dead_code, reason = "only libFuzzer wants files")
)]
pub(crate) fn unpack(target: &str, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for input in load(target)? {
        let hash = Sha256::digest(&input);
        let mut name = String::new();
        for byte in hash.iter().take(10) {
            write!(name, "{byte:02x}")?;
        }
        fs::write(folder.join(name), input)?;
    }
    Ok(())
}

/// What `escape_ascii` wrote.
fn unescape(line: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(quoted @ (b'\\' | b'\'' | b'"')) => quoted,
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?
            }
            other => anyhow::bail!("an unknown escape: {other:?}"),
        });
    }
    Ok(bytes)
}
