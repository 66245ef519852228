//! `tandem trunks` and `tandem route`.

use super::{CliError, CliResult, Daemon, DaemonArgs, say, say_json, table};
use crate::config::Config;
use crate::registrar::Registrar;
use crate::route::{Origin, RouteView};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::store::users::UserList;
use crate::trunk::{Routing, TrunkView, Trunks};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tandem_wire::time::Instant;

const ROUTE_HELP: &str = "\
The running daemon is asked, which knows how its trunks stand. With --config no daemon is asked: the
file alone decides, with the users of the data folder, as if every trunk took calls.

Examples:
  tandem route 030123456
  tandem route +441632960000 --from alice
  tandem route 112 --from trunk:carrier --json
  tandem route 030123456 --config new.toml";

/// Arguments of `tandem trunks`.
#[derive(Debug, Args)]
pub(super) struct TrunksArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `tandem route`.
#[derive(Debug, Args)]
#[command(after_help = ROUTE_HELP)]
pub(super) struct RouteArgs {
    /// What is dialled: a number, a user, a sip: or tel: URI.
    number: String,
    /// Who dials: a user, or trunk:NAME for a call that comes from there.
    #[arg(long, value_name = "USER")]
    from: Option<String>,
    /// Decide by this configuration instead of asking the daemon.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct TrunkList {
    trunks: Vec<TrunkView>,
}

pub(super) fn trunks(args: &TrunksArgs) -> CliResult {
    let found: TrunkList = Daemon::find(&args.daemon)?.get("/v1/trunks", &[])?;
    if args.daemon.json {
        return say_json(&found);
    }
    let mut listing = table::new(&[
        "trunk",
        "peer",
        "state",
        ">registered for s",
        ">calls",
        ">max",
        ">out",
        ">answered",
        ">failed over",
        ">in",
        "why",
    ]);
    for it in &found.trunks {
        listing.add_row([
            it.name.clone(),
            it.peer.clone(),
            it.state.key().to_owned(),
            table::figure(it.registered_for_s),
            it.calls.to_string(),
            table::figure(it.max_calls),
            it.counters.calls_out.to_string(),
            it.counters.answered_out.to_string(),
            it.counters.failed_over.to_string(),
            it.counters.calls_in.to_string(),
            it.why.clone().unwrap_or_default(),
        ]);
    }
    say(table::text(&listing))?;
    say(format!("{} trunks", found.trunks.len()))
}

pub(super) fn route(args: &RouteArgs) -> CliResult {
    let view = match &args.config {
        Some(file) => offline(args, file)?,
        None => {
            let mut query = vec![("number", args.number.clone())];
            query.extend(args.from.clone().map(|from| ("from", from)));
            Daemon::find(&args.daemon)?.get("/v1/route", &query)?
        }
    };
    if args.daemon.json {
        return say_json(&view);
    }
    show(&view)
}

fn show(view: &RouteView) -> CliResult {
    for step in &view.steps {
        say(format!("- {step}"))?;
    }
    say(match (view.outcome.as_str(), &view.user, view.status) {
        ("user", Some(user), _) => format!("=> user {user}"),
        ("trunks", ..) => {
            let names: Vec<&str> = view.candidates.iter().map(|it| it.trunk.as_str()).collect();
            format!("=> {}", names.join(", then "))
        }
        (_, _, status) => format!("=> nowhere: {}", status.unwrap_or(404)),
    })
}

/// The decision by a file, without a daemon.
fn offline(args: &RouteArgs, file: &Path) -> CliResult<RouteView> {
    let config = Config::load(file).map_err(CliError::usage)?;
    let path = args.daemon.folder.data.join(&config.store.file);
    let users = if path.is_file() {
        SqliteStore::open(&path).and_then(|it| it.users()).map_err(CliError::failed)?
    } else {
        Vec::new()
    };
    let mut routing = Routing::new(&config);
    routing.assume_registered();
    let trunks = Trunks::new(Instant::ZERO, &routing, 0);
    let directory = Registrar::directory(&UserList::of(users), &config.sip.realm);
    let from = args.from.as_deref();
    let origin = match from.and_then(|from| from.strip_prefix("trunk:")) {
        Some(name) => Origin::Trunk(trunks.find(name).ok_or_else(|| {
            CliError::usage(format!("{} has no [[trunk]] with the name {name}", file.display()))
        })?),
        None => Origin::User(from.unwrap_or_default()),
    };
    let dialled = tandem_signalling::uri::Uri::parse(&args.number).ok();
    let dialled = dialled.as_ref().and_then(crate::call::dialled);
    let dialled = dialled.unwrap_or_else(|| args.number.clone());
    let decision = trunks.decide(Instant::ZERO, &directory, &dialled, origin, 0);
    Ok(trunks.router().explain(&decision, from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DataArgs;

    fn ask(folder: &Path, number: &str, from: Option<&str>) -> CliResult<RouteView> {
        let file = folder.join("t.toml");
        let text = "[numbers]\ncountry_code = \"49\"\n\
            [[trunk]]\nname = \"a\"\npeer = \"sip:192.0.2.9\"\nregister = true\nusername = \"u\"\n\
            [[route]]\nprefix = \"+49\"\ntrunk = \"a\"\n";
        std::fs::write(&file, text).unwrap();
        let args = RouteArgs {
            number: number.into(),
            from: from.map(str::to_owned),
            config: Some(file.clone()),
            daemon: DaemonArgs {
                folder: DataArgs { data: folder.to_owned() },
                url: None,
                json: false,
            },
        };
        let view = offline(&args, &file)?;
        show(&view)?;
        Ok(view)
    }

    #[test]
    fn a_file_decides_without_a_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("tandem.db")).unwrap();
        let mut bob = crate::store::users::User::with_password("bob", "tandem", "x");
        bob.numbers = vec!["+4930991".into()];
        store.put_users(vec![bob]).unwrap();
        let out = ask(folder.path(), "tel:+49-30-123", Some("alice")).unwrap();
        assert_eq!((&*out.outcome, &*out.candidates[0].trunk), ("trunks", "a"));
        let bob = ask(folder.path(), "030991", None).unwrap();
        assert_eq!(bob.user.as_deref(), Some("bob"));
        assert_eq!(ask(folder.path(), "+441", Some("trunk:a")).unwrap().status, Some(404));
        assert!(ask(folder.path(), "+441", Some("trunk:b")).is_err());
    }
}
