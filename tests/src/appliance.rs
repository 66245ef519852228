//! A running `tandem` on a host of the test, and real SIP clients around it.

use crate::netns::{Host, Net};
use crate::process::{Process, binary, wait_for};
use crate::stage::CLIENT_PORT;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The appliance on the server of a [`Net`], SIP on the server's address towards client 1.
#[derive(Debug)]
pub struct Appliance {
    process: Process,
    host: Host,
    folder: PathBuf,
}

/// Password of every user of the tests.
pub const PASSWORD: &str = "s3cret-of-tests";

impl Appliance {
    /// The configuration of the tests: all on the server's first address, a short linger so that
    /// no engine outlives a test for long, MD5 alone since sipp gives up at other challenges, and
    /// `extra` TOML behind it.
    #[must_use]
    pub fn config(extra: &str) -> String {
        Self::config_on(&[&format!("{}:5060", Net::server_ip(1))], extra)
    }

    /// The same on other addresses with ports.
    #[must_use]
    pub fn config_on(listen: &[&str], extra: &str) -> String {
        format!(
            "[sip]\nlisten = {listen:?}\n[engine]\nlinger_s = 10\n\
             [registrar]\nalgorithms = [\"MD5\"]\n{extra}"
        )
    }

    /// Starts it with its data in `folder` and waits until it is ready.
    ///
    /// # Errors
    /// What it logged, if it does not get ready.
    pub fn start(host: &Host, folder: &Path, config: &str) -> Result<Self, String> {
        let file = folder.join("tandem.toml");
        std::fs::write(&file, config).map_err(|error| error.to_string())?;
        let log = folder.join("tandem.log");
        let run_json = folder.join("data/run.json");
        // The file of a predecessor that was killed would look like readiness.
        let _ = std::fs::remove_file(&run_json);
        let mut command = host.command(binary("tandem"));
        command.arg("run").arg("--config").arg(&file).arg("--data").arg(folder.join("data"));
        let process = Process::start("tandem", &mut command, &log).map_err(|e| e.to_string())?;
        let appliance = Self { process, host: host.clone(), folder: folder.into() };
        let ready = || (run_json.exists() && appliance.json(&["calls"]).is_ok()).then_some(());
        wait_for(Duration::from_secs(20), ready).ok_or_else(|| {
            format!("not ready:\n{}", std::fs::read_to_string(&log).unwrap_or_default())
        })?;
        Ok(appliance)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("tandem.log")).unwrap_or_default()
    }

    /// Runs `tandem ARGUMENTS --data FOLDER` beside it and gives its standard output.
    ///
    /// # Errors
    /// What the command said, if it failed.
    pub fn tandem(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self
            .host
            .command(binary("tandem"))
            .args(arguments)
            .arg("--data")
            .arg(self.folder.join("data"))
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same with `--json`.
    ///
    /// # Errors
    /// What the command said, or why it is not JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let text = self.tandem(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Adds users with [`PASSWORD`] and waits until the daemon knows them.
    ///
    /// # Errors
    /// What the command said.
    pub fn add_users(&self, names: &[&str]) -> Result<(), String> {
        for name in names {
            self.tandem(&["user", "add", name, "--password", PASSWORD])?;
        }
        std::thread::sleep(Duration::from_millis(800));
        Ok(())
    }

    /// Waits for `count` call records and gives them, the oldest first.
    ///
    /// # Errors
    /// A sentence when they do not come.
    pub fn records(&self, count: usize) -> Result<Vec<Value>, String> {
        let found = || {
            let value = self.json(&["records"]).ok()?;
            let mut list = listing(&value, "records")?;
            list.sort_by_key(|record| record["started_at"].as_str().map(str::to_owned));
            (list.len() >= count).then_some(list)
        };
        wait_for(Duration::from_secs(10), found).ok_or_else(|| {
            format!("no {count} records: {:?}\n{}", self.json(&["records"]), self.log())
        })
    }
}

/// The list in a listing: an array itself, or under `key`.
#[must_use]
pub fn listing(value: &Value, key: &str) -> Option<Vec<Value>> {
    value.as_array().or_else(|| value.get(key)?.as_array()).cloned()
}

/// What a run of sipp is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script<'a> {
    /// Client that it runs on, from 1.
    pub client: usize,
    /// Scenario of `tests/scenarios`.
    pub scenario: &'a str,
    /// User that it is.
    pub me: &'a str,
    /// User that it asks for.
    pub to: &'a str,
    /// Address with port that it talks to; `None` for the appliance on the server.
    pub server: Option<&'a str>,
    /// Whether it reaches the appliance over IPv6, at the server's address towards this client.
    pub ipv6: bool,
    /// What is replaced in the scenario, everywhere: (old, new).
    pub edits: &'a [(&'a str, &'a str)],
    /// Further options of sipp.
    pub options: &'a [&'a str],
}

impl Script<'_> {
    // A stale edit would make a test of something else.
    fn text(&self) -> Result<String, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut text = std::fs::read_to_string(source.join(format!("{}.xml", self.scenario)))
            .map_err(|error| format!("{}: {error}", self.scenario))?;
        for (old, new) in self.edits {
            if !text.contains(old) {
                return Err(format!("{} has no {old:?} to replace", self.scenario));
            }
            text = text.replace(old, new);
        }
        if self.ipv6 {
            // SDP has IPv6 addresses without brackets.
            text = text.replace("IN IP[local_ip_type] [local_ip]", "IN IP6 [media_ip]");
        }
        Ok(text)
    }
}

/// One run of a sipp scenario of `tests/scenarios`.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    log: PathBuf,
    name: String,
}

impl Sipp {
    /// Starts `script` with its files in `folder`.
    ///
    /// # Errors
    /// What the system says, or why the scenario cannot be made.
    pub fn start(net: &Net, folder: &Path, script: &Script<'_>) -> Result<Self, String> {
        let Script { client, scenario, me, to, server, ipv6, options, .. } = *script;
        let file = folder.join(format!("{scenario}-{me}.xml"));
        std::fs::write(&file, script.text()?).map_err(|error| format!("{scenario}: {error}"))?;
        let log = folder.join(format!("{scenario}-{me}.log"));
        let errors = folder.join(format!("{scenario}-{me}.errors"));
        let (ours, own) = if ipv6 {
            (format!("[{}]:5060", Net::server_ip6(client)), Net::client_ip6(client))
        } else {
            (format!("{}:5060", Net::server_ip(1)), Net::client_ip(client))
        };
        let mut command: Command = net.client(client).command("sipp");
        command.current_dir(folder).arg(server.unwrap_or(&ours));
        command.args(["-nostdin", "-m", "1", "-timeout", "60", "-timeout_error"]);
        command.args(["-i", &own, "-p", &CLIENT_PORT.to_string()]);
        command.args(["-s", to, "-key", "me", me, "-au", me, "-ap", PASSWORD]);
        command.args(["-trace_err", "-error_file"]).arg(&errors);
        command.arg("-sf").arg(&file).args(options);
        let process = Process::start("sipp", &mut command, &log).map_err(|e| e.to_string())?;
        Ok(Self { process, log: errors, name: scenario.into() })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What sipp complained about, if the scenario did not pass.
    pub fn finish(mut self) -> Result<(), String> {
        let status = self.process.wait(Duration::from_secs(65))?;
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(format!("{}: {status}\n{said}", self.name))
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
