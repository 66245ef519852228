//! Tandem's own softphone as a phone of the demo.

use super::child::Child;
use super::phone::Plan;
use crate::cli::{CliError, CliResult};
use std::path::{Path, PathBuf};

/// Distance of RTCP reports, ms: a short call has a round trip, too.
const RTCP_INTERVAL_MS: u32 = 1_000;

/// Where the program is.
pub(super) fn program() -> PathBuf {
    crate::cli::find_program("tandem-ua")
}

/// Where it records to.
pub(super) fn recording(folder: &Path) -> PathBuf {
    folder.join("heard.wav")
}

/// Starts it.
pub(super) fn start(plan: &Plan) -> CliResult<Child> {
    let password = plan.folder.join("password");
    std::fs::write(&password, &plan.password).map_err(|error| {
        CliError::failed(format!("cannot write {}: {error}", password.display()))
    })?;
    let arguments = arguments(plan, &password);
    Child::start(plan.user, &program(), arguments, plan.folder.join("log"))
}

fn arguments(plan: &Plan, password: &Path) -> Vec<String> {
    let mut words: Vec<String> = vec![
        "--user".into(),
        plan.user.into(),
        "--password-file".into(),
        password.display().to_string(),
        "--server".into(),
        plan.server.to_string(),
        "--rtcp-interval-ms".into(),
        RTCP_INTERVAL_MS.to_string(),
    ];
    match plan.calls {
        Some(callee) => words.extend(["call".into(), callee.into(), "--register".into()]),
        None => words.push("answer".into()),
    }
    words.extend([
        "--tone".into(),
        plan.plays_hz.to_string(),
        "--record".into(),
        recording(&plan.folder).display().to_string(),
    ]);
    words
}
