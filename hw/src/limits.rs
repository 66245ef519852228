//! Limits of the process.

use rustix::process::{Resource, Rlimit};
use std::io;

/// The open-files limit (`RLIMIT_NOFILE`): what applies and what it may be raised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What applies.
    pub soft: u64,
    /// What an unprivileged process may raise it to.
    pub hard: u64,
}

/// Reads the open-files limit; `u64::MAX` stands for none.
#[must_use]
pub fn open_files() -> OpenFiles {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    OpenFiles { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
}

/// Raises the open-files limit as far as allowed and returns what applies then.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        rustix::process::setrlimit(Resource::Nofile, raised)?;
    }
    Ok(open_files())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_reaches_the_hard_limit() {
        let before = open_files();
        assert!(before.soft > 0 && before.soft <= before.hard);
        let after = raise_open_files().unwrap();
        assert_eq!(after, OpenFiles { soft: before.hard, hard: before.hard });
    }
}
