//! `tandem run`: starts everything in order, tells where it listens, and ends everything in order.

use super::runfile::{FolderLock, RunFile};
use super::wire;
use super::{CliError, CliResult, DataArgs, say, sibling};
use crate::api::{self, Sources};
use crate::check::{self, system::calls_for_files};
use crate::config::Config;
use crate::config::reload::{Reload, reload};
use crate::core::CoreHandle;
use crate::journal::Journal;
use crate::logging;
use crate::snapshot::Shared;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::store::users::{Follower, SHUT_OUT_REMEDY, User, UserList, shut_out};
use clap::Args;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_hw::limits::{OpenFiles, raise_open_files};
use tandem_signalling::stack::Transport;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the start waits for the engine before it says so and goes on without.
const ENGINE_WITHIN: Duration = Duration::from_secs(3);
/// Longest path of a Unix socket, octets (`sockaddr_un`).
pub const MAX_SOCKET_PATH: usize = 107;
/// How often it is looked whether the signalling thread still runs.
const WATCH_EVERY: Duration = Duration::from_millis(250);

const RUN_HELP: &str = "\
Examples:
  tandem run                                 embedded defaults, data in ./data
  tandem run --print-config > tandem.toml    all keys with their defaults and a sentence each
  tandem run --config tandem.toml --data /var/lib/tandem

It runs in the foreground and logs to standard error. Ctrl-C ends calls and stops it; SIGTERM lets\ncalls go on for call.drain_s first; SIGHUP reads the configuration again.";

/// Arguments of `tandem run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub struct RunArgs {
    #[command(flatten)]
    folder: DataArgs,
    /// Configuration file (TOML); without it all keys have their defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print all keys with the values in effect and a sentence each, and end.
    #[arg(long)]
    print_config: bool,
}

/// The program of the engine: as configured, else beside this one.
#[must_use]
pub fn engine_program(config: &Config) -> PathBuf {
    if config.engine.program.is_empty() {
        sibling::find("tandem-engine")
    } else {
        PathBuf::from(&config.engine.program)
    }
}

/// The socket of the engine: as configured, else in the data folder.
#[must_use]
pub fn engine_socket(config: &Config, data: &Path) -> PathBuf {
    if config.engine.socket.is_empty() {
        data.join("engine.sock")
    } else {
        PathBuf::from(&config.engine.socket)
    }
}

/// Runs `tandem run`.
///
/// # Errors
/// [`CliError`] if it cannot start, or the signalling thread failed.
pub fn run(args: &RunArgs) -> CliResult {
    let config = match &args.config {
        Some(path) => Config::load(path).map_err(CliError::usage)?,
        None => Config::default(),
    };
    if args.print_config {
        return say(config.to_documented_toml().trim_end());
    }
    logging::start(&config.log).map_err(CliError::usage)?;
    let data = &args.folder.data;
    let obstacles = check::obstacles(&config, data);
    if !obstacles.is_empty() {
        return Err(CliError::failed(obstacles.join("\n")));
    }
    let _lock = FolderLock::take(data).map_err(CliError::failed)?;
    let files = match raise_open_files() {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(%error, "the open-files limit cannot be raised");
            tandem_hw::limits::open_files()
        }
    };
    let mut running = Running::start(config, data)?;
    running.wait_for_engine();
    running.tell(data)?;
    let banner = say(running.banner(data, files));
    let asked = running.wait(args.config.as_deref());
    let how = asked.as_ref().copied().unwrap_or(Asked::Stop);
    running.stop(how, data);
    banner.and(asked.map(drop))
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// SIGTERM: calls that are up may go on for a while.
    Drain,
    /// SIGINT: calls are ended.
    Stop,
    /// SIGHUP: the configuration is read again.
    Reload,
}

/// The signals that end the daemon; listened to from the start, so that none kills it half-way.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen(runtime: &Runtime) -> CliResult<Self> {
        let _context = runtime.enter();
        let fail = |error| CliError::failed(format!("cannot wait for signals: {error}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(fail)?,
            interrupt: signal(SignalKind::interrupt()).map_err(fail)?,
            hangup: signal(SignalKind::hangup()).map_err(fail)?,
        })
    }

    async fn received(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Drain,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits for a signal that asks for the end.
    async fn end(&mut self) {
        while self.received().await == Asked::Reload {}
    }
}

/// Everything that runs, in the order of its start.
struct Running {
    config: Config,
    store_path: PathBuf,
    shared: Arc<Shared>,
    journal: Journal,
    core: CoreHandle,
    http: SocketAddr,
    runtime: Runtime,
    signals: Signals,
    /// Ends when dropped.
    _users: Follower,
}

impl Running {
    fn start(config: Config, data: &Path) -> CliResult<Self> {
        let store_path = data.join(&config.store.file);
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&store_path).map_err(CliError::failed)?);
        let (journal, recovered) =
            Journal::open(&data.join("journal"), store.clone()).map_err(CliError::failed)?;
        if recovered.damaged_octets > 0 {
            tracing::warn!(
                octets = recovered.damaged_octets,
                "a part of the journal could not be read, as after a power cut; the rest was"
            );
        }
        if !recovered.alive.is_empty() {
            tracing::info!(calls = recovered.alive.len(), "calls were alive at the last end");
        }
        let (users, follower) = UserList::follow(store.clone()).map_err(CliError::failed)?;
        let of_realm = |user: &&User| user.realm == config.sip.realm;
        if let Some(text) =
            shut_out(users.load().iter().filter(of_realm), &config.registrar.algorithms)
        {
            tracing::warn!("{text}: {SHUT_OUT_REMEDY}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(|error| CliError::failed(format!("cannot start threads: {error}")))?;
        let signals = Signals::listen(&runtime)?;
        let listener = runtime.block_on(api::bind(config.http.listen)).map_err(CliError::failed)?;
        let http = listener.local_addr().map_err(CliError::failed)?;
        let (shared, queries) = Shared::with_trace(wire::trace(&config)?);
        let core = wire::start(wire::Parts {
            config: &config,
            data,
            journal: journal.clone(),
            recovered,
            users,
            shared: shared.clone(),
            queries,
        })?;
        let sources =
            Sources::new(shared.clone(), store, journal.clone(), config.http.allow_remote);
        runtime.spawn(async move {
            if let Err(error) = api::serve(listener, sources).await {
                tracing::error!(%error, "the HTTP API has ended");
            }
        });
        Ok(Self {
            config,
            store_path,
            shared,
            journal,
            core,
            http,
            runtime,
            signals,
            _users: follower,
        })
    }

    /// Waits until the engine is attached, so that the first call finds it.
    fn wait_for_engine(&self) {
        let start = Instant::now();
        while !self.shared.stats().engine.attached {
            if start.elapsed() > ENGINE_WITHIN || !self.core.is_running() {
                tracing::warn!(
                    "no media engine yet: calls are refused with 503 until one is attached"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes `run.json`.
    fn tell(&self, data: &Path) -> CliResult {
        let store = std::path::absolute(&self.store_path).unwrap_or(self.store_path.clone());
        RunFile {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Timestamp::now(),
            http: self.http,
            sip_udp: self.core.udp_addresses().to_vec(),
            sip_tcp: self.core.tcp_addresses().to_vec(),
            sip_tls: self.core.addresses().of(Transport::Tls).to_vec(),
            sip_ws: self.core.addresses().of(Transport::Ws).to_vec(),
            sip_wss: self.core.addresses().of(Transport::Wss).to_vec(),
            realm: self.config.sip.realm.clone(),
            algorithms: self.config.registrar.algorithms.clone(),
            store,
        }
        .write(data)
        .map_err(|error| {
            CliError::failed(format!(
                "cannot write {}: {error}. Choose another folder with --data DIR, or make it writable for this user",
                RunFile::path(data).display()
            ))
        })
    }

    fn banner(&self, data: &Path, files: OpenFiles) -> String {
        let addresses = self.core.addresses();
        let sip: Vec<String> = addresses
            .iter()
            .map(|(transport, at)| format!("{} {at}", transport.via_name().to_lowercase()))
            .collect();
        let stats = self.shared.stats();
        let engine = &stats.engine;
        let calls = match engine.endpoint_limit {
            0 => calls_for_files(files.soft, &self.config),
            // A call takes one port pair for each of its two legs.
            endpoints => endpoints / 2,
        };
        let media = &self.config.media;
        format!(
            "tandem {version} runs as process {pid}\n  \
             SIP    {sip}; realm {realm}\n  \
             HTTP   http://{http}/\n  \
             media  {port}, ports {first} to {last}; the open-files limit of {limit} allows about {calls} calls\n  \
             data   {data}\n\
             Add a phone with `tandem user add alice --data {data}`, and let it register as sip:alice@{registrar}.",
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            sip = sip.join(", "),
            realm = self.config.sip.realm,
            http = self.http,
            port = engine.port.as_deref().unwrap_or("no engine yet"),
            first = media.port_min,
            last = media.port_max,
            limit = files.soft,
            data = data.display(),
            registrar = addresses.iter().next().map(|(_, at)| at.to_string()).unwrap_or_default(),
        )
    }

    /// Waits for a signal to end, or for the signalling thread to fail; reads the configuration
    /// again when it is asked to.
    fn wait(&mut self, file: Option<&Path>) -> CliResult<Asked> {
        loop {
            match self.next_signal()? {
                Asked::Reload => self.reload(file),
                end => return Ok(end),
            }
        }
    }

    fn next_signal(&mut self) -> CliResult<Asked> {
        let (core, signals) = (&self.core, &mut self.signals);
        self.runtime.block_on(async {
            let mut watch = tokio::time::interval(WATCH_EVERY);
            loop {
                tokio::select! {
                    asked = signals.received() => return Ok(asked),
                    _ = watch.tick() => {
                        if !core.is_running() {
                            return Err(CliError::failed(
                                "the signalling thread has ended; the log says why. Start tandem again: calls are taken over from the journal",
                            ));
                        }
                    }
                }
            }
        })
    }

    /// Reads the configuration again. A wrong one changes nothing.
    fn reload(&mut self, file: Option<&Path>) {
        self.core.reload_certificates();
        let Some(file) = file else {
            tracing::info!("started without --config: there is no configuration to read again");
            return;
        };
        let wanted = match Config::load(file) {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::error!(
                    "the configuration in effect stays, for the file is wrong: {error}"
                );
                return;
            }
        };
        let Reload { config, taken, kept } = reload(&self.config, &wanted);
        if let Err(error) = logging::start(&config.log) {
            tracing::error!(error, "the log level stays");
        }
        self.core.reconfigure(config.clone(), wire::media_config(&config));
        self.config = config;
        tracing::info!(changed = taken.join(", "), "the configuration was read again");
        if !kept.is_empty() {
            let keys = kept.join(", ");
            tracing::warn!(keys, "these keys keep their old values until tandem is started again");
        }
    }

    /// Ends calls, at once or when they had their time, moves the last records into the store, and
    /// ends all threads. A further signal ends calls at once, and one more the process.
    fn stop(mut self, how: Asked, data: &Path) {
        let limit = Duration::from_secs(self.config.call.drain_s.into());
        if how == Asked::Drain && !limit.is_zero() {
            tracing::info!(
                within_s = limit.as_secs(),
                "stopping: no new calls; those that are up may end by themselves"
            );
            self.core.request_drain(limit);
            self.until_ended();
        }
        if self.core.is_running() {
            tracing::info!("stopping: calls are ended");
            self.core.request_stop();
        }
        if !self.until_ended() {
            // What was not ended comes back from the journal at the next start.
            std::process::exit(1);
        }
        RunFile::remove(data);
        if !self.core.stop() {
            tracing::error!("the signalling thread ended by a panic; the journal has its calls");
        }
        self.journal.close();
        // Event streams may be open for ever.
        self.runtime.shutdown_timeout(Duration::from_millis(200));
    }

    /// Waits for the end of the signalling thread; false if a signal came before.
    fn until_ended(&mut self) -> bool {
        let (core, signals) = (&self.core, &mut self.signals);
        self.runtime.block_on(async {
            while core.is_running() {
                tokio::select! {
                    () = signals.end() => return false,
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
            }
            true
        })
    }
}
