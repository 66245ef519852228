//! The appliance of the demo: `tandem run` as a child process, as a user would start it.

use super::child::{Child, terminate};
use super::stop::Stop;
use crate::cli::runfile::RunFile;
use crate::cli::{CliError, CliResult, Daemon};
use crate::snapshot::EngineView;
use crate::store::users::generate_password;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Users of the demo.
const USERS: [&str; 2] = ["alice", "bob"];
/// How long the start may take.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long the engine may take to end after its daemon.
const ENGINE_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Attempts to find a port that UDP and TCP have free.
const PORT_ATTEMPTS: u32 = 50;

/// A running appliance.
pub struct Appliance {
    child: Child,
    daemon: Daemon,
    run: RunFile,
    sip: SocketAddr,
    passwords: Vec<(&'static str, String)>,
    engine_pid: Option<u32>,
    port: String,
}

impl std::fmt::Debug for Appliance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the passwords.
        f.debug_struct("Appliance").field("sip", &self.sip).finish_non_exhaustive()
    }
}

impl Appliance {
    /// Adds the users, starts it, and waits until it has an engine.
    ///
    /// # Errors
    /// [`CliError`] with the last words of its log if it does not start.
    pub(super) fn start(folder: &Path, stop: &Stop) -> CliResult<Self> {
        let data = folder.join("data");
        let sip = free_sip_address()?;
        let config = folder.join("tandem.toml");
        std::fs::write(&config, configuration(sip)).map_err(|error| {
            CliError::failed(format!("cannot write {}: {error}", config.display()))
        })?;
        let mut passwords = Vec::new();
        for user in USERS {
            let password = generate_password().map_err(CliError::failed)?;
            add_user(user, &password, &data)?;
            passwords.push((user, password));
        }
        let arguments = [Path::new("run"), "--config".as_ref(), &config, "--data".as_ref(), &data];
        let mut child = Child::start("tandem", &own()?, arguments, folder.join("tandem.log"))?;
        let (run, daemon) = wait_ready(&mut child, &data, stop)?;
        let engine = wait_engine(&child, &daemon, stop)?;
        let port = engine.port.unwrap_or_else(|| "no port".to_owned());
        Ok(Self { child, daemon, run, sip, passwords, engine_pid: engine.pid, port })
    }

    /// Where SIP listens.
    #[must_use]
    pub fn sip(&self) -> SocketAddr {
        self.sip
    }

    /// Where the API listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.run.http
    }

    /// Kind of the engine's port.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Password of a user of the demo.
    #[must_use]
    pub fn password(&self, user: &str) -> String {
        let found = self.passwords.iter().find(|(name, _)| *name == user);
        found.map(|(_, password)| password.clone()).unwrap_or_default()
    }

    /// Asks the API.
    ///
    /// # Errors
    /// [`CliError`] if it does not answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> CliResult<T> {
        self.daemon.get(path, &[])
    }

    /// Its API.
    pub(super) const fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Adds what the appliance logged last to an error.
    pub(super) fn explain(&self, error: CliError) -> CliError {
        error.with_more(&self.child.last_words())
    }

    /// Ends the daemon and its engine.
    pub(super) fn end(&mut self) {
        self.child.end();
        let Some(pid) = self.engine_pid.take() else { return };
        let process = PathBuf::from(format!("/proc/{pid}"));
        let deadline = Instant::now() + ENGINE_ENDS_WITHIN;
        // The engine outlives its daemon on purpose; here nobody will come back to it.
        if is_engine(&process) {
            terminate(pid);
        }
        while is_engine(&process) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a process of this number is an engine (and not another that got its number).
fn is_engine(process: &Path) -> bool {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("tandem-engine")
}

/// The embedded defaults, but for addresses that are free, and an end without delay.
fn configuration(sip: SocketAddr) -> String {
    format!(
        "[sip]\nlisten = [\"{sip}\"]\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n\
         [engine]\nlinger_s = 1\n\n[call]\ndrain_s = 0\n"
    )
}

fn own() -> CliResult<PathBuf> {
    std::env::current_exe()
        .map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))
}

/// A port of loopback that is free for UDP and TCP.
fn free_sip_address() -> CliResult<SocketAddr> {
    for _ in 0..PORT_ATTEMPTS {
        let Ok(udp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
        let Ok(address) = udp.local_addr() else { continue };
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(CliError::failed("no port of 127.0.0.1 is free for both UDP and TCP"))
}

/// `tandem user add`, with the password on standard input where nobody else can see it.
fn add_user(user: &str, password: &str, data: &Path) -> CliResult {
    let fail = |what: String| CliError::failed(format!("cannot add the user {user}: {what}"));
    let mut child = Command::new(own()?)
        .args(["user", "add", user, "--password-stdin", "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| fail(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{password}").map_err(|error| fail(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| fail(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn wait_ready(child: &mut Child, data: &Path, stop: &Stop) -> CliResult<(RunFile, Daemon)> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(run) = RunFile::read(data) {
            return Ok((run, Daemon::in_folder(data)?));
        }
        if child.has_ended() || Instant::now() > deadline {
            let error = CliError::failed("the appliance did not start");
            return Err(error.with_more(&child.last_words()));
        }
        stop.sleep_until(Instant::now() + Duration::from_millis(20))?;
    }
}

fn wait_engine(child: &Child, daemon: &Daemon, stop: &Stop) -> CliResult<EngineView> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let engine: EngineView = daemon.get("/v1/engine", &[])?;
        if engine.attached {
            return Ok(engine);
        }
        if Instant::now() > deadline {
            let error = CliError::failed("the appliance has no media engine");
            return Err(error.with_more(&child.last_words()));
        }
        stop.sleep_until(Instant::now() + Duration::from_millis(20))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn its_configuration_is_valid_and_otherwise_default() {
        let sip: SocketAddr = "127.0.0.1:15060".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tandem.toml");
        std::fs::write(&file, configuration(sip)).unwrap();
        let mut config = Config::load(&file).unwrap();
        assert_eq!(config.sip.listen, [sip]);
        config.sip.listen = Config::default().sip.listen;
        config.http.listen = Config::default().http.listen;
        config.engine.linger_s = Config::default().engine.linger_s;
        config.call.drain_s = Config::default().call.drain_s;
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_port_that_is_found_is_free() {
        let address = free_sip_address().unwrap();
        assert!(UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok());
    }
}
