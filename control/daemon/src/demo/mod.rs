//! `tandem demo`: one call between two phones through an appliance of its own, relayed and
//! measured, on embedded defaults and loopback alone.
//!
//! Everything is as real as it can be: the appliance is a child process `tandem run` with its own
//! engine and a data folder of its own, the phones are programs that register over UDP, and all
//! figures come from the HTTP API.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`appliance`] | `tandem run` as a child, users, free ports |
//! | [`phone`] | what both kinds of phones have in common |
//! | `baresip`, `softphone` | Debian's baresip; Tandem's own |
//! | `child` | child processes that never outlive the demo |
//! | `live` | a line per second |
//! | [`report`] | tables and JSON at the end |
//! | `stop` | Ctrl-C |

pub mod appliance;
mod baresip;
mod child;
mod live;
pub mod phone;
pub mod report;
mod softphone;
mod stop;

use crate::cli::{CliError, CliResult, say, say_json};
use crate::record::CallRecord;
use crate::snapshot::{CallState, CallView, EngineView};
use crate::top::frame::Frame;
use appliance::Appliance;
use phone::{Kind, Phone, Plan};
use report::Report;
use serde::Deserialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stop::Stop;

/// Tone that the caller plays, Hz.
const CALLER_HZ: u32 = 440;
/// Tone that the callee plays, Hz.
const CALLEE_HZ: u32 = 1_000;
/// How long phones may take to register.
const REGISTERED_WITHIN: Duration = Duration::from_secs(15);
/// How long the call may take to be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// How long the record may take after the call.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// The engine publishes its figures at least this often; then they are all in.
const FIGURES_WITHIN: Duration = Duration::from_millis(1_300);
/// Distance of looks at the appliance.
const POLL: Duration = Duration::from_millis(50);

/// What the demo is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How long the parties talk, s.
    pub seconds: u32,
    /// Which phones; `None` takes baresip where it runs, else our own.
    pub phones: Option<Kind>,
    /// Whether standard output gets one JSON object.
    pub json: bool,
    /// Whether the folder with logs and recordings stays.
    pub keep: bool,
}

#[derive(Debug, Deserialize)]
struct Calls {
    calls: Vec<CallView>,
}

#[derive(Debug, Deserialize)]
struct Records {
    records: Vec<CallRecord>,
}

#[derive(Debug, Deserialize)]
struct Registrations {
    registrations: Vec<serde_json::Value>,
}

/// Says a line on standard error; nobody is left to tell if that fails.
fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Runs the demo.
///
/// # Errors
/// [`CliError`] if the call could not be made, audio did not arrive, or it was stopped.
pub fn run(wish: Wish) -> CliResult {
    let stop = Stop::listen()?;
    let folder = Folder::new(wish.keep)?;
    let kind = choose(wish.phones)?;
    let result = Demo { wish, kind, folder: &folder.path, stop: &stop }.run();
    if wish.keep {
        tell(&format!("logs and recordings are in {}", folder.path.display()));
    }
    result
}

/// Baresip where it can be run, else our own; says which and why.
fn choose(wanted: Option<Kind>) -> CliResult<Kind> {
    let kind = match (wanted, baresip::usable()) {
        (Some(Kind::Ua), _) => Kind::Ua,
        (Some(Kind::Baresip), Err(why)) => return Err(CliError::failed(why)),
        (Some(Kind::Baresip) | None, Ok(())) => Kind::Baresip,
        (None, Err(why)) => {
            tell(&format!("{why}: Tandem's own softphone takes its place"));
            Kind::Ua
        }
    };
    tell(&format!("phones: {}", kind.sentence()));
    Ok(kind)
}

/// A folder of the demo alone; removed at its end unless it is to be kept.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> CliResult<Self> {
        let mut random = [0; 4];
        let _ = getrandom::fill(&mut random);
        let name = format!("tandem-demo-{:08x}", u32::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        crate::cli::runfile::make_private_folder(&path).map_err(|error| {
            CliError::failed(format!(
                "cannot make the folder {}: {error}; set TMPDIR to a folder that is writable",
                path.display()
            ))
        })?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // It holds nothing but this demo's files; what stays is a matter of the system's
            // cleaning of temporary folders.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// One demo on its way.
#[derive(Debug)]
struct Demo<'a> {
    wish: Wish,
    kind: Kind,
    folder: &'a Path,
    stop: &'a Stop,
}

impl Demo<'_> {
    fn run(&self) -> CliResult {
        let mut appliance = Appliance::start(self.folder, self.stop)?;
        tell(&format!(
            "appliance: SIP {}, HTTP http://{}/, {}",
            appliance.sip(),
            appliance.http(),
            appliance.port()
        ));
        let called = self.call(&appliance);
        let (record, phones) = called.map_err(|error| appliance.explain(error))?;
        std::thread::sleep(FIGURES_WITHIN);
        let engine: EngineView = appliance.get("/v1/engine")?;
        let heard: Vec<_> = phones.into_iter().map(Phone::end).collect();
        appliance.end();
        let report = Report::new(record, &engine);
        if self.wish.json {
            say_json(&report)?;
        } else {
            say(report.to_text())?;
        }
        report::audio_arrived(&heard)
    }

    /// Registers the phones and makes the call; its record, and the phones.
    fn call(&self, appliance: &Appliance) -> CliResult<(CallRecord, [Phone; 2])> {
        let callee = self.phone(appliance, "bob", CALLEE_HZ, CALLER_HZ, None)?;
        self.wait_registered(appliance, 1, &callee)?;
        let mut caller = self.phone(appliance, "alice", CALLER_HZ, CALLEE_HZ, Some("bob"))?;
        self.wait_registered(appliance, 2, &caller)?;
        tell("both phones are registered; alice calls bob");
        let called = self.talk(appliance, &mut caller);
        let record = called.map_err(|error| caller.explain(error))?;
        Ok((record, [caller, callee]))
    }

    fn phone(
        &self,
        appliance: &Appliance,
        user: &'static str,
        plays_hz: u32,
        hears_hz: u32,
        calls: Option<&'static str>,
    ) -> CliResult<Phone> {
        let plan = Plan {
            user,
            password: appliance.password(user),
            server: appliance.sip(),
            plays_hz,
            hears_hz,
            calls,
            folder: self.folder.join(user),
        };
        Phone::start(self.kind, plan)
    }

    fn wait_registered(&self, appliance: &Appliance, count: usize, phone: &Phone) -> CliResult {
        let done = || {
            let page: Registrations = appliance.get("/v1/registrations")?;
            Ok((page.registrations.len() >= count).then_some(()))
        };
        self.wait(REGISTERED_WITHIN, "the phone did not register", done)
            .map_err(|error| phone.explain(error))
    }

    /// From dialling to the record.
    fn talk(&self, appliance: &Appliance, caller: &mut Phone) -> CliResult<CallRecord> {
        caller.dial()?;
        let started = self.wait(ANSWERED_WITHIN, "the call was not answered", || {
            let page: Calls = appliance.get("/v1/calls")?;
            if let Some(failed) = self.record(appliance)? {
                return Err(ended_early(&failed));
            }
            let answered = page.calls.iter().any(|call| call.state == CallState::Answered);
            Ok(answered.then(Instant::now))
        })?;
        let mut before = Frame::look(appliance.daemon())?;
        for second in 1..=self.wish.seconds {
            self.stop.sleep_until(started + Duration::from_secs(u64::from(second)))?;
            let now = Frame::look(appliance.daemon())?.since(&before);
            let Some(call) = now.calls.first() else { break };
            tell(&live::line(second, call));
            before = now;
        }
        caller.hang_up()?;
        let record =
            self.wait(RECORDED_WITHIN, "the call has no record", || self.record(appliance))?;
        if record.answered_at.is_none() || record.cause.sip_status >= 300 {
            return Err(ended_early(&record));
        }
        Ok(record)
    }

    fn record(&self, appliance: &Appliance) -> CliResult<Option<CallRecord>> {
        let page: Records = appliance.get("/v1/records")?;
        Ok(page.records.into_iter().next())
    }

    /// Looks until there is something, the time is over, or Ctrl-C.
    fn wait<T>(
        &self,
        limit: Duration,
        failure: &str,
        mut look: impl FnMut() -> CliResult<Option<T>>,
    ) -> CliResult<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let seconds = limit.as_secs();
                return Err(CliError::failed(format!("{failure} within {seconds} s")));
            }
            self.stop.sleep_until(Instant::now() + POLL)?;
        }
    }
}

fn ended_early(record: &CallRecord) -> CliError {
    let cause = &record.cause;
    CliError::failed(format!(
        "the call ended with {} ({}) by {}",
        cause.sip_status,
        cause.text,
        cause.by.key()
    ))
}
