//! Kernel UDP sockets: the port that runs everywhere, unprivileged.
//!
//! [`Uring`] drives them by io_uring, [`Mmsg`] by epoll, recvmmsg and sendmmsg where io_uring is
//! not allowed ([`Uring::is_available`] says why). Both behave the same; an endpoint is a bound,
//! non-blocking socket (see [`crate::bind`]), and each port lives on the thread that made it.

use super::PortError;
use crate::frame::{FRAME_SIZE, HEADROOM, MAX_PAYLOAD, TAILROOM};
use crate::port::{BURST, DEPARTURES};
use std::net::UdpSocket;

mod available;
mod departing;
mod mmsg;
mod name;
mod provided;
mod stamp;
mod uring;

pub use available::Unavailable;
pub use mmsg::Mmsg;
pub use uring::Uring;

/// Frames that stay outside of the receive queues, for copies and packets of our own.
const RESERVE: usize = DEPARTURES;

const _: () = assert!(HEADROOM + MAX_PAYLOAD + TAILROOM == FRAME_SIZE);

/// Sizes of a socket port, fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Slots (sockets); the open-files limit bounds them.
    pub slots: u32,
    /// Frames in all, 2 KiB each.
    pub frames: u32,
    /// Frames that wait in the kernel for packets (io_uring), a power of two up to 32,768.
    pub receive_buffers: u16,
}

impl Default for SocketConfig {
    /// 8,192 slots; 2,048 frames (4 MiB), a quarter of them waiting for packets.
    ///
    /// Waiting frames are used in turn, so their number decides how much memory a worker walks
    /// through: with 2,048 a relayed packet costs a quarter more than with 512, which stay in the
    /// cache. What comes beyond them waits in the sockets.
    fn default() -> Self {
        Self { slots: 8_192, frames: 2_048, receive_buffers: 512 }
    }
}

impl SocketConfig {
    /// Fewest frames that a socket port works with.
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    pub const MIN_FRAMES: u32 = (RESERVE + BURST) as u32;

    fn check(&self) -> Result<(), PortError> {
        let sound = self.slots > 0
            && self.frames >= Self::MIN_FRAMES
            && self.receive_buffers.is_power_of_two()
            && self.receive_buffers <= 32_768;
        if sound {
            Ok(())
        } else {
            let error = std::io::ErrorKind::InvalidInput.into();
            Err(PortError::System { operation: "sizes of the port", error })
        }
    }
}

/// Slot numbers that can be had: what is configured, within the open-files limit.
fn slot_limit(configured: u32) -> u32 {
    u32::try_from(crate::limits::open_files().soft).unwrap_or(u32::MAX).min(configured)
}

/// Marks a socket's packets (RFC 2474: the upper six bits of the TOS or traffic class octet).
fn set_dscp(socket: &UdpSocket, dscp: u8) {
    use rustix::net::sockopt::{set_ip_tos, set_ipv6_tclass};
    let octet = (dscp & 0x3f) << 2;
    let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    // A kernel without the option leaves packets unmarked; that is all there is to do.
    let _ =
        if is_ipv6 { set_ipv6_tclass(socket, u32::from(octet)) } else { set_ip_tos(socket, octet) };
}

#[cfg(test)]
mod tests;
