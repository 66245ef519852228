//! Child processes that never outlive the demo: ended in order when dropped, and by the kernel if
//! the demo is killed.

use crate::cli::{CliError, CliResult};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a child may take to end after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(8);
/// Lines of a log that are shown when something went wrong.
const SHOWN_LINES: usize = 12;

/// A running program whose output goes to a log file.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
    asked: bool,
}

/// A command that the kernel ends when its parent is gone, where `setpriv` of util-linux can
/// arrange that.
pub(super) fn bound_to_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if setpriv.is_file() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        return command;
    }
    Command::new(program)
}

impl Child {
    /// Starts a program in a process group of its own, so that Ctrl-C reaches the demo alone.
    pub(super) fn start(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: PathBuf,
    ) -> CliResult<Self> {
        let file = |path: &Path| {
            File::create(path).map_err(|error| {
                CliError::failed(format!("cannot write {}: {error}", path.display()))
            })
        };
        let output = file(&log)?;
        let errors = output.try_clone().map_err(CliError::from)?;
        let process = bound_to_us(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                CliError::failed(format!("cannot start {}: {error}", program.display()))
            })?;
        Ok(Self { name: name.to_owned(), process, log, asked: false })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Asks it to end, once: the second signal would end our programs in disorder.
    pub(super) fn ask_to_end(&mut self) {
        if !std::mem::replace(&mut self.asked, true) {
            terminate(self.process.id());
        }
    }

    /// Asks it to end and waits for that; kills it if it does not.
    pub(super) fn end(&mut self) {
        if self.has_ended() {
            return;
        }
        self.ask_to_end();
        if self.wait(END_WITHIN) {
            return;
        }
        super::tell(&format!("{} did not end in time and was killed", self.name));
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits for its end; false if it still runs after `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// The last lines of its log, indented.
    pub(super) fn last_words(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        shown.iter().map(|line| format!("\n  {}: {line}", self.name)).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends SIGTERM; a process that is gone needs none.
pub(super) fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(script: &str, folder: &Path) -> Child {
        Child::start("sh", Path::new("/bin/sh"), ["-c", script], folder.join("log")).unwrap()
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let running = child("exec sleep 60", folder.path());
        let pid = running.process.id();
        let process = PathBuf::from(format!("/proc/{pid}"));
        assert!(process.exists());
        drop(running);
        assert!(!process.exists());
    }

    #[test]
    fn last_words_are_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = child("for i in $(seq 20); do echo line $i >&2; done", folder.path());
        assert!(child.wait(Duration::from_secs(10)));
        let words = child.last_words();
        assert!(words.ends_with("sh: line 20") && !words.contains("line 8\n"), "{words}");
    }
}
