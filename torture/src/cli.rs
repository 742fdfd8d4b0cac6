//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Publishes and subscribes through faults, and checks that nothing is lost silently, doubled or out of order.
#[derive(Debug, Parser)]
#[command(name = "rotunda-torture", version, about, max_term_width = 100)]
pub struct Options {
    /// How long faults are done; starting, healing and checking come on top
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub seconds: u64,
    /// Which faults come in which order; drawn and printed unless given
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// How many gateways
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    pub gateways: u8,
    /// How many publishers; each sends about 12 messages a second
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub publishers: u64,
    /// How many subscribers; each is in three of the eight rooms
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub subscribers: u64,
    /// Only these kinds of faults, parted by commas; `none` for none
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub faults: Vec<String>,
    /// Leave the logs of the processes where they are, also if all is well
    #[arg(long)]
    pub keep: bool,
    /// The gateway to test; by default the one that was built beside this program
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
}
