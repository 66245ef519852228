//! What is kept: users, registrations, call records; behind one trait.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`sqlite`] | the embedded store: SQLite in WAL mode, one writer thread |
//! | [`schema`] | its tables and their versions |
//! | [`users`] | users, their digests, and the list that the signalling thread reads |
//! | [`import`] | users out of CSV files and Kamailio's `subscriber` table |

pub mod import;
pub mod schema;
pub mod sqlite;
pub mod users;

use crate::journal::Entry;
use crate::record::{CallRecord, Registration};
use jiff::Timestamp;
use std::fmt;
use std::io;
use std::path::PathBuf;
use users::User;

/// Records of one page at most.
pub const MAX_PAGE: usize = 1_000;
/// Records of one page when nothing is asked.
pub const DEFAULT_PAGE: usize = 100;

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder.
    #[error(
        "cannot write to the data folder {path}: {source}. Choose another one with --data DIR, or make it writable for this user"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database.
    #[error("the store {path} failed: {source}. {remedy}")]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The database is of a newer Tandem.
    #[error(
        "the store {path} has version {found}, and this Tandem knows up to {known}. Run the newer Tandem, or choose another folder with --data DIR"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A number has one owner.
    #[error(
        "the number {number} belongs to {owner}: `tandem user numbers {owner}` sets that user's numbers anew"
    )]
    NumberTaken {
        /// The number.
        number: String,
        /// Whose it is.
        owner: String,
    },
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// Changes that belong together, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Ended calls; inserting one again changes nothing.
    pub records: Vec<CallRecord>,
    /// Contacts, the latest state of each.
    pub registrations: Vec<RegistrationChange>,
}

/// A change of a contact.
#[derive(Clone, Debug, PartialEq)]
pub enum RegistrationChange {
    /// Registered or refreshed.
    Put(Box<Registration>),
    /// Gone.
    Remove {
        /// Address of record.
        aor: String,
        /// Contact URI.
        contact: String,
    },
}

impl Batch {
    /// Adds what an entry of the journal means for the store.
    pub fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::CallEnded(record) => self.records.push((**record).clone()),
            Entry::Registered(registration) => {
                self.registrations.push(RegistrationChange::Put(registration.clone()));
            }
            Entry::Unregistered { aor, contact } => self
                .registrations
                .push(RegistrationChange::Remove { aor: aor.clone(), contact: contact.clone() }),
            Entry::CallSetup(_) | Entry::CallAnswered(_) | Entry::CallAcknowledged(_) => {}
        }
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() + self.registrations.len()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.registrations.is_empty()
    }
}

/// Which records, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// How many; 0 means [`DEFAULT_PAGE`], and [`MAX_PAGE`] is the most.
    pub limit: usize,
    /// Only those before this cursor (`next` of the page before).
    pub before: Option<Cursor>,
    /// Only calls from or to this party: the whole address of record or its user part.
    pub party: Option<String>,
    /// Only those that began at or after this time.
    pub since: Option<Timestamp>,
    /// Only those that began before this time.
    pub until: Option<Timestamp>,
    /// Only those with this final SIP status.
    pub status: Option<u16>,
}

/// A place in the list of records: start time in µs and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Start time, µs since 1970.
    pub started_us: i64,
    /// Id of the call.
    pub id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.started_us, self.id)
    }
}

impl std::str::FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (started, id) = text.split_once('-').ok_or(BadCursor)?;
        let started_us = started.parse().map_err(|_| BadCursor)?;
        Ok(Self { started_us, id: id.to_owned() })
    }
}

/// A cursor that this API did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor: take `next` of the page before")]
pub struct BadCursor;

/// Records, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<CallRecord>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// The store. All calls wait for the disk: never from the signalling thread, which reads users
/// from [`users::UserList`] and writes through the journal.
pub trait Store: Send + Sync + fmt::Debug {
    /// Applies a batch in one transaction; applying it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// A page of records, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn records(&self, query: &RecordQuery) -> Result<RecordPage, StoreError>;

    /// One record.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn record(&self, id: &str) -> Result<Option<CallRecord>, StoreError>;

    /// The contacts that have not run out at `now`.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn registrations(&self, now: Timestamp) -> Result<Vec<Registration>, StoreError>;

    /// Adds or replaces users; tells for each whether it is new. One without numbers keeps those
    /// that it had.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails, or a number belongs to somebody else; then none is
    /// changed.
    fn put_users(&self, users: Vec<User>) -> Result<Vec<bool>, StoreError>;

    /// Gives a user these numbers and no others, the first being shown to whom the user calls;
    /// false if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails, or another user has one of them; then none is changed.
    fn set_numbers(
        &self,
        username: &str,
        realm: &str,
        numbers: &[String],
    ) -> Result<bool, StoreError>;

    /// Removes a user; tells whether it existed.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn remove_user(&self, username: &str, realm: &str) -> Result<bool, StoreError>;

    /// All users, by realm and name.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn users(&self) -> Result<Vec<User>, StoreError>;

    /// A number that changes whenever users change, also by another process.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    fn users_version(&self) -> Result<i64, StoreError>;
}
