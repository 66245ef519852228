//! Tandem and its peer, one after the other with the same load.

use super::SipArgs;
use super::contender::{Contender, Media, Running};
use super::folders::Folders;
use super::generator::Generator;
use super::hosts::Hosts;
use super::report::{Figures, Report, Side};
use super::sipp::{self, Offer};
use super::usage::Split;
use std::path::Path;
use std::time::Duration;

/// Port of the generator that measures delays and holds calls.
const PROBE_PORT: u16 = 9_000;
/// Calls per second of the generator beside the pairs.
const PROBE_RATE: u32 = 50;
/// Calls before anything is measured.
const WARM_UP: u64 = 200;
/// What the last calls leave to do (records into the store) is counted too.
const SETTLE: Duration = Duration::from_millis(1_000);
/// Transactions of a held call are over after 64 T1 (RFC 6026 §8.7) and a little.
const TRANSACTIONS: Duration = Duration::from_secs(36);
/// Calls per second while calls are set up to be held.
const HOLD_RATE: u32 = 250;
/// First user of the registrations that are counted.
const FIRST_REGISTERED: u64 = 100;

/// Runs all and reports.
pub(super) fn run(args: &SipArgs) -> Result<Report, String> {
    let bench = Bench { args, folders: Folders::new()? };
    let contenders = [Contender::Tandem, Contender::Kamailio];
    let mut figures = [[Figures::default(), Figures::default()], Default::default()];
    for round in 1..=args.rounds {
        for (mode, media) in [Media::Relayed, Media::Bypassed].into_iter().enumerate() {
            for (place, contender) in contenders.into_iter().enumerate() {
                let run = bench.calls(contender, media)?;
                eprintln!(
                    "round {round} of {}: {} {}: {:.0} µs per call, {} calls",
                    args.rounds,
                    contender.name(),
                    if media == Media::Relayed { "with media" } else { "signalling alone" },
                    run.cpu_us_per_call(),
                    run.completed
                );
                figures[mode][place].add(run);
            }
        }
    }
    if args.held > 0 {
        for (place, contender) in contenders.into_iter().enumerate() {
            eprintln!("memory of {}: {} calls held", contender.name(), args.held);
            bench.memory(contender, &mut figures[0][place])?;
        }
    }
    let [[tandem, peer], [tandem_alone, peer_alone]] = figures;
    Ok(Report::new(args, Side::of(&tandem), Side::of(&peer))
        .with_alone(Side::of(&tandem_alone), Side::of(&peer_alone)))
}

struct Bench<'a> {
    args: &'a SipArgs,
    folders: Folders,
}

impl Bench<'_> {
    fn users(&self) -> usize {
        usize::try_from(FIRST_REGISTERED + self.args.registrations).unwrap_or(usize::MAX)
    }

    /// One run of calls.
    fn calls(&self, contender: Contender, media: Media) -> Result<Figures, String> {
        let folder = self.folders.make()?;
        let hosts = Hosts::new()?;
        let running = contender.start(&hosts.server, &folder, media, self.users())?;
        self.offer(&hosts, &running, &folder)
            .map_err(|error| format!("{}: {error}\n{}", contender.name(), running.logs()))
    }

    fn offer(&self, hosts: &Hosts, running: &Running, folder: &Path) -> Result<Figures, String> {
        let SipArgs { rate, calls, pairs, .. } = *self.args;
        sipp::register(&hosts.client, pairs)?;
        let mut probe = Generator::start(&hosts.client, PROBE_PORT)?;
        let own: u64 = pairs.into();
        probe.register(own, 1)?;
        probe.begin_calls(own, WARM_UP, PROBE_RATE * 2)?;
        probe.done()?;
        std::thread::sleep(SETTLE);
        let before = running.usage();
        let seconds = u64::from(calls / rate).max(1);
        // The generator's calls are part of the rate.
        let offer = Offer { pairs, calls, rate: rate.saturating_sub(PROBE_RATE).max(1) };
        let load = sipp::start(&hosts.client, folder, offer)?;
        probe.begin_calls(own, seconds * u64::from(PROBE_RATE), PROBE_RATE)?;
        let outcome = load.finish()?;
        let probed = probe.done()?;
        std::thread::sleep(SETTLE);
        let after = running.usage();
        Ok(Figures::of(&before, &after, &outcome, probed))
    }

    /// Memory of held calls and of registrations.
    fn memory(&self, contender: Contender, figures: &mut Figures) -> Result<(), String> {
        let folder = self.folders.make()?;
        let hosts = Hosts::new()?;
        let running = contender.start(&hosts.server, &folder, Media::Relayed, self.users())?;
        let mut probe = Generator::start(&hosts.client, PROBE_PORT)?;
        let SipArgs { held, registrations, .. } = *self.args;
        probe.register(0, 1)?;
        probe.begin_calls(0, WARM_UP, PROBE_RATE * 2)?;
        probe.done()?;
        std::thread::sleep(TRANSACTIONS);
        let idle = running.usage();
        let done = probe.hold(0, held, HOLD_RATE)?;
        if done.completed != held {
            return Err(format!("{} calls are not held\n{}", done.failed, running.logs()));
        }
        std::thread::sleep(TRANSACTIONS);
        let full = running.usage();
        figures.hold(&per_object(&idle, &full, held));
        probe.release(HOLD_RATE)?;
        let before = running.usage();
        let done = probe.register(FIRST_REGISTERED, registrations)?;
        if done.completed != registrations {
            return Err(format!("{} users are not registered\n{}", done.failed, running.logs()));
        }
        std::thread::sleep(TRANSACTIONS);
        let after = running.usage();
        figures.register(per_object(&before, &after, registrations).control.memory);
        Ok(())
    }
}

/// What one object adds.
pub(super) fn per_object(before: &Split, after: &Split, count: u64) -> Split {
    let count = count.max(1) as f64;
    let mut each = Split::default();
    each.control.memory = (after.control.memory - before.control.memory) / count;
    each.media.memory = (after.media.memory - before.media.memory) / count;
    each.control.cpu_s = (after.control.cpu_s - before.control.cpu_s) / count;
    each.media.cpu_s = (after.media.cpu_s - before.media.cpu_s) / count;
    each
}
