//! Doorbells: an eventfd that wakes a sleeping peer, of this process or another.

use rustix::event::EventfdFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;

/// See the module.
#[derive(Debug)]
pub struct Doorbell(OwnedFd);

impl Doorbell {
    /// A silent doorbell.
    ///
    /// # Errors
    /// When the system refuses (open-files limit).
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(rustix::event::eventfd(0, flags)?))
    }

    /// A doorbell that another process made. The descriptor is made non-blocking.
    ///
    /// # Errors
    /// When it is closed, or reads from it would not be short.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    /// The same doorbell under another descriptor.
    ///
    /// # Errors
    /// When the system refuses (open-files limit).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Rings. If it rings already, it goes on ringing.
    pub fn ring(&self) {
        // The only failure of a sound eventfd is a counter at its maximum: it rings already then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Silences it; `true` if it rang.
    pub fn drain(&self) -> bool {
        rustix::io::read(&self.0, &mut [0_u8; 8]).is_ok()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_until_drained() {
        let bell = Doorbell::new().unwrap();
        let twin = Doorbell::from_fd(bell.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(!bell.drain());
        twin.ring();
        twin.ring();
        assert!(bell.drain());
        assert!(!bell.drain() && !twin.drain());
    }
}
