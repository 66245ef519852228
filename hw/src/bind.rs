//! UDP sockets for media, bound as the engine wants them.

use core::fmt;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// How a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// Kernel buffer of received packets, octets; the system may grant less.
    pub receive_buffer: usize,
    /// Kernel buffer of packets to send, octets; the system may grant less.
    pub send_buffer: usize,
}

impl Default for BindOptions {
    /// 256 KiB to receive (about a second of G.711 with the kernel's overhead at ten times the
    /// rate), the same to send.
    fn default() -> Self {
        Self { receive_buffer: 256 * 1_024, send_buffer: 256 * 1_024 }
    }
}

/// Why a socket could not be bound.
#[derive(Debug)]
pub enum BindError {
    /// Another socket has the port.
    AddrInUse(SocketAddr),
    /// No interface has the address.
    NoSuchAddress(SocketAddr),
    /// The process may not (a port below 1024).
    Permission(SocketAddr),
    /// The open-files limit is reached: raise it (`ulimit -n`, `LimitNOFILE=` of the unit).
    TooManyOpenFiles,
    /// The system does not do IPv6 (or IPv4).
    NoFamily(SocketAddr),
    /// Something else.
    Other(SocketAddr, io::Error),
}

impl BindError {
    fn new(address: SocketAddr, errno: Errno) -> Self {
        match errno {
            Errno::ADDRINUSE => Self::AddrInUse(address),
            Errno::ADDRNOTAVAIL => Self::NoSuchAddress(address),
            Errno::ACCESS | Errno::PERM => Self::Permission(address),
            Errno::MFILE | Errno::NFILE => Self::TooManyOpenFiles,
            Errno::AFNOSUPPORT => Self::NoFamily(address),
            other => Self::Other(address, other.into()),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddrInUse(address) => write!(f, "{address}: another socket has this port"),
            Self::NoSuchAddress(address) => {
                write!(f, "{}: no interface has this address", address.ip())
            }
            Self::Permission(address) => write!(f, "{address}: not permitted"),
            Self::TooManyOpenFiles => {
                f.write_str("the open-files limit is reached (raise it with `ulimit -n`)")
            }
            Self::NoFamily(address) => {
                write!(f, "{}: the system does not support this address family", address.ip())
            }
            Self::Other(address, error) => write!(f, "{address}: {error}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Other(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Binds a non-blocking UDP socket. IPv6 sockets take IPv6 only, and no port is shared.
///
/// Port 0 lets the system choose.
///
/// # Errors
/// See [`BindError`].
pub fn udp(address: SocketAddr, options: &BindOptions) -> Result<UdpSocket, BindError> {
    bind(address, options).map_err(|errno| BindError::new(address, errno))
}

fn bind(address: SocketAddr, options: &BindOptions) -> Result<UdpSocket, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // With CAP_NET_ADMIN beyond the system's maximum, else up to it; less is not an error.
    let receive = options.receive_buffer;
    if sockopt::set_socket_recv_buffer_size_force(&socket, receive).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, receive);
    }
    let send = options.send_buffer;
    if sockopt::set_socket_send_buffer_size_force(&socket, send).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(&socket, send);
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

/// Binds an RTP/RTCP pair: `port`, which must be even, and the odd one above (RFC 3550 §11).
///
/// # Errors
/// See [`BindError`]; nothing stays bound then.
pub fn udp_pair(
    ip: IpAddr,
    port: u16,
    options: &BindOptions,
) -> Result<(UdpSocket, UdpSocket), BindError> {
    let rtp = SocketAddr::new(ip, port);
    if port == 0 || !port.is_multiple_of(2) {
        return Err(BindError::Other(rtp, io::ErrorKind::InvalidInput.into()));
    }
    let first = udp(rtp, options)?;
    let second = udp(SocketAddr::new(ip, port + 1), options)?;
    Ok((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_busy_port_is_told_apart_from_a_wrong_address() {
        let options = BindOptions::default();
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let socket = udp(any(local), &options).unwrap();
            let address = socket.local_addr().unwrap();
            let error = udp(address, &options).unwrap_err();
            assert!(matches!(error, BindError::AddrInUse(a) if a == address), "{error}");
        }
        let error = udp(any("192.0.2.1:0"), &options).unwrap_err();
        assert!(matches!(error, BindError::NoSuchAddress(_)), "{error}");
    }

    #[test]
    fn sockets_have_room_and_do_not_block() {
        let socket = udp(any("127.0.0.1:0"), &BindOptions::default()).unwrap();
        assert!(sockopt::socket_recv_buffer_size(&socket).unwrap() >= 256 * 1_024);
        let error = socket.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_ipv6_socket_leaves_the_ipv4_port_free() {
        let options = BindOptions::default();
        let six = udp(any("[::]:0"), &options).unwrap();
        let port = six.local_addr().unwrap().port();
        // Somebody else may have taken the IPv4 port; what matters is who.
        match udp(SocketAddr::new(any("0.0.0.0:0").ip(), port), &options) {
            Ok(_) => {}
            Err(error) => assert!(matches!(error, BindError::AddrInUse(_)), "{error}"),
        }
        assert!(sockopt::ipv6_v6only(&six).unwrap());
    }

    #[test]
    fn a_pair_is_even_and_odd_or_nothing() {
        let options = BindOptions::default();
        let ip = any("127.0.0.1:0").ip();
        assert!(udp_pair(ip, 40_001, &options).is_err());
        assert!(udp_pair(ip, 0, &options).is_err());
        for _ in 0..100 {
            let probe = udp(SocketAddr::new(ip, 0), &options).unwrap();
            let port = probe.local_addr().unwrap().port() & !1;
            drop(probe);
            let Ok((rtp, rtcp)) = udp_pair(ip, port, &options) else { continue };
            assert_eq!(rtp.local_addr().unwrap().port(), port);
            assert_eq!(rtcp.local_addr().unwrap().port(), port + 1);
            drop(rtp);
            let error = udp_pair(ip, port, &options).unwrap_err();
            assert!(matches!(error, BindError::AddrInUse(a) if a.port() == port + 1), "{error}");
            udp(SocketAddr::new(ip, port), &options).expect("the even port was let go");
            return;
        }
        panic!("no free pair found");
    }
}
