//! Runs libFuzzer on the targets: the one place that calls C.
//!
//! libFuzzer takes over its process, so each target gets one of its own: this program again, told by the environment which target it is.

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, bail};
// Links the library; what it exports beside is for programs that libFuzzer starts.
use libfuzzer_sys as _;

use crate::corpus;
use crate::targets::{TARGETS, Target};

/// Names the target of a process that is all libFuzzer's.
const CHILD: &str = "ROTUNDA_FUZZ_TARGET";
/// How long each target is fuzzed.
const SECONDS: &str = "FUZZ_SECONDS";
/// Set: what was found to reach new code is kept in the corpus.
const KEEP: &str = "FUZZ_KEEP";
/// Only targets whose names contain this.
const ONLY: &str = "FUZZ_TARGET";

static TARGET: OnceLock<&Target> = OnceLock::new();

#[expect(
    unsafe_code,
    reason = "libFuzzer is C++; this is its documented entry for programs with a main of their own"
)]
mod ffi {
    use super::{c_char, c_int};

    unsafe extern "C" {
        fn LLVMFuzzerRunDriver(
            argc: *mut c_int,
            argv: *mut *mut *mut c_char,
            callback: extern "C" fn(*const u8, usize) -> c_int,
        ) -> c_int;
    }

    /// A panic that reaches this function aborts the process, which is how libFuzzer learns of it.
    extern "C" fn one_input(data: *const u8, size: usize) -> c_int {
        let input = if size == 0 {
            &[][..]
        } else {
            // SAFETY: libFuzzer hands over `size` bytes that stay as they are during the call.
            unsafe { std::slice::from_raw_parts(data, size) }
        };
        super::run_target(input);
        0
    }

    pub(super) fn drive(count: &mut c_int, arguments: &mut *mut *mut c_char) -> c_int {
        // SAFETY: both point to what a C main would get; it outlives the call, as does everything they point to.
        unsafe { LLVMFuzzerRunDriver(count, arguments, one_input) }
    }
}

fn run_target(input: &[u8]) {
    if let Some(target) = TARGET.get() {
        (target.run)(input);
    }
}

/// Fuzzes, if the environment asks for it.
pub(crate) fn run() -> Option<anyhow::Result<()>> {
    if let Ok(name) = std::env::var(CHILD) {
        return Some(be_libfuzzer(&name));
    }
    let seconds = std::env::var(SECONDS).ok()?;
    Some(fuzz_all(&seconds))
}

/// Never returns but with an error.
fn be_libfuzzer(name: &str) -> anyhow::Result<()> {
    TARGET.get_or_init(|| Target::named(name).unwrap_or(&TARGETS[0]));
    let arguments: Vec<CString> = std::env::args()
        .map(CString::new)
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<*mut c_char> = arguments
        .iter()
        .map(|argument| argument.as_ptr().cast_mut())
        .chain([std::ptr::null_mut()])
        .collect();
    let mut count = c_int::try_from(arguments.len())?;
    let mut first = pointers.as_mut_ptr();
    std::process::exit(ffi::drive(&mut count, &mut first));
}

fn fuzz_all(seconds: &str) -> anyhow::Result<()> {
    let seconds: u64 = seconds
        .parse()
        .with_context(|| format!("{SECONDS} must be a whole number of seconds, not {seconds:?}"))?;
    let only = std::env::var(ONLY).unwrap_or_default();
    let folder = std::env::current_exe()?
        .ancestors()
        .nth(3)
        .context("the program isn't where cargo puts it")?
        .join("fuzz");
    let mut found = 0;
    for target in TARGETS.iter().filter(|target| target.name.contains(&only)) {
        found += u32::from(!fuzz(target, seconds, &folder)?);
    }
    if found > 0 {
        bail!("{found} targets found something");
    }
    Ok(())
}

/// Whether a target came through.
fn fuzz(target: &Target, seconds: u64, folder: &Path) -> anyhow::Result<bool> {
    let folder = folder.join(target.name);
    let (inputs, findings) = (folder.join("corpus"), folder.join("findings"));
    corpus::unpack(target.name, &inputs)?;
    fs::create_dir_all(&findings)?;
    let log = folder.join("log");
    let status = child(target)?
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.max_len))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args([
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            "-use_value_profile=1",
        ])
        .arg(&inputs)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .status()?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        report(target, &text, newest(&findings)?.as_deref());
        return Ok(false);
    }
    let runs = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .unwrap_or_default();
    println!("{}: nothing found in {} inputs", target.name, runs.trim());
    if std::env::var_os(KEEP).is_some() {
        let kept = minimise(target, &folder, &inputs)?;
        println!("{}: {kept} inputs kept", target.name);
    }
    Ok(true)
}

fn child(target: &Target) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CHILD, target.name).env("RUST_BACKTRACE", "0");
    Ok(command)
}

/// As few inputs as reach the same code.
fn minimise(target: &Target, folder: &Path, inputs: &Path) -> anyhow::Result<usize> {
    let merged = folder.join("merged");
    if merged.exists() {
        fs::remove_dir_all(&merged)?;
    }
    fs::create_dir_all(&merged)?;
    let status = child(target)?
        .args(["-merge=1"])
        .arg(format!("-max_len={}", target.max_len))
        .arg(&merged)
        .arg(inputs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    anyhow::ensure!(
        status.success(),
        "{}: the corpus can't be merged",
        target.name
    );
    corpus::keep(target.name, &merged)
}

fn newest(findings: &Path) -> anyhow::Result<Option<PathBuf>> {
    let mut files = fs::read_dir(findings)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.metadata()?.modified()?, entry.path()))
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files.pop().map(|(_, path)| path))
}

fn report(target: &Target, log: &str, input: Option<&Path>) {
    let lines: Vec<_> = log.lines().collect();
    println!("{}: FOUND SOMETHING; the end of its log:", target.name);
    for line in &lines[lines.len().saturating_sub(20)..] {
        println!("    {line}");
    }
    if let Some(input) = input {
        println!(
            "{}: again with: cargo test --package rotunda-fuzz --test fuzz -- {} {}",
            target.name,
            target.name,
            input.display()
        );
    }
}
