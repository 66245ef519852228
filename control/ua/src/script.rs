//! Runs actions one after the other, and collects what they tell.

use crate::args::{Action, CallArgs, Cli, Options, RegisterArgs};
use crate::audio;
use crate::call::answer::answer;
use crate::call::place::place;
use crate::call::{Outcome, ms};
use crate::error::UaError;
use crate::phone::Phone;
use crate::register::{self, Registration};
use crate::report::{OptionsReport, Report};
use crate::wav;
use clap::Parser;
use std::io::Read;
use std::path::Path;
use tandem_signalling::method::Method;
use tandem_signalling::stack::NewRequest;

/// Runs actions on one phone.
#[derive(Debug)]
pub struct Runner {
    phone: Phone,
    registration: Option<Registration>,
    keep: bool,
    report: Report,
}

/// Reads a script: one action a line, in the grammar of the command line.
///
/// # Errors
/// A line is not understood; its number is told.
pub fn parse(text: &str) -> Result<Vec<Action>, UaError> {
    let mut actions = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = std::iter::once("tandem-ua").chain(line.split_whitespace());
        let wrong = |detail: String| UaError::Script { line: index + 1, detail };
        let cli = Cli::try_parse_from(words).map_err(|e| {
            let text = e.to_string();
            wrong(text.lines().next().unwrap_or("not understood").into())
        })?;
        if matches!(cli.action, Action::Script { .. } | Action::Listen { .. }) {
            return Err(wrong("this action cannot be part of a script".into()));
        }
        actions.push(cli.action);
    }
    Ok(actions)
}

/// Reads a script from a file, or standard input for `-`.
///
/// # Errors
/// It cannot be read or understood.
pub fn load(path: &Path) -> Result<Vec<Action>, UaError> {
    let failed = |e: std::io::Error| UaError::File { path: path.into(), detail: e.to_string() };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    parse(&text)
}

/// Analyses a WAV file.
///
/// # Errors
/// It cannot be read.
pub fn listen(file: &Path) -> Result<audio::AudioReport, UaError> {
    Ok(audio::analyse(&wav::load(file)?))
}

/// Target of the first call or OPTIONS: it decides the local address when nothing else does.
fn first_target(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::Call(call) => Some(call.target.as_str()),
        Action::Options { target } => target.as_deref(),
        _ => None,
    })
}

impl Runner {
    /// Starts a phone for these actions.
    ///
    /// # Errors
    /// The server's name is unknown, or the local address cannot be bound.
    pub async fn start(options: Options, actions: &[Action]) -> Result<Self, UaError> {
        let phone = Phone::start(options, first_target(actions)).await?;
        Ok(Self { phone, registration: None, keep: false, report: Report::default() })
    }

    /// The phone.
    #[must_use]
    pub fn phone(&self) -> &Phone {
        &self.phone
    }

    /// Runs the actions up to the first that fails, unregisters, and reports.
    pub async fn run(mut self, actions: &[Action]) -> (Report, Option<UaError>) {
        let mut error = None;
        for action in actions {
            if let Err(failed) = self.act(action).await {
                error = Some(failed);
                break;
            }
        }
        if let Some(registration) = self.registration.take() {
            self.report.registration = Some(registration.report());
            if !self.keep
                && let Err(failed) = registration.end().await
            {
                error.get_or_insert(failed);
            }
        }
        self.phone.flush().await;
        self.report.ok = error.is_none();
        self.report.error = error.as_ref().map(ToString::to_string);
        (self.report, error)
    }

    async fn act(&mut self, action: &Action) -> Result<(), UaError> {
        match action {
            Action::Register(args) => self.register(args).await,
            Action::Unregister => match self.registration.take() {
                Some(registration) => {
                    self.report.registration = Some(registration.report());
                    registration.end().await
                }
                None => register::unregister(&self.phone).await,
            },
            Action::Call(args) => self.call(args).await,
            Action::Answer(args) => {
                if self.phone.options().server.is_some() {
                    self.ensure_registered().await?;
                }
                let mut ended = Vec::new();
                let result = answer(&self.phone, args, &mut ended).await;
                let failed = self.take_outcomes(ended);
                result.and(failed)
            }
            Action::Options { target } => self.options(target.as_deref()).await,
            Action::Wait { seconds } => self.pause(*seconds).await,
            Action::Script { .. } | Action::Listen { .. } => Ok(()),
        }
    }

    async fn register(&mut self, args: &RegisterArgs) -> Result<(), UaError> {
        self.keep = args.keep;
        self.ensure_registered().await?;
        match args.seconds {
            Some(seconds) => self.pause(seconds).await,
            None => Ok(()),
        }
    }

    async fn ensure_registered(&mut self) -> Result<(), UaError> {
        if self.registration.is_none() {
            self.registration = Some(Registration::start(&self.phone).await?);
        }
        Ok(())
    }

    async fn pause(&self, time: std::time::Duration) -> Result<(), UaError> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.phone.stopped() => Err(UaError::Stopped),
        }
    }

    async fn call(&mut self, args: &CallArgs) -> Result<(), UaError> {
        if args.register {
            self.ensure_registered().await?;
        }
        let outcome = place(&self.phone, args).await;
        self.take_outcomes(vec![outcome])
    }

    /// Keeps the reports; the first error of them all.
    fn take_outcomes(&mut self, outcomes: Vec<Outcome>) -> Result<(), UaError> {
        let mut result = Ok(());
        for Outcome { report, error } in outcomes {
            // Without a party nothing was sent or received.
            if !report.call.remote.is_empty() {
                self.report.calls.push(report);
            }
            result = result.and(error.map_or(Ok(()), Err));
        }
        result
    }

    async fn options(&mut self, target: Option<&str>) -> Result<(), UaError> {
        let uri = target.map_or_else(|| self.phone.registrar(), |it| self.phone.target_uri(it));
        let flow = self.phone.flow_to(&uri).await?;
        let started = self.phone.clock().now();
        let request = NewRequest::new(Method::Options, uri.clone())
            .from(format!("<{}>", self.phone.aor()))
            .header("Contact", self.phone.contact())
            .header("Accept", "application/sdp");
        let (response, _) = self.phone.exchange(flow, request, Method::Options, &uri).await?;
        self.report.options.push(OptionsReport {
            target: uri,
            status: response.status().unwrap_or_default(),
            reason: response.reason().unwrap_or_default().into(),
            took_ms: ms(self.phone.clock().now().since(started)),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_the_command_line_line_by_line() {
        let text =
            "# a comment\nregister --keep\n\nwait 0.5\n  call sip:bob@192.0.2.1 --seconds 3\n";
        let actions = parse(text).unwrap();
        assert_eq!(actions.len(), 3);
        assert_eq!(first_target(&actions), Some("sip:bob@192.0.2.1"));
    }

    #[test]
    fn a_wrong_line_is_told_by_number() {
        let text = parse("wait 1\nfly away\n").unwrap_err().to_string();
        assert!(text.starts_with("script line 2:"), "{text}");
        assert!(parse("script other\n").is_err());
    }
}
