//! `tandem-bench`: runs the benchmarks and prints them as a table or as JSON.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tandem_bench::engine::{self, EngineArgs};
use tandem_bench::sip::load::LoadArgs;
use tandem_bench::sip::{self, SipArgs};
use tandem_hw::count_alloc::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Micro-benchmarks of Tandem.
#[derive(Debug, Parser)]
#[command(name = "tandem-bench", version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A worker's turn on the memory port: time, allocations and instructions per relayed packet
    Engine(EngineArgs),
    /// Calls per CPU-second, delay and memory, beside a peer in the same run
    Sip(SipArgs),
    /// The load generator of `sip`
    #[command(hide = true)]
    SipLoad(LoadArgs),
}

fn main() -> ExitCode {
    let within = match Args::parse().what {
        What::Engine(args) => engine::run(&args),
        What::Sip(args) => sip::run(&args),
        What::SipLoad(args) => sip::load::run(&args).map(|()| true),
    };
    match within {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("tandem-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
