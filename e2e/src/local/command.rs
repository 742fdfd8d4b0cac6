//! Running other programs: quiet when they work, with their own words when they don't.

use std::{ffi::OsStr, process::Stdio};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncWriteExt, process::Command};

/// Lines of a failed command's output that its error shows.
const SHOWN_LINES: usize = 15;

/// A command without standard input that ends with the future that runs it.
pub(crate) fn command<I, S>(program: impl AsRef<OsStr>, arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it and returns its standard output; an error carries the end of what it wrote.
pub(crate) async fn output(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command
        .output()
        .await
        .with_context(|| format!("running `{name}`"))?;
    check(&name, &output)
}

/// The same, with text for its standard input.
pub(crate) async fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    let name = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running `{name}`"))?;
    let mut stdin = child.stdin.take().context("a piped standard input")?;
    let write = async move {
        // A program may end without reading all of it; its exit code then says more.
        drop(stdin.write_all(input.as_bytes()).await);
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    check(&name, &output?)
}

/// Whether it ran and ended well.
pub(crate) async fn succeeds(command: &mut Command) -> bool {
    command
        .output()
        .await
        .is_ok_and(|output| output.status.success())
}

fn check(name: &str, output: &std::process::Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    bail!(
        "`{name}` failed ({}):\n{}",
        output.status,
        last_lines(&said)
    );
}

/// The end of a text, short enough to show.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy());
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(arguments);
    words.join(" ")
}
