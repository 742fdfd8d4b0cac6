//! The binary: parses the command line, runs the test, exits with 1 unless the contract was kept.

use std::process::ExitCode;

use clap::Parser;
use rotunda_torture::cli::Options;
use rotunda_torture::run;

#[tokio::main]
async fn main() -> ExitCode {
    match run::run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rotunda-torture: {error:#}");
            println!("VERDICT: none, the test itself failed");
            ExitCode::FAILURE
        }
    }
}
