//! Runs the commands of a page in a shell, one after the other, against a gateway of the page's own, and compares what they print.
//!
//! A block shows commands after `$ ` and their output below; `…` stands for anything, in a line or as one. A command that goes on after all
//! that is shown has come, such as a stream, is ended. Assignments such as `TOKEN=$(…)` stay for the rest of the page. The page's
//! addresses, `127.0.0.1:8080` and `:8081`, become those of the gateway.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::bindings::Bindings;
use crate::clients::PATIENCE;
use crate::gateway::{API_KEY, Running};
use crate::page::{Page, root};

/// Runs all of a page; how many there were.
pub(crate) async fn run_all(page: &Page) -> usize {
    let blocks = page.blocks("console run");
    if blocks.is_empty() {
        return 0;
    }
    let mut shell = Shell {
        gateway: Running::start(""),
        bindings: Bindings::default(),
        assignments: format!("API_KEY={API_KEY}\n"),
    };
    for block in &blocks {
        for example in examples(&block.text) {
            if let Err(error) = shell.run(&example).await {
                panic!("{}: {error}\n  at {}", block.place, example.command);
            }
        }
    }
    blocks.len()
}

/// A command and what it prints.
struct Example {
    command: String,
    output: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push(Example {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            (None, Some(Example { command, output }))
                if output.is_empty() && command.ends_with('\\') =>
            {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some(example)) => example.output.push(line.to_owned()),
            (None, None) => panic!("output before a command: {line}"),
        }
    }
    examples
}

struct Shell {
    gateway: Running,
    bindings: Bindings,
    /// Run ahead of each command.
    assignments: String,
}

impl Shell {
    async fn run(&mut self, example: &Example) -> Result<(), String> {
        let command = self
            .bindings
            .substitute(&example.command)
            .replace("127.0.0.1:8080", &self.gateway.client.to_string())
            .replace("127.0.0.1:8081", &self.gateway.api.to_string());
        let assigns = command
            .split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        let script = format!("set -euo pipefail\n{}{command}\n", self.assignments);
        let programs = std::path::Path::new(env!("CARGO_BIN_EXE_rotunda-gateway"))
            .parent()
            .unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .current_dir(root())
            .env("PATH", format!("{}:{path}", programs.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = async || {
            let line = tokio::time::timeout(PATIENCE, printed.next_line());
            line.await
                .map_err(|_| "nothing is printed".to_owned())
                .map(Result::unwrap)
        };
        let mut shown = example.output.iter().peekable();
        while let Some(line) = shown.next() {
            if line == "…" {
                let Some(until) = shown.next() else {
                    return Ok(());
                };
                loop {
                    let came = next()
                        .await?
                        .ok_or_else(|| format!("the output ends before {until}"))?;
                    if self.bindings.compare_line(until, came.trim_end()).is_ok() {
                        break;
                    }
                }
                continue;
            }
            let came = next()
                .await?
                .ok_or_else(|| format!("the output ends before {line}"))?;
            self.bindings.compare_line(line, came.trim_end())?;
        }
        let streams = command.contains("curl --no-buffer") || command.contains("curl -N");
        if !streams {
            if let Some(line) = next().await? {
                return Err(format!("it also prints {line:?}"));
            }
            let status = tokio::time::timeout(PATIENCE, child.wait())
                .await
                .unwrap()
                .unwrap();
            if !status.success() {
                return Err(format!("it ends with {status}"));
            }
        }
        if assigns {
            self.assignments.push_str(&command);
            self.assignments.push('\n');
        }
        Ok(())
    }
}
