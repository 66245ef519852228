//! Worker threads, and the rings between them and the housekeeper.

use super::PortKind;
use super::args::Args;
use super::error::HostError;
use super::limits::Limits;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tandem_engine::endpoints::{Order, Request};
use tandem_engine::publish::Tables;
use tandem_engine::worker::{Worker, WorkerConfig};
use tandem_hw::clock::Clock;
use tandem_hw::doorbell::Doorbell;
use tandem_hw::handover::{self, Giver, Taker};
use tandem_hw::port::socket::{Mmsg, SocketConfig, Uring};
use tandem_hw::port::{Port, PortError};
use tandem_hw::shm::Memory;
use tandem_hw::table::create_pair;

/// Longest sleep of a worker that has terminations.
const NAP: Duration = Duration::from_millis(20);
/// Longest sleep of one that has none.
const REST: Duration = Duration::from_millis(200);
/// Entries of the rings between housekeeper and worker.
const RING: usize = 1_024;

type SocketOrder = Order<UdpSocket>;

/// What the housekeeper has of a worker.
#[derive(Debug)]
pub(crate) struct WorkerThread {
    pub table: Memory,
    pub bell: Doorbell,
    pub orders: Giver<SocketOrder>,
    pub requests: Taker<Request>,
    terminations: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl WorkerThread {
    /// Terminations that exist.
    pub(crate) fn terminations(&self) -> usize {
        self.terminations.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended, which it never should.
    pub(crate) fn is_dead(&self) -> bool {
        self.thread.is_finished()
    }
}

/// What the thread has.
struct Inside {
    config: WorkerConfig,
    tables: Tables,
    bell: Doorbell,
    house_bell: Doorbell,
    orders: Taker<SocketOrder>,
    requests: Giver<Request>,
    terminations: Arc<AtomicUsize>,
    socket: SocketConfig,
    kind: PortKind,
    core: Option<usize>,
    started: mpsc::SyncSender<Result<(), String>>,
}

/// Starts a worker thread and waits until its port is there.
///
/// # Errors
/// [`HostError::Worker`] if its port could not be made.
pub(crate) fn start(
    args: &Args,
    limits: &Limits,
    kind: PortKind,
    worker: u16,
    seed: u64,
    core: Option<usize>,
    house_bell: &Doorbell,
) -> Result<WorkerThread, HostError> {
    let failed = |error: String| HostError::Worker { worker, error };
    let ring = |error: tandem_hw::spsc::RegionError| failed(error.to_string());
    let entries = limits.terminations as usize;
    let (table, head, rest) =
        create_pair("tandem-table", 1, entries).map_err(|error| failed(error.to_string()))?;
    let bell = Doorbell::new().map_err(HostError::system("doorbell"))?;
    let (orders, taken_orders) = handover::channel(RING).map_err(ring)?;
    let (given_requests, requests) = handover::channel(RING).map_err(ring)?;
    let terminations = Arc::new(AtomicUsize::new(0));
    let (started, ready) = mpsc::sync_channel(1);
    let inside = Inside {
        config: WorkerConfig {
            worker,
            terminations: limits.terminations,
            endpoints_ahead: args.endpoints_ahead,
            families: args.families(),
            endpoint_limit: limits.endpoints,
            seed,
        },
        tables: Tables { worker: head, terminations: rest },
        bell: bell.try_clone().map_err(HostError::system("doorbell"))?,
        house_bell: house_bell.try_clone().map_err(HostError::system("doorbell"))?,
        orders: taken_orders,
        requests: given_requests,
        terminations: terminations.clone(),
        socket: SocketConfig {
            slots: limits.terminations * 2,
            frames: args.frames,
            receive_buffers: receive_buffers(args.frames),
        },
        kind,
        core,
        started,
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{worker}"))
        .spawn(move || inside.run())
        .map_err(HostError::system("starting a thread"))?;
    match ready.recv() {
        Ok(Ok(())) => Ok(WorkerThread { table, bell, orders, requests, terminations, thread }),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed("its thread ended".to_owned())),
    }
}

/// Half of the frames wait for packets.
fn receive_buffers(frames: u32) -> u16 {
    let half = (frames / 2).min(32_768);
    let power = if half.is_power_of_two() { half } else { half.next_power_of_two() / 2 };
    u16::try_from(power).unwrap_or(32_768)
}

impl Inside {
    fn run(self) {
        if let Some(core) = self.core
            && let Err(error) = tandem_hw::cores::pin_current_thread(core)
        {
            tracing::warn!(core, %error, "the worker could not be bound to its core");
        }
        // A port lives on the thread that made it.
        match self.kind {
            PortKind::Uring => {
                let port = Uring::new(&self.socket);
                self.run_port(port);
            }
            PortKind::Mmsg => {
                let port = Mmsg::new(&self.socket);
                self.run_port(port);
            }
        }
    }

    fn run_port<P: Port<Endpoint = UdpSocket>>(self, port: Result<P, PortError>) {
        let Inside { config, tables, bell, house_bell, orders, requests, .. } = self;
        let ready = port.and_then(|mut port| port.watch_doorbell(&bell).map(|()| port));
        let port = match ready {
            Ok(port) => port,
            Err(error) => {
                // The starter waits for this word alone.
                let _ = self.started.send(Err(error.to_string()));
                return;
            }
        };
        tracing::info!(worker = config.worker, port = port.name(), "worker runs");
        let worker = Worker::new(port, Clock::new(), config, tables);
        let _ = self.started.send(Ok(()));
        let rings = Rings { house_bell, orders, requests, waiting: None };
        run_worker(worker, rings, &self.terminations);
    }
}

struct Rings {
    house_bell: Doorbell,
    orders: Taker<SocketOrder>,
    requests: Giver<Request>,
    /// A request that found the ring full.
    waiting: Option<Request>,
}

fn run_worker<P: Port<Endpoint = UdpSocket>>(
    mut worker: Worker<P, Clock>,
    mut rings: Rings,
    terminations: &AtomicUsize,
) {
    while !rings.orders.is_abandoned() {
        while worker.takes_orders()
            && let Some(order) = rings.orders.take()
        {
            let now = worker.clock().now();
            worker.handle_order(now, order);
        }
        let busy = worker.turn();
        let mut asked = false;
        while let Some(request) = rings.waiting.take().or_else(|| worker.poll_request()) {
            // Nobody waits for what was closed: housekeeping hears of it when it wakes.
            asked |= !matches!(request, Request::Closed { .. });
            if let Err(request) = rings.requests.give(request) {
                rings.waiting = Some(request);
                asked = true;
                break;
            }
        }
        if asked {
            rings.house_bell.ring();
        }
        terminations.store(worker.terminations(), Ordering::Relaxed);
        if !busy {
            worker.wait(if worker.terminations() == 0 { REST } else { NAP });
        }
    }
    worker.publish_all();
}
