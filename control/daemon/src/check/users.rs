//! Whether the users can log in.

use super::Finding;
use crate::config::Config;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::store::users::{SHUT_OUT_REMEDY, User, shut_out};
use std::path::Path;

/// Looks at the users of the realm in the store, if there is one.
#[must_use]
pub fn look(config: &Config, data: &Path) -> Finding {
    let path = data.join(&config.store.file);
    if !path.is_file() {
        return Finding::absent("users", "none yet: `tandem user add NAME` adds one");
    }
    let users = match SqliteStore::open(&path).and_then(|store| store.users()) {
        Ok(users) => users,
        Err(error) => {
            return Finding::error(
                "users",
                error.to_string(),
                "make the file readable for this user, or name another one with store.file",
            );
        }
    };
    let realm = &config.sip.realm;
    let users: Vec<&User> = users.iter().filter(|user| user.realm == *realm).collect();
    match shut_out(users.iter().copied(), &config.registrar.algorithms) {
        None => Finding::ok("users", format!("{} in realm {realm}", users.len())),
        Some(text) => Finding::warning("users", text, SHUT_OUT_REMEDY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Standing;
    use super::*;

    #[test]
    fn users_who_cannot_log_in_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        assert_eq!(look(&config, folder.path()).standing, Standing::Absent);
        assert!(!folder.path().join("tandem.db").exists());
        let store = SqliteStore::open(&folder.path().join("tandem.db")).unwrap();
        let user = |name: &str, realm: &str| User::with_password(name, realm, "x");
        let elsewhere = User { ha1_md5: None, ..user("alice", "example.org") };
        store.put_users(vec![user("alice", "tandem"), elsewhere]).unwrap();
        let fine = look(&config, folder.path());
        assert_eq!((fine.standing, &*fine.found), (Standing::Ok, "1 in realm tandem"));
        store.put_users(vec![User { ha1_md5: None, ..user("bob", "tandem") }]).unwrap();
        let found = look(&config, folder.path());
        assert_eq!(found.standing, Standing::Warning);
        assert!(found.found.starts_with("1 users cannot log in"), "{found:?}");
    }
}
