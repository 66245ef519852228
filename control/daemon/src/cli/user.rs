//! `tandem user`: works on the store, with and without a running daemon, which notices by itself;
//! a change is told when it has.

use super::client::Daemon;
use super::runfile::RunFile;
use super::{CliError, CliResult, DataArgs, listing, say, say_json, table};
use crate::config::Config;
use crate::config::types::Algorithm;
use crate::store::Store;
use crate::store::import::{self, Import};
use crate::store::sqlite::SqliteStore;
use crate::store::users::{SHUT_OUT_REMEDY, User, check_number, generate_password, shut_out};
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a change waits for the daemon to take it up.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(2);
/// How often the daemon is asked whether it has.
const ASK_EVERY: Duration = Duration::from_millis(20);

const IMPORT_HELP: &str = "\
The CSV file has a header: username, one of password, ha1 and ha1_sha256, and if wanted realm or
domain. A dump of Kamailio's subscriber table (id,username,domain,password,ha1,ha1b) fits as it is.

Lines that cannot be taken are named and left out; then the exit status is 1.

Examples:
  tandem user import users.csv
  ssh other tandem-users | tandem user import -
  tandem user import --kamailio-sqlite /etc/kamailio/kamailio.sqlite --strict";

const ADD_HELP: &str = "\
Examples:
  tandem user add alice                     makes a password and prints it once
  tandem user add alice --password s3cret
  echo s3cret | tandem user add alice --password-stdin
  tandem user add alice --number +4930123456 --number 20";

const NUMBERS_HELP: &str = "\
A number leads to its user, whoever dials it; the first is what the user's calls over a trunk show.

Examples:
  tandem user numbers alice +4930123456 20
  tandem user numbers alice                 takes all numbers away";

/// `tandem user …`.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user, or give one a new password.
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// Set the numbers of a user.
    #[command(after_help = NUMBERS_HELP)]
    Numbers(NumbersArgs),
    /// List all users.
    List(ListArgs),
    /// Remove a user.
    Remove(RemoveArgs),
    /// Import users out of a CSV file or Kamailio's subscriber table.
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
}

/// Which store and realm.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    folder: DataArgs,
    /// Configuration file, for store.file and sip.realm.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Name, as in sip:NAME@….
    username: String,
    /// Password; visible to other users of this machine while the command runs.
    #[arg(long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Number of the user, as in +4930123456 or an extension; may be given several times. Without
    /// any, a known user keeps those that it has.
    #[arg(long = "number", value_name = "NUMBER")]
    numbers: Vec<String>,
    /// Realm, if not the configured one.
    #[arg(long)]
    realm: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct NumbersArgs {
    /// Name.
    username: String,
    /// All numbers of the user from now on.
    #[arg(value_name = "NUMBER")]
    numbers: Vec<String>,
    /// Realm, if not the configured one.
    #[arg(long)]
    realm: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Name.
    username: String,
    /// Realm, if not the configured one.
    #[arg(long)]
    realm: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// CSV file; `-` for standard input.
    #[arg(required_unless_present = "kamailio_sqlite")]
    file: Option<PathBuf>,
    /// Read the subscriber table of this SQLite file of Kamailio instead.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    kamailio_sqlite: Option<PathBuf>,
    /// Import nothing if a line is bad.
    #[arg(long)]
    strict: bool,
    /// Realm of lines without one, if not the configured one.
    #[arg(long)]
    realm: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// The store and the realm in effect.
struct Opened {
    store: SqliteStore,
    /// Its file.
    path: PathBuf,
    data: PathBuf,
    realm: String,
    /// What phones are asked for.
    algorithms: Vec<Algorithm>,
}

impl StoreArgs {
    /// Realm and algorithms in effect: of the configuration, else of the daemon that runs here,
    /// else the defaults.
    fn open(&self) -> CliResult<Opened> {
        let data = &self.folder.data;
        let (path, realm, algorithms) = match &self.config {
            Some(file) => {
                let config = Config::load(file).map_err(CliError::usage)?;
                (data.join(&config.store.file), config.sip.realm, config.registrar.algorithms)
            }
            None => {
                let Config { sip, registrar, .. } = Config::default();
                let (realm, algorithms) = match RunFile::read(data) {
                    Some(run) => (run.realm, run.algorithms),
                    None => (sip.realm, registrar.algorithms),
                };
                (listing::store_path(data), realm, algorithms)
            }
        };
        let store = SqliteStore::open(&path).map_err(CliError::failed)?;
        Ok(Opened { store, path, data: data.clone(), realm, algorithms })
    }
}

impl Opened {
    /// Waits until the daemon that runs on this store, if one does, works with the users as they
    /// are now; false if it does not within this time.
    fn wait_for_daemon(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let same_file = |run: &RunFile| match (run.store.canonicalize(), self.path.canonicalize()) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            _ => false,
        };
        if !RunFile::read(&self.data).is_some_and(|run| same_file(&run)) {
            return true;
        }
        let (Ok(mut daemon), Ok(version)) =
            (Daemon::in_folder(&self.data), self.store.users_version())
        else {
            return true;
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            daemon.set_timeout(left);
            let stats = daemon.get::<serde_json::Value>("/v1/stats", &[]);
            // Nobody answers, or one that does not tell: there is nothing to wait for.
            let Some(theirs) = stats.ok().and_then(|it| it["users_version"].as_i64()) else {
                return true;
            };
            if theirs >= version {
                return true;
            }
            std::thread::sleep(ASK_EVERY.min(left));
        }
    }

    /// As [`Self::wait_for_daemon`], and says so if the daemon is late.
    fn finish(&self) -> CliResult {
        if !self.wait_for_daemon(TAKEN_UP_WITHIN) {
            writeln!(
                io::stderr().lock(),
                "stored, but the running daemon has not taken it up yet: see its log"
            )?;
        }
        Ok(())
    }
}

pub(super) fn run(command: UserCommand) -> CliResult {
    match command {
        UserCommand::Add(args) => add(args),
        UserCommand::Numbers(args) => numbers(&args),
        UserCommand::List(args) => list(&args),
        UserCommand::Remove(args) => remove(&args),
        UserCommand::Import(args) => import_users(&args),
    }
}

fn read_password(input: &mut impl BufRead) -> CliResult<String> {
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(|error| CliError::failed(format!("cannot read the password: {error}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn add(args: AddArgs) -> CliResult {
    let given = match (args.password, args.password_stdin) {
        (Some(password), _) => Some(password),
        (None, true) => Some(read_password(&mut io::stdin().lock())?),
        (None, false) => None,
    };
    if given.as_ref().is_some_and(String::is_empty) {
        return Err(CliError::usage("the password is empty: give one, or leave it out to get one"));
    }
    let opened = args.store.open()?;
    let realm = args.realm.unwrap_or_else(|| opened.realm.clone());
    import::check_name("user name", &args.username).map_err(CliError::usage)?;
    import::check_name("realm", &realm).map_err(CliError::usage)?;
    check_numbers(&args.numbers)?;
    let generated = match &given {
        Some(_) => None,
        None => Some(generate_password().map_err(|error| {
            CliError::failed(format!("no random numbers for a password: {error}; give --password"))
        })?),
    };
    let password = given.as_ref().or(generated.as_ref()).map_or("", String::as_str);
    let mut user = User::with_password(&args.username, &realm, password);
    user.numbers.clone_from(&args.numbers);
    let created = opened.store.put_users(vec![user]).map_err(CliError::failed)?;
    let created = created.first().copied().unwrap_or_default();
    opened.finish()?;
    if args.store.json {
        return say_json(&json!({
            "username": args.username,
            "realm": realm,
            "created": created,
            "numbers": args.numbers,
            "password": generated,
        }));
    }
    let what = if created { "added" } else { "gave a new password to" };
    say(format!("{what} {} in realm {realm}", args.username))?;
    match generated {
        Some(password) => say(format!("password (shown only now): {password}")),
        None => Ok(()),
    }
}

fn check_numbers(numbers: &[String]) -> CliResult {
    numbers.iter().try_for_each(|number| check_number(number)).map_err(CliError::usage)
}

fn numbers(args: &NumbersArgs) -> CliResult {
    check_numbers(&args.numbers)?;
    let opened = args.store.open()?;
    let realm = args.realm.as_ref().unwrap_or(&opened.realm);
    let (name, numbers) = (&args.username, &args.numbers);
    if !opened.store.set_numbers(name, realm, numbers).map_err(CliError::failed)? {
        return Err(no_such_user(name, realm));
    }
    opened.finish()?;
    if args.store.json {
        return say_json(&json!({ "username": name, "realm": realm, "numbers": numbers }));
    }
    let all = if numbers.is_empty() { "no number".to_owned() } else { numbers.join(", ") };
    say(format!("{name} in realm {realm} has {all}"))
}

fn no_such_user(name: &str, realm: &str) -> CliError {
    CliError::failed(format!(
        "there is no user {name} in realm {realm}: `tandem user list` shows all; name another realm with --realm"
    ))
}

fn list(args: &ListArgs) -> CliResult {
    let users = args.store.open()?.store.users().map_err(CliError::failed)?;
    if args.store.json {
        let users: Vec<_> = users
            .iter()
            .map(|user| {
                json!({
                    "username": user.username,
                    "realm": user.realm,
                    "md5": user.ha1_md5.is_some(),
                    "sha256": user.ha1_sha256.is_some(),
                    "numbers": user.numbers,
                })
            })
            .collect();
        return say_json(&json!({ "users": users }));
    }
    let mut listing = table::new(&["user", "realm", "digests", "numbers"]);
    for user in &users {
        let digests = match (&user.ha1_md5, &user.ha1_sha256) {
            (Some(_), Some(_)) => "MD5, SHA-256",
            (Some(_), None) => "MD5",
            (None, Some(_)) => "SHA-256",
            (None, None) => "none",
        };
        let numbers = user.numbers.join(", ");
        listing.add_row([user.username.as_str(), &user.realm, digests, &numbers]);
    }
    say(table::text(&listing))?;
    say(table::counted(users.len(), "user"))
}

fn remove(args: &RemoveArgs) -> CliResult {
    let opened = args.store.open()?;
    let realm = args.realm.as_ref().unwrap_or(&opened.realm);
    let removed = opened.store.remove_user(&args.username, realm).map_err(CliError::failed)?;
    if !removed {
        return Err(no_such_user(&args.username, realm));
    }
    opened.finish()?;
    if args.store.json {
        return say_json(&json!({ "username": args.username, "realm": realm, "removed": true }));
    }
    say(format!("removed {} from realm {realm}", args.username))
}

fn import_users(args: &ImportArgs) -> CliResult {
    let opened = args.store.open()?;
    let realm = args.realm.as_deref().unwrap_or(&opened.realm);
    let import = match (&args.kamailio_sqlite, &args.file) {
        (Some(path), _) => import::kamailio_sqlite(path, realm),
        (None, Some(path)) if path.as_os_str() == "-" => import::csv_stdin(realm),
        (None, Some(path)) => import::csv_file(path, realm),
        (None, None) => return Err(CliError::usage("name a file")),
    };
    let Import { users, bad } = import.map_err(CliError::usage)?;
    for bad in &bad {
        writeln!(io::stderr().lock(), "line {}: {}", bad.line, bad.message)?;
    }
    if args.strict && !bad.is_empty() {
        return Err(CliError::failed(format!(
            "{} bad lines, nothing was imported: mend them, or leave --strict out",
            bad.len()
        )));
    }
    let elsewhere = users.iter().find(|user| user.realm != opened.realm).map(|user| &user.realm);
    if let Some(elsewhere) = elsewhere {
        let realm = &opened.realm;
        writeln!(
            io::stderr().lock(),
            "some users are of realm {elsewhere}, and the realm in effect is {realm}: they can register once sip.realm is theirs"
        )?;
    }
    let shut_out = shut_out(&users, &opened.algorithms);
    if let Some(text) = &shut_out {
        writeln!(io::stderr().lock(), "{text}: {SHUT_OUT_REMEDY}")?;
    }
    let outcome = opened.store.put_users(users).map_err(CliError::failed)?;
    opened.finish()?;
    let added = outcome.iter().filter(|new| **new).count();
    let changed = outcome.len() - added;
    if args.store.json {
        let listed: Vec<_> =
            bad.iter().map(|bad| json!({ "line": bad.line, "message": bad.message })).collect();
        say_json(&json!({
            "added": added,
            "changed": changed,
            "bad": listed,
            "warning": shut_out,
        }))?;
        return left_out_status(&bad);
    }
    let (added, left_out) = (table::counted(added, "user"), table::counted(bad.len(), "line"));
    say(format!("{added} added, {changed} changed, {left_out} left out"))?;
    left_out_status(&bad)
}

/// A script has to see that not all was taken.
fn left_out_status(bad: &[import::BadLine]) -> CliResult {
    if bad.is_empty() { Ok(()) } else { Err(CliError::silent(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;
    use crate::journal::Journal;
    use crate::snapshot::{Shared, Stats};
    use std::path::Path;
    use std::sync::Arc;

    fn store_args(data: &Path) -> StoreArgs {
        StoreArgs { folder: DataArgs { data: data.to_owned() }, config: None, json: true }
    }

    fn add_args(data: &Path, name: &str, password: Option<&str>) -> AddArgs {
        AddArgs {
            username: name.into(),
            password: password.map(str::to_owned),
            password_stdin: false,
            numbers: Vec::new(),
            realm: None,
            store: store_args(data),
        }
    }

    #[test]
    fn users_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        add(add_args(&data, "alice", Some("secret"))).unwrap();
        add(add_args(&data, "bob", None)).unwrap();
        let store = SqliteStore::open(&data.join("tandem.db")).unwrap();
        let users = store.users().unwrap();
        assert_eq!(users[0], User::with_password("alice", "tandem", "secret"));
        assert_eq!(users[1].username, "bob");
        let gone = RemoveArgs { username: "alice".into(), realm: None, store: store_args(&data) };
        remove(&gone).unwrap();
        let error = remove(&gone).unwrap_err().to_string();
        assert!(error.contains("user list"), "{error}");
        assert!(add(add_args(&data, "a b", Some("x"))).is_err());
        assert!(add(add_args(&data, "c", Some(""))).is_err());
        list(&ListArgs { store: store_args(&data) }).unwrap();
    }

    #[test]
    fn numbers_are_set_listed_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut args = add_args(&data, "alice", Some("secret"));
        args.numbers = vec!["+4930123456".into(), "20".into()];
        add(args).unwrap();
        add(add_args(&data, "alice", Some("other"))).unwrap();
        let of = |name: &str, all: &[&str]| NumbersArgs {
            username: name.into(),
            numbers: all.iter().map(|it| (*it).to_owned()).collect(),
            realm: None,
            store: store_args(&data),
        };
        let store = SqliteStore::open(&data.join("tandem.db")).unwrap();
        assert_eq!(store.users().unwrap()[0].numbers, ["+4930123456", "20"]);
        numbers(&of("alice", &["20"])).unwrap();
        assert_eq!(store.users().unwrap()[0].numbers, ["20"]);
        let error = numbers(&of("alice", &["+49 30"])).unwrap_err();
        assert!(error.to_string().contains("+4930123456"), "{error}");
        assert!(numbers(&of("bob", &[])).unwrap_err().to_string().contains("user list"));
    }

    /// An API that tells these figures, and `run.json` that names it.
    fn daemon(data: &Path, shared: &Arc<Shared>) -> tokio::runtime::Runtime {
        let store = Arc::new(SqliteStore::open(&data.join("tandem.db")).unwrap());
        let (journal, _) = Journal::open(&data.join("journal"), store.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(api::bind("127.0.0.1:0".parse().unwrap())).unwrap();
        let http = listener.local_addr().unwrap();
        let sources = api::Sources::new(shared.clone(), store, journal, false);
        runtime.spawn(api::serve(listener, sources));
        let run = RunFile {
            pid: 1,
            version: String::new(),
            started_at: jiff::Timestamp::now(),
            http,
            sip_udp: vec![],
            sip_tcp: vec![],
            sip_tls: vec![],
            sip_ws: vec![],
            sip_wss: vec![],
            realm: "tandem".into(),
            algorithms: vec![],
            store: data.join("tandem.db"),
        };
        run.write(data).unwrap();
        runtime
    }

    #[test]
    fn a_change_waits_until_the_daemon_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let (shared, _queries) = Shared::new();
        let runtime = daemon(data, &shared);
        let opened = store_args(data).open().unwrap();
        let tell = |users_version| shared.publish(Stats { users_version, ..Stats::default() });
        let before = opened.store.users_version().unwrap();
        tell(before - 1);
        assert!(!opened.wait_for_daemon(Duration::from_millis(60)));
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while opened.store.users_version().unwrap() == before {
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_millis(150));
                tell(opened.store.users_version().unwrap());
            });
            add(add_args(data, "alice", Some("secret"))).unwrap();
        });
        assert!(start.elapsed() >= Duration::from_millis(150));
        assert!(start.elapsed() < TAKEN_UP_WITHIN);
        drop(runtime);
        assert!(opened.wait_for_daemon(TAKEN_UP_WITHIN), "nobody answers any more");
    }

    #[test]
    fn strict_import_is_all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let file = folder.path().join("users.csv");
        std::fs::write(&file, "username,password\nalice,x\n,y\n").unwrap();
        let args = |strict| ImportArgs {
            file: Some(file.clone()),
            kamailio_sqlite: None,
            strict,
            realm: Some("example.org".into()),
            store: store_args(&data),
        };
        assert!(import_users(&args(true)).is_err());
        let store = SqliteStore::open(&data.join("tandem.db")).unwrap();
        assert_eq!(store.users().unwrap(), []);
        assert!(import_users(&args(false)).is_err(), "a line was left out");
        assert_eq!(store.users().unwrap(), [User::with_password("alice", "example.org", "x")]);
    }

    #[test]
    fn the_configuration_names_store_and_realm() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("t.toml");
        std::fs::write(&config, "[sip]\nrealm = \"example.org\"\n[store]\nfile = \"x.db\"\n")
            .unwrap();
        let mut args = add_args(folder.path(), "alice", Some("pw"));
        args.store.config = Some(config);
        add(args).unwrap();
        let store = SqliteStore::open(&folder.path().join("x.db")).unwrap();
        assert_eq!(store.users().unwrap(), [User::with_password("alice", "example.org", "pw")]);
    }

    #[test]
    fn passwords_are_read_up_to_the_end_of_the_line() {
        assert_eq!(read_password(&mut &b"pass word\r\nrest"[..]).unwrap(), "pass word");
        assert_eq!(read_password(&mut &b""[..]).unwrap(), "");
    }
}
