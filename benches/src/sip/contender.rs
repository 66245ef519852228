//! The contenders: Tandem, and Kamailio with rtpengine, each with its committed configuration.

use super::child::{Process, wait_for};
use super::hosts::{Host, SERVER};
use super::usage::Split;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Password of every user.
pub(super) const PASSWORD: &str = "bench";

const TANDEM: &str = include_str!("../../sip/tandem.toml");
const KAMAILIO: &str = include_str!("../../sip/kamailio.cfg");
const RTPENGINE: &str = include_str!("../../sip/rtpengine.conf");

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    Tandem,
    Kamailio,
}

/// Whether media is allocated, or passes the server by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Relayed,
    Bypassed,
}

/// A contender that runs on a host; it ends when dropped.
#[derive(Debug)]
pub(super) struct Running {
    // In this order they end.
    processes: Vec<Process>,
    host: Host,
    folder: PathBuf,
}

impl Contender {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tandem => "tandem",
            Self::Kamailio => "kamailio",
        }
    }

    /// Starts it with `users` users `u0`, `u1`, … and its files in `folder`.
    pub(super) fn start(
        self,
        host: &Host,
        folder: &Path,
        media: Media,
        users: usize,
    ) -> Result<Running, String> {
        let mut running =
            Running { processes: Vec::new(), host: host.clone(), folder: folder.to_owned() };
        match self {
            Self::Tandem => running.tandem(media, users)?,
            Self::Kamailio => running.kamailio(media)?,
        }
        Ok(running)
    }
}

impl Running {
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn tandem(&mut self, media: Media, users: usize) -> Result<(), String> {
        let relay = if media == Media::Relayed { "always" } else { "never" };
        let config = self.write("tandem.toml", &TANDEM.replace("RELAY", relay))?;
        let data = self.folder.join("data");
        let rows: String = (0..users).map(|user| format!("u{user},{PASSWORD}\n")).collect();
        let list = self.write("users.csv", &format!("username,password\n{rows}"))?;
        let (config, data) = (text(&config), text(&data));
        let program = sibling("tandem")?;
        let import = ["user", "import", &text(&list), "--config", &config, "--data", &data];
        self.host.run(&program, &import)?;
        let mut command = self.host.command(&program);
        command.args(["run", "--config", &config, "--data", &data]);
        let log = self.folder.join("tandem.log");
        self.processes.push(Process::start("tandem", &mut command, &log)?);
        let ready = || self.host.run(&program, &["calls", "--data", &data]).is_ok();
        wait_for(Duration::from_secs(20), || ready().then_some(()))
            .ok_or_else(|| format!("tandem is not ready:\n{}", tail(&log)))
    }

    fn kamailio(&mut self, media: Media) -> Result<(), String> {
        let config = self.write("kamailio.cfg", KAMAILIO)?;
        let mut command = self.host.command("kamailio");
        command.args(["-DD", "-E", "-m", "1024", "-M", "16", "-f", &text(&config)]);
        command.args(["-Y", &text(&self.folder), "-w", &text(&self.folder)]);
        if media == Media::Relayed {
            self.rtpengine()?;
            command.args(["-A", "WITH_RTPENGINE"]);
        }
        let log = self.folder.join("kamailio.log");
        self.processes.push(Process::start("kamailio", &mut command, &log)?);
        self.wait_for_port(&format!("{SERVER}:5060"), "kamailio", &log)
    }

    fn rtpengine(&mut self) -> Result<(), String> {
        let config = self.write("rtpengine.conf", RTPENGINE)?;
        let mut command = self.host.command("rtpengine");
        command.args(["--config-file", &text(&config), "--foreground", "--log-stderr"]);
        let log = self.folder.join("rtpengine.log");
        self.processes.push(Process::start("rtpengine", &mut command, &log)?);
        self.wait_for_port("127.0.0.1:2223", "rtpengine", &log)
    }

    /// Waits until somebody listens on a UDP port of the host.
    fn wait_for_port(&self, address: &str, name: &str, log: &Path) -> Result<(), String> {
        let listens = || {
            let sockets = self.host.run("ss", &["-Hlun"]).unwrap_or_default();
            sockets.split_whitespace().any(|word| word == address).then_some(())
        };
        wait_for(Duration::from_secs(20), listens)
            .ok_or_else(|| format!("{name} is not ready:\n{}", tail(log)))
    }

    /// What all its processes have used.
    pub(super) fn usage(&self) -> Split {
        Split::of(&self.host.pids(), |name| matches!(name, "tandem-engine" | "rtpengine"))
    }

    /// The end of its logs, for an error message.
    pub(super) fn logs(&self) -> String {
        let logs = ["tandem.log", "kamailio.log", "rtpengine.log"].map(|it| self.folder.join(it));
        logs.iter().filter(|log| log.exists()).map(|log| tail(log)).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Signalling first, so that it does not complain of the end of media.
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
        // An engine that lingers would be taken for the next contender's.
        wait_for(Duration::from_secs(5), || self.host.pids().is_empty().then_some(()));
        for pid in self.host.pids() {
            let _ = self.host.run("kill", &["-KILL", &pid.to_string()]);
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A program of Tandem beside this one.
fn sibling(name: &str) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name(name);
    if path.is_file() {
        Ok(text(&path))
    } else {
        Err(format!("{} is not built: cargo build --release -p {name}", path.display()))
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().map(|line| format!("{line}\n")).collect()
}
