//! The command line of `rotunda-local`.

use std::{os::unix::process::CommandExt, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    demo, install,
    local::{
        claim::Turn,
        down,
        images::{self, Images},
        layout::Layout,
        preflight::{self, CANNOT_RUN_EXIT_CODE, CannotRunContainers},
        step::note,
        supervisor, tools, up,
    },
    target::Target,
};

/// A real Kubernetes on this machine, for trying Rotunda and for its end-to-end tests.
///
/// With KUBECONFIG set, `install`, `demo`, `kubectl` and `helm` use that cluster.
#[derive(Debug, Parser)]
#[command(name = "rotunda-local", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the cluster up; one that runs is left as it is.
    Up,
    /// Take everything of the cluster away.
    Down {
        /// Then compare the machine with how it was before `up`.
        #[arg(long)]
        verify: bool,
    },
    /// Tell whether the cluster runs.
    Status,
    /// Build the product's images and import them.
    Images,
    /// Install the operator with the built images.
    Install,
    /// All of it, with examples/chat and a message from one client to another.
    Demo,
    /// Run kubectl in the cluster.
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run helm in the cluster.
    Helm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Keep the cluster running; `up` starts this in the background.
    #[command(hide = true)]
    Supervise,
}

/// Runs a command and turns what came of it into an exit code; 77 where containers can't run.
pub async fn run(arguments: Arguments) -> ExitCode {
    match execute(arguments.command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            let cannot_run = error.downcast_ref::<CannotRunContainers>().is_some();
            if cannot_run {
                ExitCode::from(CANNOT_RUN_EXIT_CODE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode> {
    let layout = Layout::from_env();
    match command {
        Command::Up => {
            let _turn = become_root(&layout).await?;
            up::up(&layout).await?;
        }
        Command::Down { verify } => {
            let _turn = become_root(&layout).await?;
            down::down(&layout, verify).await?;
        }
        Command::Status => return Ok(status(&layout).await),
        Command::Images => {
            let _turn = become_root(&layout).await?;
            let images = images::build_for_product(&layout).await?;
            images::import(&layout, &images).await?;
            print_images(&images);
        }
        Command::Install => {
            let _turn = become_root(&layout).await?;
            let target = Target::from_env(&layout);
            let built = images::build_for_product(&layout).await?;
            let images = target.deliver(&layout, &built).await?;
            install::install(&layout, &target, &images).await?;
        }
        Command::Demo => demo(&layout).await?,
        Command::Kubectl { arguments } => {
            return Err(become_tool(&layout, "kubectl", &arguments).await);
        }
        Command::Helm { arguments } => return Err(become_tool(&layout, "helm", &arguments).await),
        Command::Supervise => supervisor::supervise(&layout).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn demo(layout: &Layout) -> Result<()> {
    let in_cluster = async {
        let _turn = become_root(layout).await?;
        demo::run(layout).await
    };
    match in_cluster.await.map_err(anyhow::Error::downcast) {
        Err(Ok(reason)) => demo::run_embedded(&reason).await,
        Err(Err(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

async fn status(layout: &Layout) -> ExitCode {
    if !up::is_up(layout).await {
        note("no local cluster is running");
        return ExitCode::FAILURE;
    }
    note(format!(
        "the local cluster is running: export KUBECONFIG={}",
        layout.kubeconfig().display()
    ));
    print_images(&Images::load(layout).unwrap_or_default());
    ExitCode::SUCCESS
}

fn print_images(images: &Images) {
    for (name, reference) in images.iter() {
        println!("{name}: {reference}");
    }
}

/// Goes on as root by way of sudo. What can be compiled without is compiled first, so that the
/// user's caches stay the user's.
async fn become_root(layout: &Layout) -> Result<Turn> {
    if preflight::is_root() {
        return Turn::take(layout);
    }
    if !preflight::has_sudo().await {
        return Err(
            CannotRunContainers("it takes root, and there is no sudo to become it".into()).into(),
        );
    }
    {
        let _turn = Turn::take(layout)?;
        tools::build(layout).await?;
    }
    let kept = [
        "HOME",
        "PATH",
        "XDG_CACHE_HOME",
        "ROTUNDA_LOCAL_STATE",
        "KUBECONFIG",
        "ROTUNDA_REGISTRY",
    ];
    let variables = kept
        .iter()
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
    let error = std::process::Command::new("sudo")
        .arg("env")
        .args(variables)
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(anyhow::Error::new(error).context("running sudo"))
}

/// Only returns when that fails.
async fn become_tool(layout: &Layout, tool: &str, arguments: &[String]) -> anyhow::Error {
    let build = async {
        if !tools::are_built(layout).await? {
            let _turn = Turn::take(layout)?;
            tools::build(layout).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = build.await {
        return error;
    }
    let kubeconfig = Target::from_env(layout).kubeconfig(layout);
    let mut command = std::process::Command::new(layout.tool(tool));
    let error = command.args(arguments).env("KUBECONFIG", kubeconfig).exec();
    anyhow::Error::new(error).context(format!("running {}", layout.tool(tool).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_tool_are_passed_on_with_and_without_a_separator() {
        for words in [
            &["kubectl", "--", "get", "-A", "pods"][..],
            &["kubectl", "get", "-A", "pods"],
        ] {
            let words = ["rotunda-local"].iter().chain(words);
            let Command::Kubectl { arguments } = Arguments::parse_from(words).command else {
                panic!("another command");
            };
            assert_eq!(arguments, ["get", "-A", "pods"]);
        }
    }
}
