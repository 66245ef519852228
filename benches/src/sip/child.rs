//! Child processes that end with their owner.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child, ended by its id when dropped; both its outputs go to a file.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    name: String,
}

impl Process {
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("{name}: {error}");
        let file = File::create(log).map_err(told)?;
        let copy = file.try_clone().map_err(told)?;
        let child = command.stdin(Stdio::null()).stdout(copy).stderr(file).spawn().map_err(told)?;
        Ok(Self { child, name: name.to_owned() })
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<(), String> {
        wait_for(limit, || (!self.is_running()).then_some(()))
            .ok_or_else(|| format!("{} did not end within {} s", self.name, limit.as_secs()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        if self.wait(Duration::from_secs(5)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks `probe` every 20 ms until it gives something or `limit` is over.
pub(super) fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
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
