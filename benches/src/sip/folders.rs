//! Scratch folders.

use std::cell::Cell;
use std::path::PathBuf;

/// Scratch folders, removed at the end.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    next: Cell<u32>,
}

impl Folders {
    pub(super) fn new() -> Result<Self, String> {
        let root = std::env::temp_dir().join(format!("tandem-bench-{}", std::process::id()));
        std::fs::create_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))?;
        Ok(Self { root, next: Cell::new(0) })
    }

    pub(super) fn make(&self) -> Result<PathBuf, String> {
        let number = self.next.replace(self.next.get() + 1);
        let path = self.root.join(number.to_string());
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
