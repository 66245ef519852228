//! The segment files of a journal: `DATA/journal/00000000000000000001.tj`, numbered upwards.

use super::{Entry, JournalError, frame};
use crate::cli::runfile::make_private_folder;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXTENSION: &str = "tj";

/// The folder of the segments.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    next: u64,
}

/// What the segments of a folder hold.
#[derive(Debug, Default)]
pub struct Old {
    /// Their files, oldest first.
    pub segments: Vec<PathBuf>,
    /// Their entries, in order.
    pub entries: Vec<Entry>,
    /// Octets that could not be read.
    pub damaged_octets: u64,
}

impl Folder {
    /// Opens the folder, making it if it is missing.
    ///
    /// # Errors
    /// [`JournalError::Folder`] if it cannot be made.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        make_private_folder(path).map_err(wrap("make the folder", path))?;
        Ok(Self { path: path.to_owned(), next: 1 })
    }

    /// Reads all segments.
    ///
    /// # Errors
    /// [`JournalError::Folder`] if a file cannot be read; damage within a file is no error.
    pub fn read(&self) -> Result<Old, JournalError> {
        let mut old = Old { segments: self.list()?, ..Old::default() };
        for segment in &old.segments {
            let bytes = fs::read(segment).map_err(wrap("read", segment))?;
            let (entries, damaged) = frame::decode_all(&bytes);
            old.entries.extend(entries);
            old.damaged_octets += damaged;
        }
        Ok(old)
    }

    fn list(&self) -> Result<Vec<PathBuf>, JournalError> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(wrap("read the folder", &self.path))? {
            let path = entry.map_err(wrap("read the folder", &self.path))?.path();
            if number(&path).is_some() {
                segments.push(path);
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Begins a new segment behind all others.
    ///
    /// # Errors
    /// [`JournalError::Folder`] if the file cannot be made.
    pub fn begin(&mut self) -> Result<Segment, JournalError> {
        let last = self.list()?.last().and_then(|path| number(path)).unwrap_or(0);
        self.next = self.next.max(last + 1);
        let path = self.path.join(format!("{:020}.{EXTENSION}", self.next));
        self.next += 1;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(wrap("make the file", &path))?;
        // Without this the file itself could be gone after a power cut.
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(wrap("sync the folder", &self.path))?;
        Ok(Segment { file: Arc::new(file), path, length: 0 })
    }
}

fn number(path: &Path) -> Option<u64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn wrap(what: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Folder { what, path: path.clone(), source }
}

/// The segment that is written now.
#[derive(Debug)]
pub struct Segment {
    file: Arc<File>,
    path: PathBuf,
    length: u64,
}

impl Segment {
    /// A segment on an existing file, to see how errors of the disk are met.
    #[cfg(test)]
    pub(super) fn on_device(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), length: 0 })
    }

    /// Appends a frame: one `write()` unless the system takes less.
    ///
    /// # Errors
    /// The system's answer; a part that was written is taken back, and if that fails too, reading
    /// skips it.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let result = (&*self.file).write_all(frame);
        match &result {
            Ok(()) => self.length += frame.len() as u64,
            Err(_) => {
                if self.file.set_len(self.length).is_err() {
                    self.length = self.file.metadata().map_or(self.length, |data| data.len());
                }
            }
        }
        result
    }

    /// Octets written.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The file, to sync it without holding the queue.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
