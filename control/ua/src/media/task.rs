//! Sockets and clock of a session: one task per call.

use super::sender::{Identity, MAX_PACKET};
use super::session::{Port, Session};
use crate::clock::Clock;
use crate::error::UaError;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tandem_wire::rtp::Ssrc;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Ports from which pairs are picked; below the ephemeral range of most systems.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Attempts to find a free pair.
const PAIR_ATTEMPTS: u32 = 200;

/// An even port for RTP and the odd one above for RTCP (RFC 3550 §11).
#[derive(Debug)]
pub struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    local: SocketAddr,
}

impl Pair {
    /// Binds a random free pair on `ip`.
    ///
    /// # Errors
    /// The address is not local, or no pair is free.
    pub async fn bind(ip: IpAddr) -> Result<Self, UaError> {
        let mut last = None;
        for _ in 0..PAIR_ATTEMPTS {
            let span = (PORTS.end - PORTS.start) / 2;
            let port = PORTS.start + random_u16() % span * 2;
            let local = SocketAddr::new(ip, port);
            let pair = async {
                let rtp = UdpSocket::bind(local).await?;
                let rtcp = UdpSocket::bind(SocketAddr::new(ip, port + 1)).await?;
                Ok((rtp, rtcp))
            };
            match pair.await {
                Ok((rtp, rtcp)) => return Ok(Self { rtp, rtcp, local }),
                Err(source) => last = Some(UaError::Bind { address: local, source }),
            }
        }
        Err(last.unwrap_or(UaError::Stopped))
    }

    /// Address of RTP; RTCP is on the port above.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }
}

/// Random 16 bits; zeros if the system has no randomness, which only makes numbers guessable.
#[must_use]
pub fn random_u16() -> u16 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

/// Random 32 bits, as [`random_u16`].
#[must_use]
pub fn random_u32() -> u32 {
    u32::from(random_u16()) << 16 | u32::from(random_u16())
}

/// A random start of a stream (RFC 3550 §5.1).
#[must_use]
pub fn random_identity() -> Identity {
    Identity { ssrc: Ssrc(random_u32()), sequence: random_u16(), timestamp: random_u32() }
}

/// A running session.
#[derive(Debug)]
pub struct Running {
    session: Arc<Mutex<Session>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts the session on its sockets.
    #[must_use]
    pub fn start(session: Session, pair: Pair, clock: Clock, ptime: Duration) -> Self {
        let session = Arc::new(Mutex::new(session));
        let (stop, stopped) = watch::channel(false);
        let pump = Pump { session: Arc::clone(&session), pair, clock };
        let task = tokio::spawn(pump.run(ptime, stopped));
        Self { session, stop, task }
    }

    /// The session.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    /// Sends the RTCP BYE and ends; the session stays readable.
    pub async fn stop(&mut self) {
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A poisoned session is still good to read: figures and audio, no invariants across them.
fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Pump {
    session: Arc<Mutex<Session>>,
    pair: Pair,
    clock: Clock,
}

impl Pump {
    async fn run(self, ptime: Duration, mut stopped: watch::Receiver<bool>) {
        let mut tick = interval(ptime);
        // After a stall the packets that are due go out at once, as from a phone that was starved.
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut rtp_in, mut rtcp_in) = (vec![0; 2048], vec![0; 2048]);
        loop {
            tokio::select! {
                received = self.pair.rtp.recv_from(&mut rtp_in) => {
                    self.take(received, Port::Rtp, &rtp_in);
                }
                received = self.pair.rtcp.recv_from(&mut rtcp_in) => {
                    self.take(received, Port::Rtcp, &rtcp_in);
                }
                _ = tick.tick() => self.tick().await,
                _ = stopped.changed() => break,
            }
        }
        let now = self.clock.now();
        let bye = lock(&self.session).bye(now, self.clock.to_ntp(now));
        self.send_report(bye).await;
    }

    fn take(&self, received: std::io::Result<(usize, SocketAddr)>, port: Port, buffer: &[u8]) {
        // Errors are late ICMP messages ("port unreachable"), not the end of the socket.
        let Ok((len, source)) = received else { return };
        let Some(bytes) = buffer.get(..len) else { return };
        let now = self.clock.now();
        lock(&self.session).handle_datagram(now, self.clock.to_ntp(now), source, port, bytes);
    }

    async fn tick(&self) {
        let mut out = [0; MAX_PACKET];
        let packet = lock(&self.session).next_packet(&mut out);
        if let Some((to, bytes)) = packet {
            let _ = self.pair.rtp.send_to(bytes, to).await;
        }
        let now = self.clock.now();
        let ntp = self.clock.to_ntp(now);
        let report = lock(&self.session).poll_reports(now, ntp, random_u16());
        self.send_report(report).await;
    }

    async fn send_report(&self, report: Option<(SocketAddr, Port, Vec<u8>)>) {
        if let Some((to, port, bytes)) = report {
            let socket = if port == Port::Rtp { &self.pair.rtp } else { &self.pair.rtcp };
            let _ = socket.send_to(&bytes, to).await;
        }
    }
}
