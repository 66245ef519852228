//! The engine as a child process: where its program is, how it is started, what it said last.

use super::LinkError;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tandem_contract::limits;

/// Octets of the log that are searched for the last line.
const TAIL: u64 = 4_096;
/// Length from which the log is put aside before an engine is started, octets.
const LOG_LIMIT: u64 = 16 << 20;
const PROGRAM: &str = "tandem-engine";

/// What makes io_uring usable.
pub const URING_REMEDY: &str = "allow io_uring (sysctl kernel.io_uring_disabled=0, and the \
    container's seccomp profile) and run Linux 6.0 or newer";

/// How an engine on this machine is found and started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The program; without it `tandem-engine` in the folder of the running program.
    pub program: Option<PathBuf>,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// File that its standard error is appended to; without it, it shares ours.
    pub log: Option<PathBuf>,
    /// Workers, one core each.
    pub workers: u16,
    /// Addresses to bind media ports to, at most one per IP version.
    pub addresses: Vec<IpAddr>,
    /// First and last media port.
    pub ports: (u16, u16),
    /// Endpoints to keep bound ahead, per worker.
    pub endpoints_ahead: u32,
    /// Further arguments for the program.
    pub arguments: Vec<OsString>,
}

impl EngineConfig {
    /// An engine of one worker on a socket and addresses, defaults otherwise.
    #[must_use]
    pub fn new(socket: PathBuf, addresses: Vec<IpAddr>) -> Self {
        Self {
            program: None,
            socket,
            log: None,
            workers: 1,
            addresses,
            ports: limits::DEFAULT_PORT_RANGE,
            endpoints_ahead: limits::DEFAULT_ENDPOINTS_AHEAD,
            arguments: Vec::new(),
        }
    }

    /// Whether the engine uses io_uring if it can.
    #[must_use]
    pub fn prefers_uring(&self) -> bool {
        self.arguments.windows(2).any(|it| it[0] == "--port-kind" && it[1] == "auto")
    }

    fn program(&self) -> PathBuf {
        match (&self.program, std::env::current_exe()) {
            (Some(program), _) => program.clone(),
            (None, Ok(own)) => own.with_file_name(PROGRAM),
            (None, Err(_)) => PROGRAM.into(),
        }
    }

    fn arguments(&self, endpoints_ahead: u32) -> Vec<OsString> {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let (first, last) = self.ports;
        let mut arguments: Vec<OsString> = vec!["--socket".into(), self.socket.clone().into()];
        for (name, value) in [
            ("--workers", self.workers.to_string()),
            ("--ports", format!("{first}-{last}")),
            ("--address", addresses.join(",")),
            ("--endpoints-ahead", endpoints_ahead.to_string()),
        ] {
            arguments.push(name.into());
            arguments.push(value.into());
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

/// A started engine. Dropping it leaves the process alone: it outlives control.
#[derive(Debug)]
pub struct EngineProcess {
    child: Child,
    log: Option<PathBuf>,
    /// Where the log ended when this engine was started.
    log_start: u64,
    /// Whether control was attached to it.
    served: bool,
}

impl EngineProcess {
    /// Starts the program in a process group of its own, so that a Ctrl-C for control does not
    /// end the media.
    ///
    /// # Errors
    /// [`LinkError::CannotStart`] if it is not there or may not be executed.
    pub fn start(config: &EngineConfig, endpoints_ahead: u32) -> Result<Self, LinkError> {
        let program = config.program();
        let cannot = |error: std::io::Error| LinkError::CannotStart {
            path: program.display().to_string(),
            error: error.to_string(),
        };
        let (stderr, log_start) = match &config.log {
            Some(path) => {
                put_aside(path, LOG_LIMIT);
                let file =
                    OpenOptions::new().create(true).append(true).open(path).map_err(cannot)?;
                let length = file.metadata().map_err(cannot)?.len();
                (Stdio::from(file), length)
            }
            None => (Stdio::inherit(), 0),
        };
        let child = Command::new(&program)
            .args(config.arguments(endpoints_ahead))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        Ok(Self { child, log: config.log.clone(), log_start, served: false })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Control is attached to it.
    pub fn set_served(&mut self) {
        self.served = true;
    }

    /// Whether control was attached to it: if nobody listens any more, it is on its way out.
    #[must_use]
    pub const fn has_served(&self) -> bool {
        self.served
    }

    /// Ends it whatever it is doing, so that its ports are free for the next one.
    pub fn kill(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::warn!(%error, pid = self.pid(), "cannot kill the engine");
        }
    }

    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// The last line that it wrote to its log file, empty without one.
    #[must_use]
    pub fn last_line(&self) -> String {
        let read = |path: &Path| -> std::io::Result<String> {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL).max(self.log_start)))?;
            let mut tail = Vec::new();
            file.take(TAIL).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        let text = self.log.as_deref().and_then(|path| read(path).ok()).unwrap_or_default();
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    }
}

/// Renames a log longer than the limit to `….old`, in place of an earlier one.
fn put_aside(log: &Path, limit: u64) {
    if log.metadata().is_ok_and(|it| it.len() > limit) {
        let mut old = log.as_os_str().to_owned();
        old.push(".old");
        if let Err(error) = std::fs::rename(log, &old) {
            tracing::warn!(%error, "the engine's log cannot be put aside and grows on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_long_log_is_put_aside_and_the_one_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (log, old) = (folder.path().join("engine.log"), folder.path().join("engine.log.old"));
        put_aside(&log, 4);
        fs::write(&log, "1234").unwrap();
        put_aside(&log, 4);
        assert!(log.exists() && !old.exists());
        for text in ["first", "second"] {
            fs::write(&log, text).unwrap();
            put_aside(&log, 4);
            assert!(!log.exists());
            assert_eq!(fs::read_to_string(&old).unwrap(), text);
        }
    }

    #[test]
    fn an_engine_is_not_started_with_a_long_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("engine.log");
        let file = File::create(&log).unwrap();
        file.set_len(LOG_LIMIT + 1).unwrap();
        let config = EngineConfig {
            program: Some("/bin/sh".into()),
            log: Some(log.clone()),
            ..EngineConfig::new("s".into(), Vec::new())
        };
        let mut engine = EngineProcess::start(&config, 1).unwrap();
        assert_eq!(engine.log_start, 0);
        assert!(log.metadata().unwrap().len() < LOG_LIMIT);
        engine.kill();
        while engine.ended().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
