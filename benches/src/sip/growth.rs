//! What an event costs and an object needs as their number grows.

use super::SipArgs;
use super::compare::per_object;
use super::contender::{Contender, Media, Running};
use super::folders::Folders;
use super::generator::Generator;
use super::hosts::Hosts;
use super::plot;
use super::usage::Split;
use serde::Serialize;
use std::time::Duration;

/// Port of the generator.
const PORT: u16 = 9_000;
/// Calls that are set up and hung up to see what an event costs.
const CALLS: u64 = 2_000;
/// Calls per second, held ones and others.
const RATE: u32 = 400;
/// Set-up of many calls.
const FAST_RATE: u32 = 1_000;
/// Transactions are over after 64 T1 and a little.
const TRANSACTIONS: Duration = Duration::from_secs(36);
/// The largest number costs and needs at most so many times what the smallest does.
const FLAT: f64 = 2.0;

/// One number of objects.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub(super) objects: u64,
    /// Signalling's processor time per event, µs: a call from INVITE to the end, or a registration.
    pub(super) cpu_us_per_event: f64,
    /// Signalling's memory per object, octets.
    pub(super) bytes_per_object: f64,
    /// Processor time of all for an object that does nothing, µs per second.
    pub(super) idle_us_per_s: f64,
}

/// How one kind of object grows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Debug, Serialize)]
struct Report {
    series: Vec<Series>,
    flat: bool,
}

impl Series {
    /// Whether neither time nor memory grows with the number.
    fn is_flat(&self) -> bool {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return false;
        };
        last.cpu_us_per_event <= first.cpu_us_per_event * FLAT
            && last.bytes_per_object <= first.bytes_per_object * FLAT
    }
}

/// Runs, prints and draws; `false` if something is not flat.
pub(super) fn run(args: &SipArgs) -> Result<bool, String> {
    let folders = Folders::new()?;
    let series = vec![
        calls(&folders, "calls with media", Media::Relayed, &[1_000, 4_000])?,
        calls(&folders, "calls, signalling alone", Media::Bypassed, &[1_000, 10_000, 50_000])?,
        registrations(&folders, &[10_000, 100_000])?,
    ];
    std::fs::write(&args.plot, plot::svg(&series))
        .map_err(|error| format!("{}: {error}", args.plot.display()))?;
    eprintln!("drawn in {}", args.plot.display());
    let report = Report { flat: series.iter().all(Series::is_flat), series };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    } else {
        print(&report);
    }
    Ok(report.flat)
}

fn print(report: &Report) {
    println!(
        "{:<26}{:>10}{:>16}{:>18}{:>22}",
        "", "objects", "µs per event", "octets per object", "idle, µs per s"
    );
    for series in &report.series {
        for point in &series.points {
            println!(
                "{:<26}{:>10}{:>16.1}{:>18.0}{:>22.2}",
                series.name,
                point.objects,
                point.cpu_us_per_event,
                point.bytes_per_object,
                point.idle_us_per_s
            );
        }
    }
    println!("{}", if report.flat { "flat" } else { "NOT flat: something grows with the number" });
}

/// What runs for one series.
struct Stage {
    running: Running,
    generator: Generator,
    // Ends last.
    _hosts: Hosts,
}

impl Stage {
    fn new(folders: &Folders, media: Media, users: u64) -> Result<Self, String> {
        let hosts = Hosts::new()?;
        let users = usize::try_from(users).unwrap_or(usize::MAX);
        let running = Contender::Tandem.start(&hosts.server, &folders.make()?, media, users)?;
        let mut generator = Generator::start(&hosts.client, PORT)?;
        generator.register(0, 1)?;
        let mut stage = Self { running, generator, _hosts: hosts };
        stage.calls(CALLS / 4)?;
        std::thread::sleep(TRANSACTIONS);
        Ok(stage)
    }

    /// What a call costs now.
    fn calls(&mut self, count: u64) -> Result<Split, String> {
        let before = self.running.usage();
        self.generator.begin_calls(0, count, RATE)?;
        let done = self.generator.done()?;
        self.check(done.completed == count, "calls failed")?;
        Ok(per_object(&before, &self.running.usage(), count))
    }

    fn check(&self, holds: bool, what: &str) -> Result<(), String> {
        if holds { Ok(()) } else { Err(format!("{what}\n{}", self.running.logs())) }
    }

    /// Waits until transactions are over; what `objects` objects cost meanwhile, µs per second.
    fn rest(&self, objects: u64) -> f64 {
        let before = self.running.usage().cpu_s();
        std::thread::sleep(TRANSACTIONS);
        let used = self.running.usage().cpu_s() - before;
        used * 1e6 / TRANSACTIONS.as_secs_f64() / objects as f64
    }
}

fn calls(
    folders: &Folders,
    name: &'static str,
    media: Media,
    sizes: &[u64],
) -> Result<Series, String> {
    let mut stage = Stage::new(folders, media, 1)?;
    let (idle, mut held, mut points) = (stage.running.usage(), 0, Vec::new());
    for &objects in sizes {
        eprintln!("{name}: {objects}");
        let more = objects - held;
        let done = stage.generator.hold(0, more, FAST_RATE)?;
        stage.check(done.completed == more, "calls could not be held")?;
        held = objects;
        let idle_us_per_s = stage.rest(objects);
        let each = per_object(&idle, &stage.running.usage(), objects);
        let event = stage.calls(CALLS)?;
        points.push(Point {
            objects,
            cpu_us_per_event: event.control.cpu_s * 1e6,
            bytes_per_object: each.control.memory,
            idle_us_per_s,
        });
    }
    stage.generator.release(FAST_RATE)?;
    Ok(Series { name, points })
}

fn registrations(folders: &Folders, sizes: &[u64]) -> Result<Series, String> {
    let most = sizes.iter().max().copied().unwrap_or(0);
    let mut stage = Stage::new(folders, Media::Bypassed, most + 1)?;
    let (idle, mut registered, mut points) = (stage.running.usage(), 0, Vec::new());
    for &objects in sizes {
        eprintln!("registrations: {objects}");
        let more = objects - registered;
        let before = stage.running.usage();
        let done = stage.generator.register(registered + 1, more)?;
        let event = per_object(&before, &stage.running.usage(), more);
        stage.check(done.completed == more, "users could not be registered")?;
        registered = objects;
        let idle_us_per_s = stage.rest(objects);
        let each = per_object(&idle, &stage.running.usage(), objects);
        points.push(Point {
            objects,
            cpu_us_per_event: event.control.cpu_s * 1e6,
            bytes_per_object: each.control.memory,
            idle_us_per_s,
        });
    }
    Ok(Series { name: "registrations", points })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(cpu: [f64; 2]) -> Series {
        let point = |objects, cpu_us_per_event| Point {
            objects,
            cpu_us_per_event,
            bytes_per_object: 5_000.0,
            idle_us_per_s: 0.0,
        };
        Series { name: "calls", points: vec![point(1_000, cpu[0]), point(4_000, cpu[1])] }
    }

    #[test]
    fn growth_is_seen() {
        assert!(series([100.0, 120.0]).is_flat());
        assert!(!series([100.0, 300.0]).is_flat());
        assert!(!Series { name: "none", points: Vec::new() }.is_flat());
    }

    #[test]
    fn the_picture_has_a_line_per_series() {
        let picture = plot::svg(&[series([100.0, 120.0])]);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }
}
