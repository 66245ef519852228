//! `tandem-bench`: runs the benchmarks and prints them as a table or as JSON.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tandem_bench::engine::EngineArgs;
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
}

fn main() -> ExitCode {
    let Args { what: What::Engine(args) } = Args::parse();
    match tandem_bench::engine::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("tandem-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
