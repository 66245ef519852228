//! A phone of the demo: what both kinds have in common.

use super::baresip::Control;
use super::child::Child;
use super::{baresip, softphone};
use crate::cli::{CliError, CliResult};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// Which program the phones are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's baresip.
    Baresip,
    /// Tandem's own.
    Ua,
}

impl Kind {
    /// What to tell about it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Baresip => "baresip at both ends",
            Self::Ua => "Tandem's own softphone at both ends",
        }
    }
}

/// What a phone is to do.
#[derive(Clone)]
pub struct Plan {
    /// User name.
    pub user: &'static str,
    /// Password.
    pub password: String,
    /// Where the appliance listens.
    pub server: SocketAddr,
    /// Tone that it plays, Hz.
    pub plays_hz: u32,
    /// Tone that it should hear, Hz.
    pub hears_hz: u32,
    /// Whom it calls; it answers if nobody.
    pub calls: Option<&'static str>,
    /// Folder for its configuration, log and recording.
    pub folder: PathBuf,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the password.
        f.debug_struct("Plan")
            .field("user", &self.user)
            .field("server", &self.server)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// A running phone.
#[derive(Debug)]
pub struct Phone {
    plan: Plan,
    child: Child,
    control: Option<Control>,
}

/// What a phone heard, out of its recording.
#[derive(Debug)]
pub struct Heard {
    /// Who.
    pub user: &'static str,
    /// Tone that the other phone played, Hz.
    pub expected_hz: u32,
    /// What was found in the recording, or why nothing was.
    pub found: Result<Tone, String>,
}

/// The tone in a recording, as `tandem-ua listen --json` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Tone {
    /// Frequency, Hz.
    pub tone_hz: Option<f64>,
    /// Level, dBov.
    pub tone_level_dbov: Option<f64>,
    /// Share of the recording that contains it, 0 to 1.
    pub tone_share: f64,
    /// Length of the recording, s.
    pub seconds: f64,
}

impl Phone {
    /// Starts it; it registers by itself.
    ///
    /// # Errors
    /// [`CliError`] if its files cannot be written or it does not start.
    pub fn start(kind: Kind, plan: Plan) -> CliResult<Self> {
        crate::cli::runfile::make_private_folder(&plan.folder).map_err(|error| {
            CliError::failed(format!("cannot make {}: {error}", plan.folder.display()))
        })?;
        let (child, control) = match kind {
            Kind::Baresip => {
                let (child, control) = baresip::start(&plan)?;
                (child, Some(control))
            }
            Kind::Ua => (softphone::start(&plan)?, None),
        };
        Ok(Self { plan, child, control })
    }

    /// Places the call. Our own softphone has it in its plan and does so once registered.
    ///
    /// # Errors
    /// [`CliError`] if the phone does not listen.
    pub fn dial(&mut self) -> CliResult {
        match (&mut self.control, self.plan.calls) {
            (Some(control), Some(callee)) => {
                control.command("dial", &format!("sip:{callee}@{}", self.plan.server))
            }
            _ => Ok(()),
        }
    }

    /// Ends the call; for our own softphone that is how it ends altogether.
    ///
    /// # Errors
    /// [`CliError`] if the phone does not listen.
    pub fn hang_up(&mut self) -> CliResult {
        match &mut self.control {
            Some(control) => control.command("hangup", ""),
            None => {
                self.child.ask_to_end();
                Ok(())
            }
        }
    }

    /// Adds what the phone logged last to an error.
    pub(super) fn explain(&self, error: CliError) -> CliError {
        error.with_more(&self.child.last_words())
    }

    /// Ends the phone and listens to its recording.
    #[must_use]
    pub fn end(mut self) -> Heard {
        self.child.end();
        let recording = match self.control {
            Some(_) => baresip::recording(&self.plan.folder),
            None => Some(softphone::recording(&self.plan.folder)),
        };
        let found = match recording {
            Some(file) => listen(&file),
            None => Err("it recorded nothing".to_owned()),
        };
        Heard { user: self.plan.user, expected_hz: self.plan.hears_hz, found }
    }
}

/// Analyses a recording with our softphone's own means.
fn listen(file: &std::path::Path) -> Result<Tone, String> {
    let program = softphone::program();
    let output = Command::new(&program)
        .args(["--json", "listen"])
        .arg(file)
        .output()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{} is no recording", file.display()))
}

impl Heard {
    /// Whether it is what the other phone played: the right tone for most of the time.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let Ok(tone) = &self.found else { return false };
        let near = tone.tone_hz.is_some_and(|hz| (hz - f64::from(self.expected_hz)).abs() < 5.0);
        near && tone.tone_share >= 0.5
    }

    /// One line for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { user, expected_hz, found } = self;
        match found {
            Err(why) => format!("{user} heard nothing: {why}"),
            Ok(Tone { tone_hz: Some(hz), tone_level_dbov, tone_share, seconds }) => {
                let level = tone_level_dbov.unwrap_or_default();
                let percent = tone_share * 100.0;
                format!(
                    "{user} heard {hz} Hz at {level} dBov in {percent:.0} % of {seconds} s; {expected_hz} Hz was played"
                )
            }
            Ok(tone) => {
                format!("{user} heard no tone in {} s; {expected_hz} Hz was played", tone.seconds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(tone_hz: Option<f64>, tone_share: f64) -> Heard {
        let tone = Tone { tone_hz, tone_level_dbov: Some(-15.0), tone_share, seconds: 10.0 };
        Heard { user: "bob", expected_hz: 440, found: Ok(tone) }
    }

    #[test]
    fn only_the_right_tone_counts() {
        assert!(heard(Some(440.2), 0.98).is_right());
        assert!(!heard(Some(1000.0), 0.98).is_right());
        assert!(!heard(Some(440.0), 0.2).is_right());
        assert!(!heard(None, 0.0).is_right());
        assert!(heard(None, 0.0).sentence().contains("no tone"));
    }
}
