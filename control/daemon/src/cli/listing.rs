//! `tandem calls`, `records`, `registrations`.

use super::runfile::RunFile;
use super::{CliError, CliResult, Daemon, DaemonArgs, say, say_json, table};
use crate::config::settings;
use crate::record::{CallRecord, LegReport, Registration};
use crate::snapshot::CallView;
use crate::store::sqlite::SqliteStore;
use crate::store::{MAX_PAGE, RecordQuery, Store};
use clap::Args;
use comfy_table::Table;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Arguments of `tandem calls`.
#[derive(Debug, Args)]
pub(super) struct CallsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Only this call.
    id: Option<String>,
}

/// Arguments of `tandem registrations`.
#[derive(Debug, Args)]
pub(super) struct RegistrationsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `tandem records`.
#[derive(Debug, Args)]
pub(super) struct RecordsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// How many, 1 to 1000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only calls from or to this user or address.
    #[arg(long, value_name = "USER")]
    party: Option<String>,
    /// Only calls that began at or after this time (2026-01-31T00:00:00Z).
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only calls that began before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only calls with this final SIP status (200, 486, 487 …).
    #[arg(long, value_name = "STATUS")]
    status: Option<u16>,
    /// Continue a listing: `next` of the page before.
    #[arg(long, value_name = "CURSOR")]
    before: Option<String>,
    /// One line per leg with its media figures.
    #[arg(long)]
    legs: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Calls {
    calls: Vec<CallView>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Records {
    records: Vec<CallRecord>,
    next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Registrations {
    registrations: Vec<Registration>,
}

pub(super) fn calls(args: &CallsArgs) -> CliResult {
    let daemon = Daemon::find(&args.daemon)?;
    let calls = match &args.id {
        Some(id) => Calls { calls: vec![daemon.get(&format!("/v1/calls/{id}"), &[])?] },
        None => daemon.get("/v1/calls", &[])?,
    };
    if args.daemon.json {
        return say_json(&calls);
    }
    let mut listing = table::new(&["call", "from", "to", "state", ">time", "started"]);
    for call in &calls.calls {
        listing.add_row([
            call.id.clone(),
            call.from.clone(),
            call.to.clone(),
            call.state.key().to_owned(),
            table::duration(call.duration_ms),
            table::time(call.started_at),
        ]);
    }
    say(table::text(&listing))?;
    if args.id.is_some() {
        let mut media = legs_table();
        for leg in calls.calls.iter().flat_map(|call| &call.legs).flat_map(|leg| &leg.media) {
            add_leg(&mut media, "", leg);
        }
        say(format!("\n{}", table::text(&media)))?;
    }
    say(table::counted(calls.calls.len(), "call"))
}

fn legs_table() -> Table {
    table::new(&[
        "call",
        "leg",
        "codec",
        ">rx",
        ">tx",
        ">lost",
        ">reord.",
        ">dupl.",
        ">jitter ms",
        ">rtt ms",
        ">bit/s",
        ">MOS",
    ])
}

fn add_leg(media: &mut Table, call: &str, leg: &LegReport) {
    media.add_row([
        call.to_owned(),
        leg.leg.clone(),
        table::figure(leg.codec.as_ref()),
        leg.rx_packets.to_string(),
        leg.tx_packets.to_string(),
        leg.lost.to_string(),
        leg.reordered.to_string(),
        leg.duplicated.to_string(),
        table::decimals(leg.jitter_ms, 1),
        table::decimals(leg.rtt_ms, 1),
        table::rate(leg.bitrate_bps),
        table::decimals(leg.mos, 2),
    ]);
}

pub(super) fn records(args: &RecordsArgs) -> CliResult {
    let records = match Daemon::find(&args.daemon) {
        Ok(daemon) => match records_of_daemon(&daemon, args) {
            Err(error) if error.status == 3 && args.daemon.url.is_none() => records_of_store(args)?,
            other => other?,
        },
        Err(error) if error.status == 3 => records_of_store(args)?,
        Err(error) => return Err(error),
    };
    if args.daemon.json {
        return say_json(&records);
    }
    if args.legs {
        let mut media = legs_table();
        for record in &records.records {
            for leg in &record.legs {
                add_leg(&mut media, &record.id, leg);
            }
        }
        say(table::text(&media))?;
    } else {
        say(table::text(&records_table(&records.records)))?;
    }
    match &records.next {
        Some(next) => say(format!("more: --before {next}")),
        None => say(table::counted(records.records.len(), "record")),
    }
}

fn records_table(records: &[CallRecord]) -> Table {
    let mut listing = table::new(&[
        "call", "from", "to", "started", ">setup", ">talk", "status", "cause", "by", ">MOS",
    ]);
    for record in records {
        let worst = record.legs.iter().filter_map(|leg| leg.mos).min_by(f64::total_cmp);
        listing.add_row([
            record.id.clone(),
            record.from.clone(),
            record.to.clone(),
            table::time(record.started_at),
            table::duration(record.setup_ms),
            table::duration(record.duration_ms),
            record.cause.sip_status.to_string(),
            record.cause.text.clone(),
            record.cause.by.key().to_owned(),
            table::decimals(worst, 2),
        ]);
    }
    listing
}

fn records_of_daemon(daemon: &Daemon, args: &RecordsArgs) -> CliResult<Records> {
    let mut query = vec![("limit", args.limit.to_string())];
    let optional = [
        ("party", args.party.clone()),
        ("since", args.since.map(|at| at.to_string())),
        ("until", args.until.map(|at| at.to_string())),
        ("status", args.status.map(|status| status.to_string())),
        ("before", args.before.clone()),
    ];
    for (key, value) in optional {
        query.extend(value.map(|value| (key, value)));
    }
    daemon.get("/v1/records", &query)
}

/// Without a daemon the store answers itself.
fn records_of_store(args: &RecordsArgs) -> CliResult<Records> {
    let store = existing_store(&args.daemon.folder.data)?;
    let before = match &args.before {
        Some(text) => {
            Some(text.parse().map_err(|error| CliError::usage(format!("--before: {error}")))?)
        }
        None => None,
    };
    let page = store
        .records(&RecordQuery {
            limit: usize::from(args.limit).min(MAX_PAGE),
            before,
            party: args.party.clone(),
            since: args.since,
            until: args.until,
            status: args.status,
        })
        .map_err(CliError::failed)?;
    Ok(Records { records: page.records, next: page.next.map(|next| next.to_string()) })
}

/// The store of a data folder, if there is one.
fn existing_store(data: &Path) -> CliResult<SqliteStore> {
    let path = store_path(data);
    if !path.is_file() {
        return Err(CliError::no_daemon(format!(
            "the data folder {0} holds no records, and no tandem runs on it: start it with `tandem run --data {0}`, or name another folder with --data DIR",
            data.display()
        )));
    }
    SqliteStore::open(&path).map_err(CliError::failed)
}

/// Where the store of a data folder lies: as its last daemon said, else as by default.
pub(super) fn store_path(data: &Path) -> PathBuf {
    RunFile::read(data)
        .map(|run| run.store)
        .unwrap_or_else(|| data.join(settings::Store::default().file))
}

pub(super) fn registrations(args: &RegistrationsArgs) -> CliResult {
    let daemon = Daemon::find(&args.daemon)?;
    let found: Registrations = daemon.get("/v1/registrations", &[])?;
    if args.daemon.json {
        return say_json(&found);
    }
    let now = Timestamp::now();
    let mut listing =
        table::new(&["user", "contact", "from", "via", ">expires in s", "user agent"]);
    for registration in &found.registrations {
        listing.add_row([
            registration.aor.clone(),
            registration.contact.clone(),
            table::figure(registration.received),
            registration.transport.clone(),
            registration.expires_at.duration_since(now).as_secs().max(0).to_string(),
            registration.user_agent.clone().unwrap_or_default(),
        ]);
    }
    say(table::text(&listing))?;
    say(format!("{} contacts", found.registrations.len()))
}
