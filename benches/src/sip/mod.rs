//! Calls per CPU-second, delay and memory, side by side with a peer in the same run.
//!
//! Both contenders run on the same core of the same machine, one after the other, again and again
//! (A B A B), with the same calls at the same rate; the load has other cores. Only the ratios mean
//! anything elsewhere.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `hosts`, `child`, `folders`, `usage` | network namespaces, processes, their files, what they use |
//! | `contender` | Tandem and Kamailio, with their configurations of `benches/sip` |
//! | `sipp` | the load: pairs of sipp |
//! | `load`, `generator` | a generator of our own: registrations, held calls, delays in microseconds |
//! | `compare` | the run beside a peer |
//! | `growth` | cost and memory as the number of calls and registrations grows |
//! | `report` | figures as JSON and as tables |
//! | `plot` | the growth as a picture |

mod child;
mod compare;
mod contender;
mod folders;
mod generator;
mod growth;
mod hosts;
pub mod load;
mod plot;
mod report;
mod sipp;
mod usage;

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Who is measured beside Tandem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Kamailio (tm, rr, dialog), for media with rtpengine: Debian's packages
    Kamailio,
}

/// `tandem-bench sip`.
#[derive(Clone, Debug, Args)]
pub struct SipArgs {
    /// Who runs beside Tandem
    #[arg(long, value_enum, default_value = "kamailio")]
    pub peer: Peer,

    /// Calls per second, of all pairs
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub rate: u32,

    /// Calls of one run
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,

    /// Pairs of sipp
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub pairs: u16,

    /// Runs of each contender
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub rounds: u32,

    /// Calls that are held to measure memory; 0 leaves that out
    #[arg(long, default_value_t = 1_000)]
    pub held: u64,

    /// Registrations to measure memory
    #[arg(long, default_value_t = 10_000)]
    pub registrations: u64,

    /// Measure how Tandem grows, instead of a peer beside it
    #[arg(long)]
    pub growth: bool,

    /// Where the picture of the growth goes
    #[arg(long, default_value = "growth.svg")]
    pub plot: PathBuf,

    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Runs the benchmark and prints it; `false` if calls failed or messages were sent again.
///
/// # Errors
/// A message for people.
pub fn run(args: &SipArgs) -> Result<bool, String> {
    hosts::missing()?;
    if args.growth {
        return growth::run(args);
    }
    let report = compare::run(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}
