//! Tables of the embedded store and their versions.

use rusqlite::{Connection, Transaction};

/// Statements that bring a database from version `index` to `index + 1`. Never change one that
/// was released: add the next.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE users (
        username   TEXT NOT NULL,
        realm      TEXT NOT NULL,
        ha1_md5    TEXT,
        ha1_sha256 TEXT,
        created_us INTEGER NOT NULL,
        PRIMARY KEY (realm, username)
    ) WITHOUT ROWID;
    CREATE TABLE versions (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO versions VALUES ('users', 1);
    CREATE TRIGGER users_inserted AFTER INSERT ON users
        BEGIN UPDATE versions SET value = value + 1 WHERE name = 'users'; END;
    CREATE TRIGGER users_updated AFTER UPDATE ON users
        BEGIN UPDATE versions SET value = value + 1 WHERE name = 'users'; END;
    CREATE TRIGGER users_deleted AFTER DELETE ON users
        BEGIN UPDATE versions SET value = value + 1 WHERE name = 'users'; END;
    CREATE TABLE registrations (
        aor        TEXT NOT NULL,
        contact    TEXT NOT NULL,
        expires_us INTEGER NOT NULL,
        body       TEXT NOT NULL,
        PRIMARY KEY (aor, contact)
    ) WITHOUT ROWID;
    CREATE TABLE records (
        id         TEXT PRIMARY KEY,
        started_us INTEGER NOT NULL,
        caller     TEXT NOT NULL,
        called     TEXT NOT NULL,
        caller_user TEXT NOT NULL,
        called_user TEXT NOT NULL,
        status     INTEGER NOT NULL,
        body       TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX records_by_time ON records (started_us, id);
    CREATE INDEX records_by_caller ON records (caller_user, started_us);
    CREATE INDEX records_by_called ON records (called_user, started_us);
    CREATE INDEX records_by_status ON records (status, started_us);
",
    "
    CREATE TABLE user_numbers (
        realm    TEXT NOT NULL,
        number   TEXT NOT NULL,
        username TEXT NOT NULL,
        place    INTEGER NOT NULL,
        PRIMARY KEY (realm, number)
    ) WITHOUT ROWID;
    CREATE TRIGGER numbers_inserted AFTER INSERT ON user_numbers
        BEGIN UPDATE versions SET value = value + 1 WHERE name = 'users'; END;
    CREATE TRIGGER numbers_deleted AFTER DELETE ON user_numbers
        BEGIN UPDATE versions SET value = value + 1 WHERE name = 'users'; END;
    CREATE TRIGGER users_deleted_with_numbers AFTER DELETE ON users
        BEGIN DELETE FROM user_numbers WHERE realm = OLD.realm AND username = OLD.username; END;
",
];

/// The version that this Tandem writes.
#[must_use]
pub fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// The version of a database, 0 if it is empty.
///
/// # Errors
/// SQLite's answer.
pub fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database up to date in one transaction.
///
/// # Errors
/// SQLite's answer; then nothing is changed.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if version(connection)? >= known() {
        return Ok(());
    }
    let transaction = Transaction::new(connection, rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let from = usize::try_from(version(&transaction)?).unwrap_or(usize::MAX);
    for statements in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(statements)?;
    }
    transaction.pragma_update(None, "user_version", known())?;
    transaction.commit()
}
