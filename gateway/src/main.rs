//! The binary: parses the command line, runs it, tells what went wrong.

use std::process::ExitCode;

use clap::Parser;
use rotunda_gateway::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rotunda-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
