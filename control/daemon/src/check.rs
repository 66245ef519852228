//! `tandem check`: what this machine can run, and what to change.
//!
//! | file | what it looks at |
//! | --- | --- |
//! | [`ports`] | which kind of media port can run |
//! | [`system`] | limits of files, buffers, cores, clock, data folder |
//! | [`network`] | SIP, HTTP and media ports |
//! | [`users`] | whether users can log in |

pub mod network;
pub mod ports;
pub mod system;
pub mod users;

use crate::cli::{CliError, CliResult, DataArgs, say, say_json, table};
use crate::config::Config;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `tandem check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if nothing prevents `tandem run`, 1 if something does, 2 if the configuration is wrong."
)]
pub struct CheckArgs {
    #[command(flatten)]
    folder: DataArgs,
    /// Configuration file to check for.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it should be.
    Ok,
    /// Something that is not there and is not needed.
    Absent,
    /// It runs, with less than it could.
    Warning,
    /// It prevents running.
    Error,
}

impl Standing {
    const fn key(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is: `port.io_uring`, `files`, `sip`.
    pub name: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
    /// What to do; `None` if nothing.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, standing: Standing::Ok, found: found.into(), remedy: None }
    }

    fn absent(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, standing: Standing::Absent, found: found.into(), remedy: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name, standing: Standing::Warning, found, remedy }
    }

    fn error(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name, standing: Standing::Error, found, remedy }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Whether nothing prevents running.
    ready: bool,
    findings: &'a [Finding],
}

/// Looks at everything.
#[must_use]
pub fn look(config: &Config, data: &std::path::Path) -> Vec<Finding> {
    let mut findings = ports::look(config);
    findings.extend(system::look(config, data));
    findings.extend(network::look(config, data));
    findings.push(users::look(config, data));
    findings
}

/// What would let `tandem run` start and never carry media, each with its remedy: it is told before
/// anything is opened or written.
#[must_use]
pub fn obstacles(config: &Config, data: &std::path::Path) -> Vec<String> {
    let looked_at = [network::media_addresses(config), vec![system::engine(config, data)]];
    let remedied = |finding: Finding| Some(format!("{}: {}", finding.found, finding.remedy?));
    looked_at
        .into_iter()
        .flatten()
        .filter(|finding| finding.standing == Standing::Error)
        .filter_map(remedied)
        .collect()
}

/// Runs `tandem check`.
///
/// # Errors
/// [`CliError`] if something prevents running.
pub fn run(args: &CheckArgs) -> CliResult {
    let config = match &args.config {
        Some(path) => Config::load(path).map_err(CliError::usage)?,
        None => Config::default(),
    };
    let findings = look(&config, &args.folder.data);
    let errors = findings.iter().filter(|finding| finding.standing == Standing::Error).count();
    if args.json {
        say_json(&Report { ready: errors == 0, findings: &findings })?;
    } else {
        let mut listing = table::new(&["what", "stands", "found"]);
        for finding in &findings {
            listing.add_row([finding.name, finding.standing.key(), &finding.found]);
        }
        say(table::text(&listing))?;
        let remedies: Vec<String> = findings
            .iter()
            .filter_map(|finding| Some((finding.name, finding.remedy.as_ref()?)))
            .map(|(name, remedy)| format!("  {name}: {remedy}"))
            .collect();
        if !remedies.is_empty() {
            say(format!("\nWhat to change:\n{}", remedies.join("\n")))?;
        }
        say(match errors {
            0 => "\nReady: `tandem run` can start here.".to_owned(),
            _ => format!("\nNot ready: {errors} of these prevent running."),
        })?;
    }
    if errors > 0 { Err(CliError::silent(1)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// A configuration that fits beside whatever else runs on this machine.
    pub(super) fn free_config() -> Config {
        let mut config = Config::default();
        config.sip.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        config
    }

    #[test]
    fn whatever_is_wrong_has_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let findings = look(&free_config(), folder.path());
        for finding in &findings {
            let needs = matches!(finding.standing, Standing::Warning | Standing::Error);
            assert_eq!(finding.remedy.is_some(), needs, "{finding:?}");
        }
        let names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
        for name in [
            "port.io_uring",
            "port.mmsg",
            "port.af_xdp",
            "port.dpdk",
            "files",
            "cores",
            "data",
            "sip",
            "http",
            "media.ports",
            "users",
        ] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
    }

    #[test]
    fn a_busy_sip_port_prevents_running() {
        let folder = tempfile::tempdir().unwrap();
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut config = free_config();
        config.sip.listen = vec![taken.local_addr().unwrap()];
        let findings = look(&config, folder.path());
        let sip = findings.iter().find(|finding| finding.name == "sip").unwrap();
        assert_eq!(sip.standing, Standing::Error);
        assert!(sip.remedy.as_ref().unwrap().contains("sip.listen"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_prevents_running() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let findings = look(&free_config(), &file.join("data"));
        let data = findings.iter().find(|finding| finding.name == "data").unwrap();
        assert_eq!(data.standing, Standing::Error);
    }
}
