//! `tandem bans`: who is banned, and the operator's hand in it.

use super::{CliResult, Daemon, DaemonArgs, say, say_json, table};
use crate::guard::{BanView, Source};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Arguments of `tandem bans`.
#[derive(Debug, Subcommand)]
pub(super) enum BansCommand {
    /// Who is banned, the latest first.
    List(ListArgs),
    /// Ban an IPv4 address, or the /64 of an IPv6 address.
    Add(AddArgs),
    /// End a ban, and what would make the next one longer.
    Remove(RemoveArgs),
}

/// Arguments of `tandem bans list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `tandem bans add`.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Whom.
    address: Source,
    /// For how long; without it for guard.ban_max_s.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
}

/// Arguments of `tandem bans remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Whom.
    address: Source,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bans {
    bans: Vec<BanView>,
}

pub(super) fn run(command: &BansCommand) -> CliResult {
    match command {
        BansCommand::List(args) => list(args),
        BansCommand::Add(args) => {
            let daemon = Daemon::find(&args.daemon)?;
            let wish = json!({ "source": args.address, "seconds": args.seconds });
            let ban: BanView = daemon.post("/v1/bans", &wish)?;
            if args.daemon.json {
                return say_json(&ban);
            }
            say(format!("{} is banned until {}", ban.source, table::time(ban.until)))
        }
        BansCommand::Remove(args) => {
            let daemon = Daemon::find(&args.daemon)?;
            daemon.delete(&format!("/v1/bans/{}", args.address.address()))?;
            if args.daemon.json {
                return say_json(&json!({ "removed": args.address }));
            }
            say(format!("{} is no longer banned", args.address))
        }
    }
}

fn list(args: &ListArgs) -> CliResult {
    let daemon = Daemon::find(&args.daemon)?;
    let found: Bans = daemon.get("/v1/bans", &[])?;
    if args.daemon.json {
        return say_json(&found);
    }
    let now = Timestamp::now();
    let mut listing =
        table::new(&["source", "reason", "proven", "since", ">ends in s", ">times", ">dropped"]);
    for ban in &found.bans {
        listing.add_row([
            ban.source.to_string(),
            ban.reason.to_string(),
            if ban.proven { "yes" } else { "no" }.to_owned(),
            table::time(ban.since),
            ban.until.duration_since(now).as_secs().max(0).to_string(),
            ban.count.to_string(),
            ban.dropped.to_string(),
        ]);
    }
    say(table::text(&listing))?;
    say(format!("{} bans", found.bans.len()))
}
