//! `rotunda-local`: the local cluster's command line.

use std::{os::unix::process::CommandExt, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use rotunda_e2e::local::{
    claim::Turn,
    down,
    images::{self, Images},
    layout::Layout,
    preflight::{self, CANNOT_RUN_EXIT_CODE, CannotRunContainers},
    step::note,
    supervisor, tools, up,
};
use tracing_subscriber::EnvFilter;

/// A real Kubernetes on this machine, for trying Rotunda and for its end-to-end tests.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
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

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match run(arguments.command).await {
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

async fn run(command: Command) -> Result<ExitCode> {
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
        Command::Kubectl { arguments } => {
            return Err(become_tool(&layout, "kubectl", &arguments).await);
        }
        Command::Helm { arguments } => return Err(become_tool(&layout, "helm", &arguments).await),
        Command::Supervise => supervisor::supervise(&layout).await?,
    }
    Ok(ExitCode::SUCCESS)
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
    tracing::debug!(%error, "running sudo");
    Err(CannotRunContainers("it takes root, and there is no sudo to become it".into()).into())
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
    let mut command = std::process::Command::new(layout.tool(tool));
    let error = command
        .args(arguments)
        .env("KUBECONFIG", layout.kubeconfig())
        .exec();
    anyhow::Error::new(error).context(format!("running {}", layout.tool(tool).display()))
}
