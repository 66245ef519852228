//! Unix sockets that keep message boundaries and pass descriptors (`SOCK_SEQPACKET`).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// Descriptors that one message can carry (the kernel's `SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A socket that waits for connections; its file goes with it.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Listens on `path`. A file that a dead process left there is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when somebody answers there, or when the file is not a socket; otherwise what
    /// the system says.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let address = SocketAddrUnix::new(path)?;
        let fd = socket()?;
        match rustix::net::bind(&fd, &address) {
            Err(Errno::ADDRINUSE) if is_abandoned(path) => {
                std::fs::remove_file(path)?;
                rustix::net::bind(&fd, &address)?;
            }
            result => result?,
        }
        rustix::net::listen(&fd, 8)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The next connection, `None` if nobody waits.
    ///
    /// # Errors
    /// When the system refuses (open-files limit).
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        match rustix::net::accept_with(&self.fd, FLAGS) {
            Ok(fd) => Ok(Some(Connection { fd })),
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?)
}

/// Whether `path` is a socket that nobody listens on.
fn is_abandoned(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && matches!(Connection::connect(path),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What [`Connection::recv`] got.
#[derive(Debug)]
pub struct Message {
    /// Octets in the buffer.
    pub len: usize,
    /// The message was longer than the buffer, or had more descriptors than were taken.
    pub truncated: bool,
    /// The descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// One end of a connection. It never blocks.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
}

impl Connection {
    /// Connects to a listener.
    ///
    /// # Errors
    /// `NotFound` and `ConnectionRefused` when nobody is there, otherwise what the system says.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let fd = socket()?;
        rustix::net::connect(&fd, &SocketAddrUnix::new(path.as_ref())?)?;
        Ok(Self { fd })
    }

    /// Two ends that are connected to each other.
    ///
    /// # Errors
    /// When the system refuses (open-files limit).
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, two) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
        Ok((Self { fd: one }, Self { fd: two }))
    }

    /// Sends one message with descriptors; the peer gets duplicates of them.
    ///
    /// # Errors
    /// `WouldBlock` when the peer does not read, `InvalidInput` for more than [`MAX_FDS`]
    /// descriptors or no octets, `BrokenPipe` when the peer is gone.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.is_empty() || fds.len() > MAX_FDS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let data = [IoSlice::new(bytes)];
        let sent = rustix::net::sendmsg(&self.fd, &data, &mut control, SendFlags::NOSIGNAL)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Receives one message, `None` if the peer has closed.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, otherwise what the system says.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<Message>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(&self.fd, &mut data, &mut control, flags)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 && fds.is_empty() {
            return Ok(None);
        }
        let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
        Ok(Some(Message {
            len: received.bytes.min(buffer.len()),
            truncated: received.flags.intersects(cut),
            fds,
        }))
    }

    /// Process id of the peer at the time when it connected (`SO_PEERCRED`).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn peer_pid(&self) -> io::Result<u32> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.fd)?;
        u32::try_from(credentials.pid.as_raw_nonzero().get())
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// User id of the peer at the time when it connected (`SO_PEERCRED`).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(rustix::net::sockopt::socket_peercred(&self.fd)?.uid.as_raw())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> Self {
        connection.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Doorbell;
    use crate::shm::Memory;

    /// A path for a socket that no other test uses, in a folder that goes with the value.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("tandem-hw-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("engine.sock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn messages_keep_their_bounds_and_carry_descriptors() {
        let place = Place::new("carry");
        let listener = Listener::bind(place.path()).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let control = Connection::connect(place.path()).unwrap();
        let engine = listener.accept().unwrap().unwrap();
        assert_eq!(engine.peer_pid().unwrap(), std::process::id());
        assert_eq!(control.peer_pid().unwrap(), std::process::id());
        assert_eq!(engine.peer_uid().unwrap(), rustix::process::getuid().as_raw());

        let memory = Memory::create("lane", 4_096).unwrap();
        let bell = Doorbell::new().unwrap();
        engine.send(b"hello", &[memory.fd(), bell.as_fd()]).unwrap();
        engine.send(b"second", &[]).unwrap();
        let mut buffer = [0; 16];
        let first = control.recv(&mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..first.len], first.truncated), (&b"hello"[..], false));
        let [shared, rung] = <[OwnedFd; 2]>::try_from(first.fds).unwrap();
        Doorbell::from_fd(rung).unwrap().ring();
        assert!(bell.drain());
        assert_eq!(Memory::from_fd(shared, 4_096).unwrap().len(), 4_096);
        let second = control.recv(&mut buffer[..3]).unwrap().unwrap();
        assert_eq!((second.len, second.truncated, second.fds.len()), (3, true, 0));
        let error = control.recv(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);

        drop(engine);
        assert!(control.recv(&mut buffer).unwrap().is_none(), "the peer has closed");
        let error = control.send(b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_allows() {
        let (one, two) = Connection::pair().unwrap();
        let bell = Doorbell::new().unwrap();
        let fds = [bell.as_fd(); MAX_FDS + 1];
        one.send(b"all", &fds[..MAX_FDS]).unwrap();
        let message = two.recv(&mut [0; 8]).unwrap().unwrap();
        assert_eq!((message.fds.len(), message.truncated), (MAX_FDS, false));
        let error = one.send(b"more", &fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(one.send(b"", &[]).is_err(), "that would look like the end");
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let place = Place::new("dead");
        let first = Listener::bind(place.path()).unwrap();
        let error = Listener::bind(place.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // A process that was killed leaves its file behind.
        let Listener { fd, path } = &first;
        assert!(path.exists());
        let left = fd.try_clone().unwrap();
        rustix::net::shutdown(&left, rustix::net::Shutdown::Both).unwrap();
        let second = Listener::bind(place.path()).unwrap();
        assert!(Connection::connect(place.path()).is_ok());
        drop(second);
        assert!(!place.path().exists());

        std::fs::write(place.path(), "a file").unwrap();
        assert!(Listener::bind(place.path()).is_err());
        assert_eq!(std::fs::read(place.path()).unwrap(), b"a file", "not ours to remove");
        let error = Connection::connect(place.0.join("nobody")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
