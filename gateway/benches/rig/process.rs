//! What another process has used so far, read from `/proc`.

use std::fs;

use anyhow::Context;

/// Processor time, in microseconds: fields 14 and 15 of proc(5)'s `stat`, in hundredths of a second.
pub(crate) fn cpu_us(process: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields[11].parse::<u32>()? + fields[12].parse::<u32>()?;
    Ok(f64::from(ticks) * 10_000.0)
}
