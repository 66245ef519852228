//! Users, their digests, and the list that the signalling thread reads.

use super::{Store, StoreError};
use crate::config::types;
use crate::route::number::{MAX_E164_DIGITS, NumberPlan};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tandem_signalling::digest::{Algorithm, Ha1};

/// How often the list looks whether users changed.
pub const REFRESH_EVERY: Duration = Duration::from_millis(200);

/// A user: a name in a realm and the digests of the password (RFC 7616 §3.4.2 `H(A1)`). The
/// password itself is never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// User name, as in the user part of the address of record.
    pub username: String,
    /// Digest realm.
    pub realm: String,
    /// MD5 of `username:realm:password`, lower-case hexadecimal.
    pub ha1_md5: Option<String>,
    /// SHA-256 of the same (RFC 8760).
    pub ha1_sha256: Option<String>,
    /// Numbers: E.164 with `+`, or as they are dialled. The first is shown to whom the user calls.
    pub numbers: Vec<String>,
}

/// Checks a number of a user.
///
/// # Errors
/// What is wrong with it.
pub fn check_number(number: &str) -> Result<(), String> {
    let plan = NumberPlan { local_digits: MAX_E164_DIGITS, ..NumberPlan::default() };
    match plan.normalise(number) {
        Some(it) if it.number == number => Ok(()),
        _ => Err(format!(
            "`{}` is no number: write it as +4930123456, or an extension as it is dialled",
            number.escape_debug()
        )),
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("md5", &self.ha1_md5.is_some())
            .field("sha256", &self.ha1_sha256.is_some())
            .field("numbers", &self.numbers.len())
            .finish()
    }
}

impl User {
    /// A user with both digests of a password.
    #[must_use]
    pub fn with_password(username: &str, realm: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            realm: realm.to_owned(),
            ha1_md5: Some(ha1_md5(username, realm, password)),
            ha1_sha256: Some(ha1_sha256(username, realm, password)),
            numbers: Vec::new(),
        }
    }

    fn has_digest(&self, algorithm: types::Algorithm) -> bool {
        match algorithm {
            types::Algorithm::Md5 => self.ha1_md5.is_some(),
            types::Algorithm::Sha256 => self.ha1_sha256.is_some(),
        }
    }
}

/// Tells that users have no digest for any of the algorithms that are asked for, so that no
/// password lets them in; `None` if all have one.
#[must_use]
pub fn shut_out<'a>(
    users: impl IntoIterator<Item = &'a User>,
    offered: &[types::Algorithm],
) -> Option<String> {
    let can = |user: &User| offered.iter().any(|algorithm| user.has_digest(*algorithm));
    let count = users.into_iter().filter(|user| !can(user)).count();
    let names: Vec<&str> = offered.iter().map(|algorithm| algorithm.name()).collect();
    (count > 0).then(|| {
        format!(
            "{count} users cannot log in: their digests are not of registrar.algorithms ({})",
            names.join(", ")
        )
    })
}

/// What to do about users who are [shut out](shut_out).
pub const SHUT_OUT_REMEDY: &str = "set registrar.algorithms = [\"SHA-256\", \"MD5\"], or give each a password with `tandem user add`";

/// MD5 of `username:realm:password`, lower-case hexadecimal.
#[must_use]
pub fn ha1_md5(username: &str, realm: &str, password: &str) -> String {
    ha1(Algorithm::Md5, username, realm, password)
}

/// SHA-256 of `username:realm:password`, lower-case hexadecimal.
#[must_use]
pub fn ha1_sha256(username: &str, realm: &str, password: &str) -> String {
    ha1(Algorithm::Sha256, username, realm, password)
}

fn ha1(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> String {
    Ha1::compute(algorithm, username.as_bytes(), realm.as_bytes(), password.as_bytes()).expose_hex()
}

/// A new password: 20 characters out of 32 that nobody confuses (100 bits).
///
/// # Errors
/// The system's answer if it has no random numbers.
pub fn generate_password() -> Result<String, getrandom::Error> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// Whom a number belongs to.
#[derive(Debug)]
struct Owner {
    name: Box<str>,
    realm: Box<str>,
}

/// Users by name and by number; few realms share one.
#[derive(Debug, Default)]
pub struct UserMap {
    by_name: HashMap<Box<str>, Vec<User>>,
    /// Names of the owners.
    by_number: HashMap<Box<str>, Vec<Owner>>,
    /// Realms with users who have an MD5 digest alone.
    md5_alone: HashSet<Box<str>>,
    version: i64,
}

impl UserMap {
    /// The map of these users, which the store had at this version.
    #[must_use]
    pub fn new(users: Vec<User>, version: i64) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<User>> = HashMap::with_capacity(users.len());
        let mut by_number: HashMap<Box<str>, Vec<Owner>> = HashMap::new();
        let mut md5_alone = HashSet::new();
        for user in users {
            for number in &user.numbers {
                let owner = Owner { name: (*user.username).into(), realm: (*user.realm).into() };
                by_number.entry(number.as_str().into()).or_default().push(owner);
            }
            if user.ha1_sha256.is_none() {
                md5_alone.insert(user.realm.as_str().into());
            }
            by_name.entry(user.username.as_str().into()).or_default().push(user);
        }
        Self { by_name, by_number, md5_alone, version }
    }

    /// The version of the store's users; what it holds may be newer, never older.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// The user of this name and realm.
    #[must_use]
    pub fn find(&self, username: &str, realm: &str) -> Option<&User> {
        self.by_name.get(username)?.iter().find(|user| user.realm == realm)
    }

    /// The name of the user of this realm whom a number belongs to.
    #[must_use]
    pub fn owner_of(&self, number: &str, realm: &str) -> Option<&str> {
        let owners = self.by_number.get(number)?;
        owners.iter().find(|owner| &*owner.realm == realm).map(|owner| &*owner.name)
    }

    /// Whether a realm has users who can answer no challenge but MD5: their digests were imported.
    #[must_use]
    pub fn has_md5_alone(&self, realm: &str) -> bool {
        self.md5_alone.contains(realm)
    }

    /// All users, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.by_name.values().flatten()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// The users in memory: reading never waits. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct UserList {
    map: Arc<ArcSwap<UserMap>>,
}

impl UserList {
    /// A list of these users (tests, demo).
    #[must_use]
    pub fn of(users: Vec<User>) -> Self {
        let list = Self::default();
        list.replace(users, 0);
        list
    }

    /// From now on it holds these users, of this version of the store.
    pub fn replace(&self, users: Vec<User>, version: i64) {
        self.map.store(Arc::new(UserMap::new(users, version)));
    }

    /// The users as they are now.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<UserMap>> {
        self.map.load()
    }

    /// Reads all users and keeps the list up to date with a thread of its own, every
    /// [`REFRESH_EVERY`].
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read now.
    pub fn follow(store: Arc<dyn Store>) -> Result<(Self, Follower), StoreError> {
        let mut seen = store.users_version()?;
        let list = Self::default();
        list.replace(store.users()?, seen);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("users".into()).spawn({
            let (list, stop) = (list.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(REFRESH_EVERY);
                    if let Err(error) = list.refresh(store.as_ref(), &mut seen) {
                        tracing::warn!(%error, "users cannot be read again; the known ones stay");
                    }
                }
            }
        });
        let thread =
            thread.map_err(|source| StoreError::Folder { path: "users".into(), source })?;
        Ok((list, Follower { stop, thread: Some(thread) }))
    }

    fn refresh(&self, store: &dyn Store, seen: &mut i64) -> Result<(), StoreError> {
        let version = store.users_version()?;
        if version != *seen {
            self.replace(store.users()?, version);
            *seen = version;
            tracing::info!(users = self.load().len(), "users have changed");
        }
        Ok(())
    }
}

/// The thread that keeps a [`UserList`] up to date; ends when dropped.
#[derive(Debug)]
pub struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_rfcs() {
        // RFC 7616 §3.9.1, SHA-256 and MD5 of Mufasa:http-auth@example.org:Circle of Life.
        assert_eq!(
            ha1_md5("Mufasa", "http-auth@example.org", "Circle of Life"),
            "3d78807defe7de2157e2b0b6573a855f"
        );
        assert_eq!(
            ha1_sha256("Mufasa", "http-auth@example.org", "Circle of Life"),
            "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
        );
    }

    #[test]
    fn the_same_name_lives_in_two_realms() {
        let users = [("a", "1"), ("b", "2")];
        let users = users.map(|(realm, password)| User::with_password("alice", realm, password));
        let map = UserMap::new(users.into(), 1);
        assert_eq!(map.len(), 2);
        assert_ne!(map.find("alice", "a"), map.find("alice", "b"));
        assert_eq!(map.find("alice", "c"), None);
        assert_eq!(map.find("Alice", "a"), None);
    }

    #[test]
    fn numbers_lead_to_their_owner_in_the_realm() {
        let alice = User {
            numbers: vec!["+4930123".into(), "20".into()],
            ..User::with_password("alice", "a", "1")
        };
        let map = UserMap::new(vec![alice, User::with_password("bob", "a", "1")], 1);
        assert_eq!(map.owner_of("+4930123", "a"), Some("alice"));
        assert_eq!(map.owner_of("20", "a"), Some("alice"));
        assert_eq!(map.owner_of("20", "b"), None);
        for good in ["+4930123", "20", "*21"] {
            assert_eq!(check_number(good), Ok(()));
        }
        for bad in ["", "alice", "+49 30", "+", "+1234567890123456"] {
            assert!(check_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_without_a_digest_that_is_asked_for_are_counted() {
        use types::Algorithm::{Md5, Sha256};
        let both = User::with_password("alice", "a", "1");
        let users = [
            User { ha1_sha256: None, ..both.clone() },
            User { ha1_md5: None, ..both.clone() },
            User { ha1_md5: None, ..both.clone() },
            both,
        ];
        let md5 = shut_out(&users, &[Md5]).unwrap();
        assert_eq!(
            md5,
            "2 users cannot log in: their digests are not of registrar.algorithms (MD5)"
        );
        assert!(shut_out(&users, &[Sha256]).unwrap().starts_with("1 users"));
        assert_eq!(shut_out(&users, &[Sha256, Md5]), None);
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let (a, b) = (generate_password().unwrap(), generate_password().unwrap());
        assert_eq!(a.len(), 20);
        assert_ne!(a, b);
    }

    #[test]
    fn debug_shows_no_digest() {
        let user = User::with_password("alice", "a", "secret");
        assert!(!format!("{user:?}").contains(&user.ha1_md5.clone().unwrap()));
    }
}
