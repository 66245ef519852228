//! Which local ports are used, quarantined, or taken by other programs; random choice of the rest.
//!
//! The choice is the system's own randomness each time, not a generator's: who saw some ports can
//! not tell which come next, and so where to send media of his own to.

use super::args::Range;
use super::error::HostError;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tandem_hw::bind::{BindError, BindOptions, udp, udp_pair};
use tandem_wire::addr::SockAddr;

/// A port that another program has is tried again after this time.
const BUSY: Duration = Duration::from_secs(10);

/// Who holds a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// An endpoint of ours.
    Endpoint { worker: usize, index: u32 },
    /// Nobody, but not to be used before.
    Until(Instant),
    /// Another program, as far as known until then.
    Busy(Instant),
}

/// A bound pair of sockets.
#[derive(Debug)]
pub(crate) struct Bound {
    pub rtp: (SockAddr, UdpSocket),
    pub rtcp: Option<(SockAddr, UdpSocket)>,
}

/// Why exact addresses could not be bound.
#[derive(Debug)]
pub(crate) enum ExactError {
    /// An endpoint of ours has the port.
    Held { worker: usize, index: u32 },
    /// The system refuses.
    Refused(BindError),
    /// There is no address.
    NoAddress,
}

/// The ports of the media range on each address.
#[derive(Debug)]
pub(crate) struct Ports {
    range: Range,
    quarantine: Duration,
    holders: HashMap<(IpAddr, u16), Holder>,
    /// Times that a port of another program was skipped.
    pub skipped: u64,
}

impl Ports {
    pub(crate) fn new(range: Range, quarantine: Duration) -> Self {
        Self { range, quarantine, holders: HashMap::new(), skipped: 0 }
    }

    /// Binds a random free pair for an endpoint.
    ///
    /// # Errors
    /// [`HostError::RangeExhausted`] or whatever the system says that is not about one port.
    pub(crate) fn bind_random(
        &mut self,
        ip: IpAddr,
        worker: usize,
        index: u32,
        now: Instant,
    ) -> Result<Bound, HostError> {
        let pairs = self.range.pairs();
        let start = random_below(pairs)?;
        // A random walk that meets every pair once: an odd step that shares no factor with the
        // number of pairs would need its factors; a step of 1 from a random start is enough here.
        for offset in 0..pairs {
            let port = self.range.pair((start + offset) % pairs);
            match self.holders.get(&(ip, port)) {
                Some(Holder::Until(end) | Holder::Busy(end)) if *end > now => continue,
                Some(Holder::Endpoint { .. }) => continue,
                _ => {}
            }
            match udp_pair(ip, port, &BindOptions::default()) {
                Ok((rtp, rtcp)) => {
                    self.holders.insert((ip, port), Holder::Endpoint { worker, index });
                    let address = |port| SockAddr::from(SocketAddr::new(ip, port));
                    return Ok(Bound {
                        rtp: (address(port), rtp),
                        rtcp: Some((address(port + 1), rtcp)),
                    });
                }
                Err(BindError::AddrInUse(_) | BindError::Permission(_)) => {
                    self.skipped += 1;
                    self.holders.insert((ip, port), Holder::Busy(now + BUSY));
                }
                Err(error) => return Err(HostError::Address(ip, error.to_string())),
            }
        }
        let is_busy = |h: &Holder| matches!(h, Holder::Busy(end) if *end > now);
        let busy = self.holders.values().filter(|holder| is_busy(holder)).count();
        let Range(first, last) = self.range;
        Err(HostError::RangeExhausted { first, last, address: ip, busy })
    }

    /// Binds exactly these addresses, quarantined or not.
    ///
    /// # Errors
    /// See [`ExactError`].
    pub(crate) fn bind_exactly(
        &mut self,
        rtp: SockAddr,
        rtcp: SockAddr,
        worker: usize,
        index: u32,
    ) -> Result<Bound, ExactError> {
        let address = rtp.to_std().ok_or(ExactError::NoAddress)?;
        let key = key(address);
        if let Some(&Holder::Endpoint { worker, index }) = self.holders.get(&key) {
            return Err(ExactError::Held { worker, index });
        }
        let options = BindOptions::default();
        let first = udp(address, &options).map_err(ExactError::Refused)?;
        let second = match rtcp.to_std() {
            Some(address) => Some((rtcp, udp(address, &options).map_err(ExactError::Refused)?)),
            None => None,
        };
        self.holders.insert(key, Holder::Endpoint { worker, index });
        Ok(Bound { rtp: (rtp, first), rtcp: second })
    }

    /// An endpoint was closed: its ports rest for a while.
    pub(crate) fn closed(&mut self, rtp: SockAddr, now: Instant) {
        if let Some(address) = rtp.to_std() {
            self.holders.insert(key(address), Holder::Until(now + self.quarantine));
        }
    }

    /// Forgets what is over, so that the map stays small.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.holders.retain(|_, holder| match holder {
            Holder::Until(end) | Holder::Busy(end) => *end > now,
            Holder::Endpoint { .. } => true,
        });
    }
}

/// An unpredictable number from 0 to `bound - 1`; 0 if `bound` is 0.
fn random_below(bound: u32) -> Result<u32, HostError> {
    let failed = |error: getrandom::Error| std::io::Error::other(error.to_string());
    let random = getrandom::u64().map_err(failed).map_err(HostError::system("random numbers"))?;
    // The remainder is below a u32.
    Ok(u32::try_from(random % u64::from(bound.max(1))).unwrap_or(0))
}

/// The pair that an address belongs to.
fn key(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip(), address.port() & !1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A range of three pairs that are free now, found by the system's own choice.
    fn range() -> Range {
        loop {
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1;
            let Some(last) = port.checked_add(5) else { continue };
            let range = Range(port, last);
            let free = |n| udp_pair(IP, range.pair(n), &BindOptions::default()).is_ok();
            if (0..3).all(free) {
                return range;
            }
        }
    }

    #[test]
    fn choices_cannot_be_foretold() {
        let draw = || (0..64).map(|_| random_below(15_000).unwrap()).collect::<Vec<_>>();
        let (first, second) = (draw(), draw());
        assert_ne!(first, second);
        assert!(first.iter().all(|&number| number < 15_000));
        assert!((0..64).all(|_| random_below(1).unwrap() == 0));
        let mut seen = [false; 3];
        (0..200).for_each(|_| seen[random_below(3).unwrap() as usize] = true);
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn closed_ports_rest_and_come_back() {
        let (range, now) = (range(), Instant::now());
        let mut ports = Ports::new(range, Duration::from_secs(5));
        let bound: Vec<_> =
            (0..3).map(|i| ports.bind_random(IP, 0, i, now).unwrap().rtp.0).collect();
        let error = ports.bind_random(IP, 0, 9, now).unwrap_err();
        assert!(matches!(error, HostError::RangeExhausted { busy: 0, .. }), "{error}");
        ports.closed(bound[1], now);
        assert!(ports.bind_random(IP, 0, 9, now).is_err(), "in quarantine");
        let later = now + Duration::from_secs(6);
        ports.sweep(later);
        assert_eq!(ports.bind_random(IP, 0, 9, later).unwrap().rtp.0, bound[1]);
    }

    #[test]
    fn busy_ports_are_skipped_and_counted() {
        let (range, now) = (range(), Instant::now());
        let _other = UdpSocket::bind((IP, range.pair(0))).unwrap();
        let _third = UdpSocket::bind((IP, range.pair(2) + 1)).unwrap();
        let mut ports = Ports::new(range, Duration::ZERO);
        let only = ports.bind_random(IP, 0, 0, now).unwrap();
        assert_eq!(only.rtp.0.port(), range.pair(1));
        assert!(ports.bind_random(IP, 0, 1, now).is_err());
        assert!(ports.skipped >= 2);
    }

    #[test]
    fn exact_addresses_even_in_quarantine_but_not_of_another_endpoint() {
        let (range, now) = (range(), Instant::now());
        let mut ports = Ports::new(range, Duration::from_secs(5));
        let bound = ports.bind_random(IP, 3, 4, now).unwrap();
        let (rtp, rtcp) = (bound.rtp.0, bound.rtcp.as_ref().unwrap().0);
        let error = ports.bind_exactly(rtp, rtcp, 0, 1).unwrap_err();
        assert!(matches!(error, ExactError::Held { worker: 3, index: 4 }));
        drop(bound);
        ports.closed(rtp, now);
        let again = ports.bind_exactly(rtp, rtcp, 0, 1).unwrap();
        assert_eq!(again.rtp.1.local_addr().unwrap().port(), rtp.port());
    }
}
