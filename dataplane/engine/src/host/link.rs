//! The control process: its coming, the hello with fresh lanes, its going.

use super::PortKind;
use super::error::HostError;
use super::limits::Limits;
use super::threads::WorkerThread;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use tandem_contract::hello::{Hello, MAGIC, STATUS_BUSY, STATUS_OK, VERSION};
use tandem_contract::limits::{COMMAND_RING, EVENT_RING};
use tandem_engine::Lane;
use tandem_engine::endpoints::Order;
use tandem_hw::doorbell::Doorbell;
use tandem_hw::seqpacket::{Connection, Listener};
use tandem_hw::shm::Memory;

/// One worker's part of an attach.
struct Attachment {
    lane: Lane,
    memory: Memory,
    /// Towards control.
    bell: Doorbell,
}

/// The listener and the one control process.
#[derive(Debug)]
pub(crate) struct Link {
    pub listener: Listener,
    pub control: Option<Connection>,
    hello: Hello,
}

impl Link {
    /// Listens.
    ///
    /// # Errors
    /// [`HostError::SocketInUse`], [`HostError::Socket`].
    pub(crate) fn listen(
        path: &Path,
        workers: u16,
        limits: &Limits,
        kind: PortKind,
        instance: u64,
    ) -> Result<Self, HostError> {
        let listener = Listener::bind(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => HostError::SocketInUse(path.to_owned()),
            _ => HostError::Socket(path.to_owned(), error),
        })?;
        let ring = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            status: STATUS_OK,
            workers: workers.into(),
            instance,
            epoch: 0,
            pid: std::process::id(),
            control_pid: 0,
            port: kind.number(),
            terminations: limits.terminations,
            command_ring: ring(COMMAND_RING),
            event_ring: ring(EVENT_RING),
            endpoint_limit: limits.endpoints,
            reserved: 0,
        };
        Ok(Self { listener, control: None, hello })
    }

    /// Accepts whoever waits: the first becomes control, others are told who is.
    pub(crate) fn accept(&mut self, workers: &[WorkerThread]) -> Vec<Order<std::net::UdpSocket>> {
        let mut orders = Vec::new();
        loop {
            let connection = match self.listener.accept() {
                Ok(Some(connection)) => connection,
                Ok(None) => return orders,
                Err(error) => {
                    tracing::error!(%error, "a control process could not be accepted");
                    return orders;
                }
            };
            if let Some(control) = &self.control {
                let control_pid = control.peer_pid().unwrap_or(0);
                let busy = Hello { status: STATUS_BUSY, control_pid, ..self.hello };
                tracing::warn!(control_pid, "a second control process was sent away");
                // It may be gone already.
                let _ = connection.send(bytemuck::bytes_of(&busy), &[]);
                continue;
            }
            match self.attach(&connection, workers) {
                Ok(attached) => {
                    let pid = connection.peer_pid().unwrap_or(0);
                    tracing::info!(pid, epoch = self.hello.epoch, "control attached");
                    self.control = Some(connection);
                    orders = attached;
                }
                Err(error) => tracing::error!(%error, "control could not be attached"),
            }
        }
    }

    /// Makes lanes for a new control process and sends the hello; one order per worker.
    fn attach(
        &mut self,
        connection: &Connection,
        workers: &[WorkerThread],
    ) -> io::Result<Vec<Order<std::net::UdpSocket>>> {
        let attachments = workers
            .iter()
            .map(|_| {
                let (memory, lane) = Lane::create("tandem-lane", COMMAND_RING, EVENT_RING)?;
                Ok(Attachment { lane, memory, bell: Doorbell::new()? })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let hello = Hello { epoch: self.hello.epoch + 1, ..self.hello };
        let fds: Vec<BorrowedFd<'_>> = attachments
            .iter()
            .zip(workers)
            .flat_map(|(attachment, worker)| {
                [
                    attachment.memory.fd(),
                    worker.table.fd(),
                    worker.bell.as_fd(),
                    attachment.bell.as_fd(),
                ]
            })
            .collect();
        connection.send(bytemuck::bytes_of(&hello), &fds)?;
        drop(fds);
        self.hello = hello;
        let order = |a: Attachment| Order::Attach { lane: Box::new(a.lane), bell: a.bell };
        Ok(attachments.into_iter().map(order).collect())
    }

    /// Whether control has just gone.
    pub(crate) fn has_gone(&mut self) -> bool {
        let Some(control) = &self.control else { return false };
        let mut buffer = [0; 64];
        let gone = loop {
            match control.recv(&mut buffer) {
                // Nothing is said on this socket after the hello.
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        if gone {
            self.control = None;
            tracing::warn!("control is gone; calls go on until their leases end");
        }
        gone
    }
}
