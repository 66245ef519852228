//! Child processes that never outlive their test.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A child that is ended, by its own id, when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`, both outputs into the file `log`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        Ok(Self { child, name: name.into() })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input.
    pub fn stdin(&mut self) -> Option<&mut std::process::ChildStdin> {
        self.child.stdin.as_mut()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// A sentence if it did not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let status = wait_for(limit, || self.child.try_wait().ok().flatten());
        status.ok_or_else(|| format!("{} did not end within {limit:?}", self.name))
    }

    /// Sends it a signal by name (`TERM`, `KILL`, …).
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        self.signal("TERM");
        if self.wait(Duration::from_secs(3)).is_err() {
            self.signal("KILL");
            if let Err(error) = self.child.wait() {
                eprintln!("{}: {error}", self.name);
            }
        }
    }
}

/// Sends a signal by name to one process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    if !sent.is_ok_and(|status| status.success()) {
        eprintln!("could not send {name} to {pid}");
    }
}

/// Asks `probe` every 20 ms until it gives something or `limit` is over.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The release binary `name`: from `TANDEM_BIN_DIR`, else beside the test's own build.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    if let Some(dir) = std::env::var_os("TANDEM_BIN_DIR") {
        return PathBuf::from(dir).join(name);
    }
    let mut dir = std::env::current_exe().unwrap_or_default();
    // target/PROFILE/deps/test -> target/release
    dir.pop();
    dir.pop();
    dir.pop();
    dir.join("release").join(name)
}
