//! Fuzz targets for everything that parses bytes from outside.
//!
//! ```text
//! cargo test:              each target over its kept corpus, once
//! fuzz -- TARGET FILE…     one target over these files: how a finding is reproduced
//! FUZZ_SECONDS=n           libFuzzer for so long on each target; needs the feature `libfuzzer` and counters (`make fuzz`)
//! ```
//!
//! [`targets`] says what must hold for any input; [`corpus`] keeps what reached new code.

use std::path::Path;
use std::process::ExitCode;

mod corpus;
#[cfg(feature = "libfuzzer")]
mod libfuzzer;
mod targets;

use targets::{TARGETS, Target};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    #[cfg(feature = "libfuzzer")]
    if let Some(done) = libfuzzer::run() {
        return done;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        // Anything else is meant for the tests beside this one.
        Some((name, files))
            if !files.is_empty() && files.iter().all(|file| Path::new(file).is_file()) =>
        {
            let target = Target::named(name)?;
            for file in files {
                (target.run)(&std::fs::read(file)?);
            }
            println!("{name}: {} inputs, nothing found", files.len());
        }
        _ => {
            for target in TARGETS {
                let inputs = corpus::load(target.name)?;
                for input in &inputs {
                    (target.run)(input);
                }
                println!("{}: {} kept inputs", target.name, inputs.len());
            }
        }
    }
    Ok(())
}
