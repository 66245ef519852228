//! `DATA/run.json`: what a running daemon tells of itself, and the lock of the data folder.

use crate::config::types::Algorithm;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tandem_signalling::stack::Transport;

/// What a running daemon tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Process id.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where SIP listens on UDP.
    pub sip_udp: Vec<SocketAddr>,
    /// Where SIP listens on TCP.
    pub sip_tcp: Vec<SocketAddr>,
    /// Where SIP listens on TLS.
    #[serde(default)]
    pub sip_tls: Vec<SocketAddr>,
    /// Where SIP listens on WebSocket.
    #[serde(default)]
    pub sip_ws: Vec<SocketAddr>,
    /// Where SIP listens on secure WebSocket.
    #[serde(default)]
    pub sip_wss: Vec<SocketAddr>,
    /// Realm of the users.
    pub realm: String,
    /// Digest algorithms that phones are asked for.
    pub algorithms: Vec<Algorithm>,
    /// The SQLite file.
    pub store: PathBuf,
}

impl RunFile {
    /// Where SIP listens on a transport.
    #[must_use]
    pub fn sip(&self, transport: Transport) -> &[SocketAddr] {
        match transport {
            Transport::Udp => &self.sip_udp,
            Transport::Tcp => &self.sip_tcp,
            Transport::Tls => &self.sip_tls,
            Transport::Ws => &self.sip_ws,
            Transport::Wss => &self.sip_wss,
        }
    }

    /// Where it lies in a data folder.
    #[must_use]
    pub fn path(data: &Path) -> PathBuf {
        data.join("run.json")
    }

    /// Reads it; `None` if there is none, or none that makes sense.
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(data)).ok()?).ok()
    }

    /// Writes it at once: a reader sees the whole file or none.
    ///
    /// # Errors
    /// The system's answer.
    pub fn write(&self, data: &Path) -> io::Result<()> {
        let new = data.join("run.json.new");
        fs::write(&new, serde_json::to_string_pretty(self)?)?;
        fs::rename(&new, Self::path(data))
    }

    /// Removes it.
    pub fn remove(data: &Path) {
        // A file that stays is recognised as stale: nobody answers at its address.
        let _ = fs::remove_file(Self::path(data));
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be written.
    #[error(
        "cannot write to the data folder {path}: {source}. Choose another one with --data DIR, or make it writable for this user"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another daemon uses it.
    #[error(
        "another tandem (process {pid}) uses the data folder {path}. End that one, or choose another folder with --data DIR"
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The other's process id, as it wrote it.
        pid: String,
    },
}

/// Makes a folder that only this user can read: it holds digests of passwords and who called
/// whom. One that exists keeps its permissions.
///
/// # Errors
/// The system's answer.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The right to use a data folder; the system takes it back when the process ends, however it
/// ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if it is missing, and takes it.
    ///
    /// # Errors
    /// [`LockError`] if it is not writable, or another process has it.
    pub fn take(data: &Path) -> Result<Self, LockError> {
        let fail = |source| LockError::Folder { path: data.to_owned(), source };
        make_private_folder(data).map_err(fail)?;
        let path = data.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim().to_owned();
                return Err(LockError::Taken { path: data.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(fail)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_file() -> RunFile {
        RunFile {
            pid: 7,
            version: "0.1.0".into(),
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            http: "127.0.0.1:8080".parse().unwrap(),
            sip_udp: vec!["127.0.0.1:5060".parse().unwrap()],
            sip_tcp: vec![],
            sip_tls: vec![],
            sip_ws: vec![],
            sip_wss: vec![],
            realm: "tandem".into(),
            algorithms: vec![],
            store: "data/tandem.db".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunFile::read(folder.path()), None);
        run_file().write(folder.path()).unwrap();
        assert_eq!(RunFile::read(folder.path()), Some(run_file()));
        RunFile::remove(folder.path());
        assert_eq!(RunFile::read(folder.path()), None);
    }

    #[test]
    fn a_folder_belongs_to_one_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        let first = FolderLock::take(&data).unwrap();
        let error = FolderLock::take(&data).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        FolderLock::take(&data).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = FolderLock::take(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data") && error.contains("--data"), "{error}");
    }
}
