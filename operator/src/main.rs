//! `rotunda-operator`: reads the command line, sets up logs, runs.

use clap::Parser;
use rotunda_operator::{
    cli::{Cli, Command},
    logs, run,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    logs::init();
    match cli.command {
        Command::Run(options) => run::run(options).await,
    }
}
