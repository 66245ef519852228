//! An engine in memory, for the tests of what stands above the link.

use super::{Endpoint, EngineInfo, EngineLink, Family, LinkEvent};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use tandem_contract::command::TerminationSpec;
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::EndCause;
use tandem_contract::handle::Handle;
use tandem_wire::time::Instant;

/// What a test sees and steers.
#[derive(Debug, Default)]
pub(crate) struct FakeState {
    /// Endpoints left, IPv4 and IPv6.
    pub(crate) free: [u32; 2],
    /// Whether an engine is attached.
    pub(crate) away: bool,
    /// Terminations as put last.
    pub(crate) put: BTreeMap<Handle, TerminationSpec>,
    /// Puts, in order.
    pub(crate) puts: usize,
    /// Subtracted terminations.
    pub(crate) subtracted: Vec<Handle>,
    /// Endpoints given back.
    pub(crate) given_back: usize,
    /// Figures that reports read.
    pub(crate) counters: BTreeMap<Handle, TerminationCounters>,
    /// Says nothing of the end of what is subtracted.
    pub(crate) mute: bool,
    /// What the link will say.
    pub(crate) events: VecDeque<LinkEvent>,
    next: u32,
}

/// The link and the test's view of it.
#[derive(Clone, Debug)]
pub(crate) struct FakeLink(Arc<Mutex<FakeState>>);

impl FakeLink {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(FakeState { free: [100, 100], ..FakeState::default() })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().expect("no test panics while it holds the fake")
    }
}

impl EngineLink for FakeLink {
    fn handle(&mut self, _: Instant) {}

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.state().events.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn wait_fd(&self) -> std::io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn info(&self) -> Option<EngineInfo> {
        (!self.state().away).then(EngineInfo::default)
    }

    fn families(&self) -> Vec<Family> {
        vec![Family::V4, Family::V6]
    }

    fn pick_worker(&self, _: Family) -> Option<u16> {
        (!self.state().away).then_some(3)
    }

    fn take_endpoint(&mut self, worker: u16, family: Family) -> Option<Endpoint> {
        let mut state = self.state();
        let left = &mut state.free[usize::from(family == Family::V6)];
        *left = left.checked_sub(1)?;
        state.next += 1;
        let index = state.next;
        let ip: IpAddr = match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        };
        let port = 30_000 + u16::try_from(index).expect("few endpoints") * 2;
        Some(Endpoint {
            handle: Handle { engine: 0, worker, index, generation: 1 },
            rtp: SocketAddr::new(ip, port).into(),
            rtcp: SocketAddr::new(ip, port + 1).into(),
        })
    }

    fn give_back(&mut self, _: Instant, _: Endpoint) {
        self.state().given_back += 1;
    }

    fn put(&mut self, _: Instant, handle: Handle, spec: TerminationSpec) {
        let mut state = self.state();
        state.puts += 1;
        state.put.insert(handle, spec);
    }

    fn subtract(&mut self, _: Instant, handle: Handle) {
        let mut state = self.state();
        let Some(spec) = state.put.remove(&handle) else { return };
        state.subtracted.push(handle);
        if state.mute {
            return;
        }
        state.events.push_back(LinkEvent::Ended {
            handle,
            context: spec.context,
            cause: EndCause::Subtracted,
        });
    }

    fn counters(&self, handle: Handle) -> Option<TerminationCounters> {
        self.state().counters.get(&handle).copied()
    }

    fn remains(&self) -> Vec<TerminationCounters> {
        self.state().counters.values().filter(|counters| counters.alive == 0).copied().collect()
    }

    fn worker_counters(&self) -> Vec<WorkerCounters> {
        vec![WorkerCounters::default()]
    }

    fn forget(&mut self, handle: Handle) {
        self.state().counters.remove(&handle);
    }

    fn shutdown(&mut self, stop: bool) {
        self.state().away = stop;
    }
}
