//! The loop of the main thread: binds endpoints, attaches control, watches the workers.

use super::PortKind;
use super::args::Args;
use super::error::HostError;
use super::limits::Limits;
use super::link::Link;
use super::ports::{ExactError, Ports};
use super::threads::{self, WorkerThread};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use tandem_engine::endpoints::{Order, Request};
use tandem_hw::doorbell::Doorbell;
use tandem_wire::addr::SockAddr;

/// Longest sleep.
const NAP: Duration = Duration::from_millis(500);
/// Sleep while an exact address waits for another endpoint to go.
const SHORT_NAP: Duration = Duration::from_millis(2);
/// How long an exact address is tried.
const EXACT_PATIENCE: Duration = Duration::from_millis(500);
/// Between two lines of the log about the same trouble.
const QUIET: Duration = Duration::from_secs(30);

/// An exact address whose port another endpoint still holds.
#[derive(Clone, Copy, Debug)]
struct Exact {
    worker: usize,
    index: u32,
    ticket: u32,
    rtp: SockAddr,
    rtcp: SockAddr,
    deadline: Instant,
}

/// The main thread.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    args: Args,
    workers: Vec<WorkerThread>,
    /// Orders that found a ring full, per worker.
    backlog: Vec<VecDeque<Order<UdpSocket>>>,
    bell: Doorbell,
    link: Link,
    ports: Ports,
    exact: Vec<Exact>,
    idle_since: Instant,
    next_complaint: Option<Instant>,
    skipped_told: u64,
}

impl Housekeeper {
    /// Listens, and starts the workers.
    ///
    /// # Errors
    /// What keeps the engine from starting.
    pub(crate) fn new(args: &Args, limits: &Limits, kind: PortKind) -> Result<Self, HostError> {
        let instance = random();
        let mut ports = Ports::new(args.ports, Duration::from_millis(args.quarantine.into()));
        // A first pair on each address shows at once whether the address is right.
        for ip in &args.address {
            drop(ports.bind_random(*ip, 0, 0, Instant::now())?);
        }
        let ports = Ports::new(args.ports, Duration::from_millis(args.quarantine.into()));
        let link = Link::listen(&args.socket, args.workers, limits, kind, instance)?;
        let bell = Doorbell::new().map_err(HostError::system("doorbell"))?;
        let cores = cores(args);
        let mut workers = Vec::new();
        for worker in 0..args.workers {
            let core = cores.get(usize::from(worker)).copied();
            workers.push(threads::start(args, limits, kind, worker, random(), core, &bell)?);
        }
        tracing::info!(
            socket = %args.socket.display(),
            ports = %args.ports,
            addresses = ?args.address,
            workers = args.workers,
            "engine listens"
        );
        Ok(Self {
            args: args.clone(),
            backlog: workers.iter().map(|_| VecDeque::new()).collect(),
            workers,
            bell,
            link,
            ports,
            exact: Vec::new(),
            idle_since: Instant::now(),
            next_complaint: None,
            skipped_told: 0,
        })
    }

    /// Runs until nobody needs the engine.
    ///
    /// # Errors
    /// [`HostError::WorkerDied`].
    pub(crate) fn run(&mut self) -> Result<(), HostError> {
        loop {
            let now = Instant::now();
            self.bell.drain();
            if self.link.has_gone() {
                for worker in 0..self.workers.len() {
                    self.order(worker, Order::Detach);
                }
            }
            for (worker, order) in self.link.accept(&self.workers).into_iter().enumerate() {
                self.order(worker, order);
            }
            self.serve_requests(now);
            self.serve_exact(now);
            self.flush_backlog();
            self.ports.sweep(now);
            if let Some(worker) = self.workers.iter().position(WorkerThread::is_dead) {
                let worker = u16::try_from(worker).unwrap_or(u16::MAX);
                return Err(HostError::WorkerDied { worker });
            }
            if self.is_over(now) {
                tracing::info!("neither control nor calls: ending");
                return Ok(());
            }
            self.sleep();
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        let used = self.workers.iter().any(|worker| worker.terminations() > 0);
        if self.link.control.is_some() || used {
            self.idle_since = now;
        }
        let linger = Duration::from_secs(self.args.linger);
        self.args.linger != 0 && now.duration_since(self.idle_since) >= linger
    }

    fn sleep(&self) {
        let pending = !self.exact.is_empty() || self.backlog.iter().any(|b| !b.is_empty());
        let nap = if pending { SHORT_NAP } else { NAP };
        let mut fds = vec![
            PollFd::new(&self.bell, PollFlags::IN),
            PollFd::new(&self.link.listener, PollFlags::IN),
        ];
        if let Some(control) = &self.link.control {
            fds.push(PollFd::new(control, PollFlags::IN));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
        // An interrupted sleep is a short one.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn order(&mut self, worker: usize, order: Order<UdpSocket>) {
        self.backlog[worker].push_back(order);
    }

    fn flush_backlog(&mut self) {
        for (backlog, worker) in self.backlog.iter_mut().zip(&mut self.workers) {
            let mut given = false;
            while let Some(order) = backlog.pop_front() {
                if let Err(order) = worker.orders.give(order) {
                    backlog.push_front(order);
                    break;
                }
                given = true;
            }
            if given {
                worker.bell.ring();
            }
        }
    }

    fn serve_requests(&mut self, now: Instant) {
        for worker in 0..self.workers.len() {
            while let Some(request) = self.workers[worker].requests.take() {
                self.serve(worker, request, now);
            }
        }
        if self.ports.skipped > self.skipped_told && self.may_complain(now) {
            let skipped = self.ports.skipped - self.skipped_told;
            self.skipped_told = self.ports.skipped;
            tracing::warn!(skipped, "ports of the range that other programs have were skipped");
        }
    }

    fn serve(&mut self, worker: usize, request: Request, now: Instant) {
        match request {
            Request::BindAhead { index, ticket, ipv6 } => {
                let Some(ip) = self.args.address_of(ipv6) else { return };
                match self.ports.bind_random(ip, worker, index, now) {
                    Ok(bound) => {
                        let (rtp, rtcp) = (bound.rtp, bound.rtcp);
                        self.order(worker, Order::Endpoint { index, ticket, rtp, rtcp });
                    }
                    Err(error) => {
                        if self.may_complain(now) {
                            tracing::error!("no endpoint could be bound ahead: {error}");
                        }
                        self.order(worker, Order::BindFailed { index, ticket });
                    }
                }
            }
            Request::BindExactly { index, ticket, rtp, rtcp } => {
                let deadline = now + EXACT_PATIENCE;
                self.exact.push(Exact { worker, index, ticket, rtp, rtcp, deadline });
            }
            Request::Closed { rtp, .. } => self.ports.closed(rtp, now),
        }
    }

    /// Binds exact addresses; where a free endpoint of ours holds the port, it has to go first.
    fn serve_exact(&mut self, now: Instant) {
        for wish in core::mem::take(&mut self.exact) {
            let Exact { worker, index, ticket, rtp, rtcp, deadline } = wish;
            match self.ports.bind_exactly(rtp, rtcp, worker, index) {
                Ok(bound) => {
                    let (rtp, rtcp) = (bound.rtp, bound.rtcp);
                    self.order(worker, Order::Endpoint { index, ticket, rtp, rtcp });
                }
                Err(ExactError::Held { worker: holder, index: held }) if now < deadline => {
                    // The holder may have closed it meanwhile: its word is then on the way.
                    self.order(holder, Order::Withdraw { index: held, rtp });
                    self.exact.push(wish);
                }
                Err(ExactError::Refused(tandem_hw::bind::BindError::AddrInUse(_)))
                    if now < deadline =>
                {
                    self.exact.push(wish);
                }
                Err(error) => {
                    tracing::error!(?rtp, ?error, "a call's addresses could not be bound");
                    self.order(worker, Order::BindFailed { index, ticket });
                }
            }
        }
    }

    fn may_complain(&mut self, now: Instant) -> bool {
        let may = self.next_complaint.is_none_or(|next| now >= next);
        if may {
            self.next_complaint = Some(now + QUIET);
        }
        may
    }
}

/// Cores for the workers, empty if they are not bound.
fn cores(args: &Args) -> Vec<usize> {
    if !args.pin {
        return Vec::new();
    }
    let cores = tandem_hw::cores::allowed().unwrap_or_default();
    if cores.len() <= 1 {
        tracing::info!("one core: workers are not bound to it");
        return Vec::new();
    }
    // The first core is left to control and the kernel as long as there are enough others.
    let skip = usize::from(cores.len() > usize::from(args.workers));
    cores.into_iter().skip(skip).collect()
}

/// A number from the system's random source.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
