//! A worker's turn on the memory port, with 1, 1,000 and 10,000 relay contexts.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`relay`] | a worker with relay contexts and an endless supply of packets |
//! | [`callgrind`] | instructions per packet, counted by valgrind |
//! | [`report`] | figures, budget, table and JSON |

pub mod callgrind;
pub mod relay;
pub mod report;

use clap::Args;
use relay::Relay;
use report::{Figures, Report};
use std::time::Instant;
use tandem_hw::count_alloc::allocations_on_this_thread;

/// Packets before the measurement begins, per termination.
const WARM_UP: u64 = 8;

/// `tandem-bench engine`.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// Relay contexts (two terminations each), one run per number
    #[arg(long, value_delimiter = ',', default_value = "1,1000,10000")]
    pub contexts: Vec<u32>,

    /// Packets per run
    #[arg(long, default_value_t = 2_000_000)]
    pub packets: u64,

    /// Leave out the instruction count, which needs valgrind
    #[arg(long)]
    pub no_callgrind: bool,

    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// Only relay packets, to be counted from outside
    #[arg(long, hide = true)]
    pub counted: bool,
}

/// Runs the benchmark and prints it; `false` if it is over budget.
///
/// # Errors
/// A message for people.
pub fn run(args: &EngineArgs) -> Result<bool, String> {
    if args.counted {
        let contexts = args.contexts.first().copied().unwrap_or(1);
        let mut relay = Relay::new(contexts)?;
        relay.run(u64::from(contexts) * 2 * WARM_UP);
        relay.run_counted(args.packets);
        return Ok(true);
    }
    let mut figures = Vec::new();
    for &contexts in &args.contexts {
        figures.push(measure(contexts, args)?);
    }
    let report = Report::new(figures);
    if args.json {
        println!("{}", report.to_json()?);
    } else {
        print!("{report}");
    }
    Ok(report.within_budget())
}

fn measure(contexts: u32, args: &EngineArgs) -> Result<Figures, String> {
    let mut relay = Relay::new(contexts)?;
    relay.run(u64::from(contexts) * 2 * WARM_UP);
    let before = allocations_on_this_thread();
    let (mut turn_ns, mut relayed) = (0, 0);
    while relayed < args.packets {
        relayed += relay.supply();
        let start = Instant::now();
        relay.turn();
        turn_ns += u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }
    let allocations = allocations_on_this_thread() - before;
    relay.check()?;
    let instructions = match args.no_callgrind {
        true => None,
        false => Some(callgrind::instructions_per_packet(contexts)?),
    };
    Ok(Figures {
        contexts,
        packets: relayed,
        allocations,
        ns_per_packet: turn_ns as f64 / relayed as f64,
        instructions_per_packet: instructions,
    })
}
