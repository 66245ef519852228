//! Whether io_uring can be used here, and if not, why.

use super::{SocketConfig, Uring};
use crate::port::{Port, PortError};
use arrayvec::ArrayVec;
use core::fmt;
use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use tandem_wire::time::Instant;

/// Why io_uring can't be used here.
#[derive(Debug)]
pub struct Unavailable {
    reason: &'static str,
    error: Option<io::Error>,
}

impl Unavailable {
    const fn because(reason: &'static str) -> Self {
        Self { reason, error: None }
    }

    fn system(error: io::Error) -> Self {
        let reason = match error.raw_os_error() {
            Some(libc::ENOSYS) => "the kernel has no io_uring",
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is not permitted (sysctl kernel.io_uring_disabled, or a container's \
                 seccomp profile)"
            }
            Some(libc::ENOMEM) => "not enough memory may be locked (ulimit -l)",
            Some(libc::EMFILE | libc::ENFILE) => "the open-files limit is reached (ulimit -n)",
            _ => "io_uring failed",
        };
        Self { reason, error: Some(error) }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

impl std::error::Error for Unavailable {}

impl From<PortError> for Unavailable {
    fn from(error: PortError) -> Self {
        match error {
            PortError::System { error, .. } => Self::system(error),
            _ => Self::because("the open-files limit leaves no slot (ulimit -n)"),
        }
    }
}

impl Uring {
    /// Whether a packet can be sent and received by io_uring here, tried on loopback.
    ///
    /// # Errors
    /// Why not.
    pub fn is_available() -> Result<(), Unavailable> {
        let config =
            SocketConfig { slots: 1, frames: SocketConfig::MIN_FRAMES, receive_buffers: 16 };
        let mut port = Self::new(&config)?;
        if !port.has_features() {
            return Err(Unavailable::because("the kernel's io_uring is too old"));
        }
        let Ok(socket) = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"))
        else {
            return Err(Unavailable::because("there is no loopback to try it on"));
        };
        let sent = socket.local_addr().and_then(|own| socket.send_to(b"probe", own));
        if sent.is_err() {
            return Err(Unavailable::because("there is no loopback to try it on"));
        }
        port.open(0, socket)?;
        let mut burst = ArrayVec::new();
        for _ in 0..10 {
            port.receive_burst(Instant::ZERO, &mut burst);
            if let Some(packet) = burst.pop() {
                let whole = port.payload(&packet.frame, packet.start, packet.len) == b"probe";
                port.free(packet.frame);
                return if whole {
                    Ok(())
                } else {
                    Err(Unavailable::because("the kernel's receive has another layout"))
                };
            }
            port.wait(Duration::from_millis(20));
        }
        Err(Unavailable::because("the kernel has no multishot receive (Linux 6.0)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_remedy() {
        let text = |code| Unavailable::system(io::Error::from_raw_os_error(code)).to_string();
        assert!(text(libc::EPERM).contains("kernel.io_uring_disabled"));
        assert!(text(libc::ENOSYS).contains("no io_uring"));
        assert!(text(libc::ENOMEM).contains("ulimit -l"));
        assert!(text(libc::EMFILE).contains("ulimit -n"));
    }

    #[test]
    fn the_probe_agrees_with_the_port() {
        let works = Uring::new(&SocketConfig { slots: 1, ..SocketConfig::default() }).is_ok();
        match Uring::is_available() {
            Ok(()) => assert!(works),
            Err(reason) => eprintln!("io_uring is not available here: {reason}"),
        }
    }
}
