//! `tandem-engine`: the packet engine as a process.
//!
//! `tandem run` starts and supervises it, or attaches to one that already runs. It takes its whole
//! configuration from the command line, listens on a Unix socket for one control process at a
//! time, and outlives it: calls go on while control is away, until their leases run out.

mod host;

use clap::Parser;
use host::args::LogFormat;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = host::args::Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("TANDEM_ENGINE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(&args.log));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match host::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
