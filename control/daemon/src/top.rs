//! `tandem top`: the daemon at a glance, again every second.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`frame`] | one look at the daemon, and the rates between two |
//! | `screen` | the live screen |

pub mod frame;
mod screen;

use crate::cli::{CliResult, Daemon, DaemonArgs, say, say_json};
use clap::Args;
use frame::Frame;
use std::io::IsTerminal;
use std::time::Duration;

/// Time between two frames.
const EVERY: Duration = Duration::from_secs(1);

/// Arguments of `tandem top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: q quits, up and down scroll. Where the output is no terminal, plain tables come each second."
)]
pub struct TopArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Print one frame, with the rates of one second, and end.
    #[arg(long)]
    once: bool,
}

/// Runs `tandem top`.
///
/// # Errors
/// [`crate::cli::CliError`] if no daemon answers.
pub fn run(args: &TopArgs) -> CliResult {
    let daemon = Daemon::find(&args.daemon)?;
    let first = Frame::look(&daemon)?;
    if args.once {
        // Rates need a second look.
        std::thread::sleep(EVERY);
        return show(&Frame::look(&daemon)?.since(&first), args.daemon.json);
    }
    if std::io::stdout().is_terminal() && !args.daemon.json {
        return screen::run(&daemon, first);
    }
    let mut last = first;
    show(&last, args.daemon.json)?;
    loop {
        std::thread::sleep(EVERY);
        last = Frame::look(&daemon)?.since(&last);
        show(&last, args.daemon.json)?;
    }
}

fn show(frame: &Frame, json: bool) -> CliResult {
    if json { say_json(frame) } else { say(frame.to_text()) }
}
