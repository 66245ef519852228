//! The command line.
//!
//! Errors are one sentence with the remedy on standard error. Exit status: 0 done, 1 failed,
//! 2 wrong usage or configuration, 3 no daemon runs.

mod bans;
mod client;
mod demo;
mod listing;
mod routing;
pub mod run;
pub mod runfile;
mod sibling;
pub mod table;
mod trace;
mod user;
mod wire;

pub use client::Daemon;
pub(crate) use sibling::find as find_program;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub struct CliError {
    message: String,
    status: u8,
}

/// What a command returns.
pub type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    /// It failed.
    #[must_use]
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), status: 1 }
    }

    /// It was used wrongly, or the configuration is wrong.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), status: 2 }
    }

    /// No daemon runs.
    #[must_use]
    pub fn no_daemon(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), status: 3 }
    }

    /// The same with more to it, such as the end of a log; what was said already stays silent.
    #[must_use]
    pub(crate) fn with_more(mut self, more: &str) -> Self {
        if !self.message.is_empty() {
            self.message.push_str(more);
        }
        self
    }

    /// Everything was said already.
    #[must_use]
    pub const fn silent(status: u8) -> Self {
        Self { message: String::new(), status }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // The reader has seen enough (`tandem records | head`).
            Self::silent(0)
        } else {
            Self::failed(format!("cannot write the output: {error}"))
        }
    }
}

/// Prints a line on standard output.
///
/// # Errors
/// [`CliError`] if it cannot be written.
pub fn say(text: impl fmt::Display) -> CliResult {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints JSON on standard output.
///
/// # Errors
/// [`CliError`] if it cannot be written.
pub fn say_json(value: &impl serde::Serialize) -> CliResult {
    say(serde_json::to_string_pretty(value).map_err(CliError::failed)?)
}

const AFTER_HELP: &str = "\
Examples:
  tandem demo                            a call between two phones, relayed and measured
  tandem run                             start with embedded defaults, data in ./data
  tandem user add alice                  add a phone; prints its password once
  tandem calls                           what is being talked about now
  tandem records --party alice --json    ended calls of alice, for programs
  tandem trace 0672f3c4a1b2c3d4          the messages of that call, leg by leg
  tandem route 030123456 --from alice    where a call would go, and why
  tandem top                             live screen of calls, packets and quality
  tandem check                           what this machine can do and what to change

Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 no daemon runs.";

/// A SIP appliance that relays and measures calls.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the daemon and its media engine.
    Run(run::RunArgs),
    /// One call between two phones through an appliance of its own, relayed and measured.
    Demo(demo::DemoArgs),
    /// A scriptable softphone (`tandem ua --help`).
    #[command(disable_help_flag = true)]
    Ua(Rest),
    /// Benchmarks (`tandem bench --help`).
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Add, list, remove and import users.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Calls that exist now.
    Calls(listing::CallsArgs),
    /// Ended calls, newest first.
    Records(listing::RecordsArgs),
    /// Registered phones.
    Registrations(listing::RegistrationsArgs),
    /// The SIP messages of a call as a ladder, also of one that has ended.
    Trace(trace::TraceArgs),
    /// Who is banned; ban and forgive by hand.
    #[command(subcommand)]
    Bans(bans::BansCommand),
    /// Trunks and how they stand.
    Trunks(routing::TrunksArgs),
    /// Say step by step where a call to a number goes.
    Route(routing::RouteArgs),
    /// Live screen: calls, packets, loss, jitter, MOS, drops by reason.
    Top(crate::top::TopArgs),
    /// Say what this machine can run and what to change.
    Check(crate::check::CheckArgs),
}

/// Arguments of another program.
#[derive(Debug, Args)]
struct Rest {
    /// Passed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Where the data folder is.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// Data folder: store, journal and what a running daemon tells of itself.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// Which daemon is asked.
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// Where the data folder is.
    #[command(flatten)]
    pub folder: DataArgs,
    /// HTTP API of the daemon, instead of the one that runs on the data folder.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                // Nobody is left to tell if this fails.
                let _ = writeln!(io::stderr().lock(), "tandem: {error}");
            }
            ExitCode::from(error.status)
        }
    }
}

fn dispatch(cli: Cli) -> CliResult {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Ua(rest) => sibling::execute("tandem-ua", &rest.arguments),
        Command::Bench(rest) => sibling::execute("tandem-bench", &rest.arguments),
        Command::User(command) => user::run(command),
        Command::Calls(args) => listing::calls(&args),
        Command::Records(args) => listing::records(&args),
        Command::Registrations(args) => listing::registrations(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Bans(command) => bans::run(&command),
        Command::Trunks(args) => routing::trunks(&args),
        Command::Route(args) => routing::route(&args),
        Command::Top(args) => crate::top::run(&args),
        Command::Check(args) => crate::check::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_other_programs_are_passed_on() {
        let cli = Cli::parse_from(["tandem", "ua", "--json", "call", "-x", "--", "--help"]);
        let Command::Ua(rest) = cli.command else { panic!("not ua") };
        assert_eq!(rest.arguments, ["--json", "call", "-x", "--", "--help"]);
        let cli = Cli::parse_from(["tandem", "bench", "--help"]);
        let Command::Bench(rest) = cli.command else { panic!("not bench") };
        assert_eq!(rest.arguments, ["--help"]);
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.status, error.message.as_str()), (0, ""));
    }
}
