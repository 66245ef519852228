//! Opens the listening sockets, with an error that names the remedy.

use super::limits;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

/// Why the signalling sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Another process has the port.
    #[error(
        "SIP {transport} address {address} is in use by another process. \
         Remedy: stop it (`ss -lp 'sport = :{port}'` shows it), or listen elsewhere, e.g. \
         `[sip] listen = [\"{ip}:{next}\"]` in the configuration file",
        port = address.port(),
        ip = bracketed(*address),
        next = address.port().checked_add(10).unwrap_or(5070)
    )]
    Busy {
        /// The transport, as in a Via.
        transport: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The machine does not have the address.
    #[error(
        "SIP {transport} address {address} is not an address of this machine. \
         Remedy: listen on one that `ip address` shows, and set the advertised address for what \
         phones shall see"
    )]
    NotLocal {
        /// The transport, as in a Via.
        transport: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Ports below 1024 need a privilege.
    #[error(
        "SIP {transport} address {address} needs a privilege. \
         Remedy: use a port of 1024 or more, or give the process CAP_NET_BIND_SERVICE"
    )]
    Denied {
        /// The transport, as in a Via.
        transport: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Anything else that the system says.
    #[error("SIP {transport} address {address}: {error}")]
    Bind {
        /// The transport, as in a Via.
        transport: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The poller could not be made.
    #[error("cannot watch the SIP sockets: {0}")]
    Poll(#[from] io::Error),
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

fn explain(transport: &'static str, address: SocketAddr, error: io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::AddrInUse => NetError::Busy { transport, address },
        io::ErrorKind::AddrNotAvailable => NetError::NotLocal { transport, address },
        io::ErrorKind::PermissionDenied => NetError::Denied { transport, address },
        _ => NetError::Bind { transport, address, error },
    }
}

/// Makes a non-blocking socket; an IPv6 one carries IPv6 alone, so that both families can be
/// listened to on one port.
pub(super) fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    Ok(fd)
}

/// Binds a UDP socket.
///
/// # Errors
/// [`NetError`], with the remedy.
pub(super) fn udp(address: SocketAddr) -> Result<UdpSocket, NetError> {
    let bound = socket(address, SocketType::DGRAM).and_then(|fd| {
        // The kernel caps what it gives; a smaller buffer only costs retransmissions.
        let _ = sockopt::set_socket_recv_buffer_size(&fd, limits::UDP_BUFFER);
        let _ = sockopt::set_socket_send_buffer_size(&fd, limits::UDP_BUFFER);
        rustix::net::bind(&fd, &address)?;
        Ok(UdpSocket::from(fd))
    });
    bound.map_err(|error| explain("UDP", address, error))
}

/// What every connection has: small messages go at once, and peers that are gone without a word
/// are found. What is accepted has it from its listener.
pub(super) fn prepare_stream(fd: &OwnedFd) {
    // A system without one of them does without it.
    let _ = sockopt::set_tcp_nodelay(fd, true);
    let _ = sockopt::set_socket_keepalive(fd, true);
    let _ = sockopt::set_tcp_keepidle(fd, limits::PROBE_AFTER);
    let _ = sockopt::set_tcp_keepintvl(fd, limits::PROBE_EVERY);
    let _ = sockopt::set_tcp_keepcnt(fd, limits::PROBES);
}

/// Binds the listener of a stream transport.
///
/// # Errors
/// [`NetError`], with the remedy.
pub(super) fn stream(
    transport: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, NetError> {
    let bound = socket(address, SocketType::STREAM).and_then(|fd| {
        // Connections of a previous run in TIME-WAIT must not keep the port.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        prepare_stream(&fd);
        rustix::net::bind(&fd, &address)?;
        rustix::net::listen(&fd, 1024)?;
        Ok(TcpListener::from(fd))
    });
    bound.map_err(|error| explain(transport, address, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_with_its_remedy() {
        let first = udp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let text = udp(address).unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains("Remedy"), "{text}");
    }

    #[test]
    fn a_foreign_address_is_named_with_its_remedy() {
        let text = stream("TCP", "192.0.2.1:5060".parse().unwrap()).unwrap_err().to_string();
        assert!(text.contains("not an address of this machine"), "{text}");
    }
}
