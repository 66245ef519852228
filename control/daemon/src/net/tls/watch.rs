//! Reads certificates again when their files change, on a thread of its own: the signalling thread
//! waits for no disk.

use super::files::Tls;
use core::time::Duration;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::SystemTime;

/// How often the files are looked at. What has changed is read at the next look that finds it
/// unchanged, so that a certificate is not read between its own file and that of its key.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells that a file is another one.
type Stamp = Vec<Option<(u64, u64, SystemTime)>>;

/// Reloads on demand; the watching ends when it is dropped.
#[derive(Clone, Debug)]
pub struct TlsWatch(Sender<()>);

impl TlsWatch {
    /// Watches the files of `tls`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(tls: Arc<Tls>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("tls-files".into())
            .spawn(move || watch(&tls, &receiver, LOOK_EVERY))?;
        Ok(Self(sender))
    }

    /// Reads the files again now, whether or not they have changed.
    pub fn reload(&self) {
        // Fails only when the thread is gone, which ends with the last sender.
        let _ = self.0.send(());
    }
}

fn watch(tls: &Tls, asked: &Receiver<()>, every: Duration) {
    let mut used = stamp(tls);
    let mut seen = used.clone();
    loop {
        let now = match asked.recv_timeout(every) {
            Ok(()) => {
                let now = stamp(tls);
                used.clone_from(&now);
                reload(tls);
                now
            }
            Err(RecvTimeoutError::Timeout) => stamp(tls),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if now != used && now == seen {
            // Also when it fails: the reason is said once.
            used.clone_from(&now);
            reload(tls);
        }
        seen = now;
    }
}

fn reload(tls: &Tls) {
    match tls.reload() {
        Ok(()) => tracing::info!("certificates were read again; new connections use them"),
        Err(error) => {
            tracing::error!(%error, "certificates were not read again; the earlier ones stay");
        }
    }
}

fn stamp(tls: &Tls) -> Stamp {
    let of = |path: &std::path::Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.len(), meta.modified().ok()?))
    };
    tls.files().paths().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Authority, files};
    use super::*;
    use std::fs;

    #[test]
    fn changed_files_are_read_again_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.write(folder.path(), "sip.example.com");
        let tls = Arc::new(Tls::load(files(folder.path())).unwrap());
        let (sender, receiver) = channel();
        let watched = Arc::clone(&tls);
        let thread = std::thread::spawn(move || {
            watch(&watched, &receiver, Duration::from_millis(5));
        });
        let of = || Arc::as_ptr(&tls.server.load_full().unwrap());
        let (first, start) = (of(), std::time::Instant::now());
        fs::write(folder.path().join("key.pem"), "nonsense").unwrap();
        sender.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(of(), first);
        authority.write(folder.path(), "sip2.example.com");
        while of() == first {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(sender);
        thread.join().unwrap();
    }
}
