//! The desired state: terminations that shall exist, and their figures over restarts.

use super::figures;
use std::collections::HashMap;
use tandem_contract::command::{Edge, FLAG_RELEARN, TerminationSpec};
use tandem_contract::counters::TerminationCounters;
use tandem_contract::handle::{ContextId, Handle};
use tandem_contract::limits::{DEFAULT_LEASE_MS, RENEW_BATCH};
use tandem_wire::addr::SockAddr;

/// Where a termination is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It shall exist.
    Wanted,
    /// It shall end; the engine has not said so yet.
    Ending,
    /// An earlier control left it in the engine: its lease ends it, unless it is subtracted before.
    Left,
    /// It has ended; only its figures are left.
    Ended,
}

#[derive(Clone, Debug)]
struct Entry {
    spec: TerminationSpec,
    phase: Phase,
    /// Confirmed sources, as the engine told.
    latched_rtp: SockAddr,
    latched_rtcp: SockAddr,
    /// What earlier engines counted.
    before: Option<Box<TerminationCounters>>,
    /// What the engine that was attached last had counted when it was lost from sight.
    last: Option<Box<TerminationCounters>>,
}

impl Entry {
    fn new(spec: TerminationSpec, phase: Phase) -> Self {
        Self {
            spec,
            phase,
            latched_rtp: SockAddr::NONE,
            latched_rtcp: SockAddr::NONE,
            before: None,
            last: None,
        }
    }

    /// All but what the attached engine counts.
    fn earlier(&self) -> Option<TerminationCounters> {
        add(self.before.as_deref(), self.last.as_deref())
    }
}

fn add(
    before: Option<&TerminationCounters>,
    current: Option<&TerminationCounters>,
) -> Option<TerminationCounters> {
    match (before, current) {
        (Some(before), Some(current)) => Some(figures::sum(before, current)),
        (before, current) => current.or(before).copied(),
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Desired {
    entries: HashMap<Handle, Entry>,
    /// Wanted terminations per worker.
    loads: HashMap<u16, usize>,
    lease_ms: u32,
}

impl Default for Desired {
    fn default() -> Self {
        Self { entries: HashMap::new(), loads: HashMap::new(), lease_ms: DEFAULT_LEASE_MS }
    }
}

impl Desired {
    /// Wants a termination as specified.
    pub fn put(&mut self, handle: Handle, spec: TerminationSpec) {
        self.lease_ms = spec.lease_ms;
        match self.entries.get_mut(&handle) {
            Some(entry) => {
                if entry.spec.relearn_epoch != spec.relearn_epoch {
                    (entry.latched_rtp, entry.latched_rtcp) = (SockAddr::NONE, SockAddr::NONE);
                }
                entry.spec = spec;
                self.set_phase(handle, Phase::Wanted);
            }
            None => {
                self.entries.insert(handle, Entry::new(spec, Phase::Ended));
                self.set_phase(handle, Phase::Wanted);
            }
        }
    }

    /// Watches over the end of a termination that an earlier control left in the engine.
    pub fn adopt(&mut self, handle: Handle, context: ContextId) {
        let spec = TerminationSpec { context, ..TerminationSpec::default() };
        self.entries.entry(handle).or_insert_with(|| Entry::new(spec, Phase::Left));
    }

    /// Changes the phase, counts the load, and gives the phase before.
    fn set_phase(&mut self, handle: Handle, phase: Phase) -> Option<Phase> {
        let entry = self.entries.get_mut(&handle)?;
        let before = std::mem::replace(&mut entry.phase, phase);
        let load = self.loads.entry(handle.worker).or_default();
        match (before == Phase::Wanted, phase == Phase::Wanted) {
            (false, true) => *load += 1,
            (true, false) => *load = load.saturating_sub(1),
            _ => {}
        }
        Some(before)
    }

    /// Wants it no longer; its context if nobody has said so before.
    pub fn subtract(&mut self, handle: Handle) -> Option<ContextId> {
        let entry = self.entries.get(&handle)?;
        if !matches!(entry.phase, Phase::Wanted | Phase::Left) {
            return None;
        }
        let context = entry.spec.context;
        self.set_phase(handle, Phase::Ending);
        Some(context)
    }

    /// It has ended, or was refused; whether it was wanted until now.
    pub fn ended(&mut self, handle: Handle) -> bool {
        self.set_phase(handle, Phase::Ended) == Some(Phase::Wanted)
    }

    /// Its figures are not needed any more.
    pub fn forget(&mut self, handle: Handle) {
        self.set_phase(handle, Phase::Ended);
        self.entries.remove(&handle);
    }

    /// A source was confirmed.
    pub fn latched(&mut self, handle: Handle, source: SockAddr, rtcp: bool) {
        if let Some(entry) = self.entries.get_mut(&handle) {
            *(if rtcp { &mut entry.latched_rtcp } else { &mut entry.latched_rtp }) = source;
        }
    }

    /// Whether it shall exist.
    #[must_use]
    pub fn is_wanted(&self, handle: Handle) -> bool {
        self.entries.get(&handle).is_some_and(|entry| entry.phase == Phase::Wanted)
    }

    /// Whether it is known at all: wanted, ending, or ended with figures not yet forgotten.
    #[must_use]
    pub fn is_known(&self, handle: Handle) -> bool {
        self.entries.contains_key(&handle)
    }

    /// Context of a known termination.
    #[must_use]
    pub fn context(&self, handle: Handle) -> Option<ContextId> {
        self.entries.get(&handle).map(|entry| entry.spec.context)
    }

    /// All that shall exist.
    pub fn wanted(&self) -> impl Iterator<Item = Handle> {
        self.in_phase(|phase| phase == Phase::Wanted)
    }

    /// All that shall end, or will, and have not yet been seen to.
    pub fn ending(&self) -> impl Iterator<Item = Handle> {
        self.in_phase(|phase| matches!(phase, Phase::Ending | Phase::Left))
    }

    fn in_phase(&self, wanted: impl Fn(Phase) -> bool) -> impl Iterator<Item = Handle> {
        self.entries.iter().filter(move |(_, e)| wanted(e.phase)).map(|(handle, _)| *handle)
    }

    /// Number of wanted terminations on a worker.
    #[must_use]
    pub fn load(&self, worker: u16) -> usize {
        self.loads.get(&worker).copied().unwrap_or(0)
    }

    /// The lease that was asked for last, ms.
    #[must_use]
    pub const fn lease_ms(&self) -> u32 {
        self.lease_ms
    }

    /// The engine is out of sight: keeps what it counted last, as `read` still finds it.
    pub fn engine_lost(&mut self, read: impl Fn(Handle) -> Option<TerminationCounters>) {
        for (handle, entry) in &mut self.entries {
            let Some(current) = read(*handle) else { continue };
            if !entry.latched_rtp.is_some() {
                entry.latched_rtp = current.latched_rtp;
            }
            if !entry.latched_rtcp.is_some() {
                entry.latched_rtcp = current.latched_rtcp;
            }
            entry.last = Some(Box::new(current));
        }
    }

    /// An engine is attached. A `new` one counts from zero, so that what the last one counted adds
    /// up; the same one goes on counting where it was.
    pub fn engine_attached(&mut self, new: bool) {
        for entry in self.entries.values_mut() {
            let earlier = entry.earlier().filter(|_| new);
            if let Some(earlier) = earlier {
                entry.before = Some(Box::new(earlier));
            }
            entry.last = None;
        }
    }

    /// The specification for the engine, with what has to survive a restart of it.
    #[must_use]
    pub fn specification(&self, handle: Handle) -> Option<TerminationSpec> {
        let entry = self.entries.get(&handle)?;
        let mut spec = entry.spec;
        if let Some(before) = entry.earlier() {
            // The source is confirmed already; only a later epoch asks to learn it anew.
            if entry.latched_rtp.is_some() {
                spec.flags &= !FLAG_RELEARN;
            }
            spec.latched_rtp = entry.latched_rtp;
            spec.latched_rtcp = entry.latched_rtcp;
            spec.resume_ssrc = before.rx.ssrc;
            spec.resume_sequence = before.rx.ext_sequence;
        }
        Some(spec)
    }

    /// The figures, given those in the attached engine.
    #[must_use]
    pub fn figures(
        &self,
        handle: Handle,
        current: Option<TerminationCounters>,
    ) -> Option<TerminationCounters> {
        let Some(entry) = self.entries.get(&handle) else { return current };
        add(entry.before.as_deref(), current.as_ref().or(entry.last.as_deref()))
    }

    /// The wanted terminations of a worker, in batches for lease renewal.
    #[must_use]
    pub fn renewals(&self, worker: u16) -> Vec<[Edge; RENEW_BATCH]> {
        let edges: Vec<Edge> = self
            .wanted()
            .filter(|handle| handle.worker == worker)
            .map(|handle| Edge { index: handle.index, generation: handle.generation })
            .collect();
        edges
            .chunks(RENEW_BATCH)
            .map(|chunk| {
                let mut batch = [Edge::default(); RENEW_BATCH];
                batch[..chunk.len()].copy_from_slice(chunk);
                batch
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tandem_contract::measure::Measurement;

    const HANDLE: Handle = Handle { engine: 0, worker: 1, index: 7, generation: 2 };

    fn addr(text: &str) -> SockAddr {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn spec(epoch: u32) -> TerminationSpec {
        TerminationSpec {
            context: ContextId(5),
            relearn_epoch: epoch,
            flags: if epoch > 0 { FLAG_RELEARN } else { 0 },
            lease_ms: 9_000,
            ..TerminationSpec::default()
        }
    }

    #[test]
    fn a_new_engine_gets_source_and_sequence_of_the_old_one() {
        let mut desired = Desired::default();
        desired.put(HANDLE, spec(1));
        assert_eq!(desired.specification(HANDLE), Some(spec(1)));
        desired.latched(HANDLE, addr("192.0.2.1:4000"), false);
        let last = TerminationCounters {
            handle: HANDLE,
            rx: Measurement { packets: 50, ssrc: 9, ext_sequence: 0x1_0005, ..Default::default() },
            latched_rtp: addr("192.0.2.9:9"),
            latched_rtcp: addr("192.0.2.1:4001"),
            ..Default::default()
        };
        desired.engine_lost(|_| Some(last));
        assert_eq!(desired.figures(HANDLE, None).unwrap().rx.packets, 50);
        desired.engine_attached(true);
        let again = desired.specification(HANDLE).unwrap();
        assert_eq!(again.latched_rtp, addr("192.0.2.1:4000"));
        assert_eq!(again.latched_rtcp, addr("192.0.2.1:4001"));
        assert_eq!((again.resume_ssrc, again.resume_sequence), (9, 0x1_0005));
        assert_eq!((again.flags, again.relearn_epoch), (0, 1));
        // A second loss adds up.
        let second = TerminationCounters {
            handle: HANDLE,
            rx: Measurement { packets: 5, ssrc: 9, ext_sequence: 0x1_000a, ..Default::default() },
            ..Default::default()
        };
        assert_eq!(desired.figures(HANDLE, Some(second)).unwrap().rx.packets, 55);
        desired.engine_lost(|_| Some(second));
        assert_eq!(desired.figures(HANDLE, None).unwrap().rx.packets, 55);
        assert_eq!(desired.specification(HANDLE).unwrap().resume_sequence, 0x1_000a);
        // The same engine again has not forgotten: nothing is counted twice.
        desired.engine_attached(false);
        assert_eq!(desired.figures(HANDLE, Some(second)).unwrap().rx.packets, 55);
    }

    #[test]
    fn a_moved_party_is_not_held_to_its_old_source() {
        let mut desired = Desired::default();
        desired.put(HANDLE, spec(0));
        desired.latched(HANDLE, addr("192.0.2.1:4000"), false);
        desired.put(HANDLE, spec(1));
        desired.engine_lost(|_| Some(TerminationCounters::default()));
        let again = desired.specification(HANDLE).unwrap();
        assert_eq!((again.latched_rtp, again.flags), (SockAddr::NONE, FLAG_RELEARN));
    }

    #[test]
    fn only_what_is_wanted_is_renewed_and_installed() {
        let mut desired = Desired::default();
        for index in 0..40 {
            desired.put(Handle { index, ..HANDLE }, spec(0));
        }
        assert_eq!(desired.subtract(Handle { index: 3, ..HANDLE }), Some(ContextId(5)));
        assert_eq!(desired.subtract(Handle { index: 3, ..HANDLE }), None);
        assert!(desired.ended(Handle { index: 4, ..HANDLE }));
        assert!(!desired.ended(Handle { index: 3, ..HANDLE }));
        assert_eq!((desired.wanted().count(), desired.ending().count()), (38, 0));
        assert_eq!((desired.load(1), desired.load(0)), (38, 0));
        let batches = desired.renewals(1);
        let renewed: Vec<u32> = batches
            .iter()
            .flatten()
            .filter(|edge| edge.generation != 0)
            .map(|edge| edge.index)
            .collect();
        assert_eq!((batches.len(), renewed.len()), (2, 38));
        assert!(!renewed.contains(&3) && !renewed.contains(&4));
        assert!(desired.renewals(0).is_empty());
        assert_eq!(desired.lease_ms(), 9_000);
        desired.forget(Handle { index: 3, ..HANDLE });
        assert!(!desired.is_known(Handle { index: 3, ..HANDLE }));
    }
}
