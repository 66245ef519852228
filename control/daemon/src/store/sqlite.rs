//! The embedded store: one SQLite file in WAL mode.
//!
//! One connection writes, one reads; each has its lock, so a long listing does not hold up the
//! journal. Other processes (`tandem user add`) may write at the same time.

use super::users::User;
use super::{
    Batch, Cursor, DEFAULT_PAGE, MAX_PAGE, RecordPage, RecordQuery, RegistrationChange, Store,
    StoreError, schema,
};
use crate::cli::runfile::make_private_folder;
use crate::record::{CallRecord, Registration};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(5);

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the file (made if it is missing, with its folder) and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] if the folder is not writable, the file is damaged, or it was written by a
    /// newer Tandem.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        make_private_folder(folder)
            .and_then(|()| make_private_file(path))
            .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        let fail = |source| wrap(path, source);
        let mut writer = connect(path).map_err(fail)?;
        let found = schema::version(&writer).map_err(fail)?;
        if found > schema::known() {
            return Err(StoreError::TooNew {
                path: path.to_owned(),
                found,
                known: schema::known(),
            });
        }
        schema::migrate(&mut writer).map_err(fail)?;
        // What ran out while no daemon watched.
        writer
            .execute(
                "DELETE FROM registrations WHERE expires_us < ?1",
                [Timestamp::now().as_microsecond()],
            )
            .map_err(fail)?;
        let reader = connect(path).map_err(fail)?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // An unfinished transaction is rolled back when it is dropped.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, source: rusqlite::Error) -> StoreError {
        wrap(&self.path, source)
    }

    /// The outcome of a change that another user's number may stop.
    fn taken<T>(&self, outcome: rusqlite::Result<Result<T, StoreError>>) -> Result<T, StoreError> {
        outcome.map_err(|error| self.fail(error))?
    }
}

/// Makes the file, readable by this user alone; SQLite gives its side files the same permissions.
fn make_private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A segment of the journal is deleted after the commit, so the commit must be durable.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn wrap(path: &Path, source: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    let remedy = match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "Free disk space in the data folder",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "Choose another folder with --data DIR, or make it writable for this user"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another process holds it: end that one, or try again"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "The file is damaged: restore it from a copy, or move it away to begin with an empty one"
        }
        _ => "See whether the disk is healthy and the folder writable",
    };
    StoreError::Database { path: path.to_owned(), source, remedy }
}

impl Store for SqliteStore {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writer = self.writer();
        apply(&mut writer, batch).map_err(|error| self.fail(error))
    }

    fn records(&self, query: &RecordQuery) -> Result<RecordPage, StoreError> {
        records(&self.reader(), query).map_err(|error| self.fail(error))
    }

    fn record(&self, id: &str) -> Result<Option<CallRecord>, StoreError> {
        self.reader()
            .prepare_cached("SELECT body FROM records WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([id], body_of).optional())
            .map_err(|error| self.fail(error))
    }

    fn registrations(&self, now: Timestamp) -> Result<Vec<Registration>, StoreError> {
        let reader = self.reader();
        let read = || -> rusqlite::Result<Vec<Registration>> {
            reader
                .prepare_cached(
                    "SELECT body FROM registrations WHERE expires_us > ?1 ORDER BY aor, contact",
                )?
                .query_map([now.as_microsecond()], body_of)?
                .collect()
        };
        read().map_err(|error| self.fail(error))
    }

    fn put_users(&self, users: Vec<User>) -> Result<Vec<bool>, StoreError> {
        let mut writer = self.writer();
        self.taken(put_users(&mut writer, &users))
    }

    fn set_numbers(
        &self,
        username: &str,
        realm: &str,
        numbers: &[String],
    ) -> Result<bool, StoreError> {
        let mut writer = self.writer();
        self.taken(set_numbers_of(&mut writer, username, realm, numbers))
    }

    fn remove_user(&self, username: &str, realm: &str) -> Result<bool, StoreError> {
        self.writer()
            .execute("DELETE FROM users WHERE username = ?1 AND realm = ?2", [username, realm])
            .map(|rows| rows > 0)
            .map_err(|error| self.fail(error))
    }

    fn users(&self) -> Result<Vec<User>, StoreError> {
        let reader = self.reader();
        users(&reader).map_err(|error| self.fail(error))
    }

    fn users_version(&self) -> Result<i64, StoreError> {
        self.reader()
            .prepare_cached("SELECT value FROM versions WHERE name = 'users'")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|error| self.fail(error))
    }
}

/// Reads the JSON of the first column.
fn body_of<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>) -> rusqlite::Result<T> {
    let body = row.get_ref(0)?.as_bytes()?;
    serde_json::from_slice(body).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// JSON of a record. These types have no map with keys that are not strings, so it does not fail.
fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// User part of an address of record, lower case: `alice` of `sip:alice@tandem`.
fn user_part(aor: &str) -> String {
    let without_scheme = aor.split_once(':').map_or(aor, |(scheme, rest)| {
        if matches!(scheme, "sip" | "sips" | "tel") { rest } else { aor }
    });
    let user = without_scheme.split_once('@').map_or(without_scheme, |(user, _)| user);
    user.to_lowercase()
}

fn apply(writer: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = writer.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO records (id, started_us, caller, called, caller_user, called_user, status, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?;
        for record in &batch.records {
            insert.execute(params![
                record.id,
                record.started_at.as_microsecond(),
                record.from,
                record.to,
                user_part(&record.from),
                user_part(&record.to),
                record.cause.sip_status,
                json(record)?,
            ])?;
        }
        let mut put = transaction.prepare_cached(
            "INSERT OR REPLACE INTO registrations (aor, contact, expires_us, body)
             VALUES (?1, ?2, ?3, ?4)",
        )?;
        let mut remove = transaction
            .prepare_cached("DELETE FROM registrations WHERE aor = ?1 AND contact = ?2")?;
        for change in &batch.registrations {
            match change {
                RegistrationChange::Put(registration) => put.execute(params![
                    registration.aor,
                    registration.contact,
                    registration.expires_at.as_microsecond(),
                    json(registration)?,
                ])?,
                RegistrationChange::Remove { aor, contact } => remove.execute([aor, contact])?,
            };
        }
    }
    transaction.commit()
}

fn users(reader: &Connection) -> rusqlite::Result<Vec<User>> {
    let user = |row: &rusqlite::Row<'_>| {
        Ok(User {
            username: row.get(0)?,
            realm: row.get(1)?,
            ha1_md5: row.get(2)?,
            ha1_sha256: row.get(3)?,
            numbers: Vec::new(),
        })
    };
    let mut users: Vec<User> = reader
        .prepare_cached(
            "SELECT username, realm, ha1_md5, ha1_sha256 FROM users ORDER BY realm, username",
        )?
        .query_map([], user)?
        .collect::<Result<_, _>>()?;
    let mut numbers = reader.prepare_cached(
        "SELECT realm, username, number FROM user_numbers ORDER BY realm, username, place",
    )?;
    let mut rows = numbers.query([])?;
    while let Some(row) = rows.next()? {
        let (realm, name): (String, String) = (row.get(0)?, row.get(1)?);
        let key = |it: &User| (it.realm.as_str(), it.username.as_str()).cmp(&(&realm, &name));
        if let Ok(at) = users.binary_search_by(key) {
            users[at].numbers.push(row.get(2)?);
        }
    }
    Ok(users)
}

/// Gives a user these numbers and no others.
fn put_numbers(
    writer: &Connection,
    username: &str,
    realm: &str,
    numbers: &[String],
) -> rusqlite::Result<Result<(), StoreError>> {
    let mut owner = writer
        .prepare_cached("SELECT username FROM user_numbers WHERE realm = ?1 AND number = ?2")?;
    for number in numbers {
        let owner: Option<String> =
            owner.query_row([realm, number], |row| row.get(0)).optional()?;
        if let Some(owner) = owner.filter(|owner| owner != username) {
            return Ok(Err(StoreError::NumberTaken { number: number.clone(), owner }));
        }
    }
    writer
        .prepare_cached("DELETE FROM user_numbers WHERE realm = ?1 AND username = ?2")?
        .execute([realm, username])?;
    let mut put = writer.prepare_cached(
        "INSERT OR REPLACE INTO user_numbers (realm, number, username, place)
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (place, number) in numbers.iter().enumerate() {
        put.execute(params![realm, number, username, i64::try_from(place).unwrap_or(i64::MAX)])?;
    }
    Ok(Ok(()))
}

fn set_numbers_of(
    writer: &mut Connection,
    username: &str,
    realm: &str,
    numbers: &[String],
) -> rusqlite::Result<Result<bool, StoreError>> {
    let transaction = writer.transaction()?;
    let exists = transaction
        .prepare_cached("SELECT 1 FROM users WHERE username = ?1 AND realm = ?2")?
        .exists([username, realm])?;
    if !exists {
        return Ok(Ok(false));
    }
    if let Err(taken) = put_numbers(&transaction, username, realm, numbers)? {
        return Ok(Err(taken));
    }
    transaction.commit()?;
    Ok(Ok(true))
}

fn put_users(
    writer: &mut Connection,
    users: &[User],
) -> rusqlite::Result<Result<Vec<bool>, StoreError>> {
    let transaction = writer.transaction()?;
    let mut new = Vec::with_capacity(users.len());
    {
        let mut exists =
            transaction.prepare_cached("SELECT 1 FROM users WHERE username = ?1 AND realm = ?2")?;
        let mut put = transaction.prepare_cached(
            "INSERT INTO users (username, realm, ha1_md5, ha1_sha256, created_us)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (realm, username)
             DO UPDATE SET ha1_md5 = excluded.ha1_md5, ha1_sha256 = excluded.ha1_sha256",
        )?;
        let now = Timestamp::now().as_microsecond();
        for user in users {
            new.push(!exists.exists([&user.username, &user.realm])?);
            put.execute(params![user.username, user.realm, user.ha1_md5, user.ha1_sha256, now])?;
            if !user.numbers.is_empty()
                && let Err(taken) =
                    put_numbers(&transaction, &user.username, &user.realm, &user.numbers)?
            {
                return Ok(Err(taken));
            }
        }
    }
    transaction.commit()?;
    Ok(Ok(new))
}

fn records(reader: &Connection, query: &RecordQuery) -> rusqlite::Result<RecordPage> {
    let limit = if query.limit == 0 { DEFAULT_PAGE } else { query.limit.min(MAX_PAGE) };
    let mut sql = String::from("SELECT body FROM records WHERE 1");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |clause: &str, value: Box<dyn ToSql>| {
        sql.push_str(clause);
        values.push(value);
    };
    if let Some(cursor) = &query.before {
        add(" AND (started_us, id) < (?, ", Box::new(cursor.started_us));
        add("?)", Box::new(cursor.id.clone()));
    }
    if let Some(since) = query.since {
        add(" AND started_us >= ?", Box::new(since.as_microsecond()));
    }
    if let Some(until) = query.until {
        add(" AND started_us < ?", Box::new(until.as_microsecond()));
    }
    if let Some(status) = query.status {
        add(" AND status = ?", Box::new(status));
    }
    if let Some(party) = &query.party {
        add(" AND (caller_user = ?", Box::new(user_part(party)));
        add(" OR called_user = ?)", Box::new(user_part(party)));
        if party.contains('@') {
            add(" AND (caller = ?", Box::new(with_scheme(party)));
            add(" OR called = ?)", Box::new(with_scheme(party)));
        }
    }
    // One more than asked, to know whether there is a next page.
    sql.push_str(" ORDER BY started_us DESC, id DESC LIMIT ?");
    values.push(Box::new(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    let mut statement = reader.prepare_cached(&sql)?;
    let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    let mut records: Vec<CallRecord> =
        statement.query_map(values.as_slice(), body_of)?.collect::<Result<_, _>>()?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|record| Cursor {
        started_us: record.started_at.as_microsecond(),
        id: record.id.clone(),
    });
    Ok(RecordPage { records, next })
}

fn with_scheme(party: &str) -> String {
    if party.contains(':') { party.to_owned() } else { format!("sip:{party}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cause, ReleasedBy};
    use crate::store::users::UserList;
    use std::sync::Arc;
    use std::time::Instant;

    fn open(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("sub/t.db")).unwrap()
    }

    fn record(id: &str, second: i64) -> CallRecord {
        let at = Timestamp::from_second(second).unwrap();
        CallRecord {
            id: id.into(),
            from: "sip:Alice@tandem".into(),
            to: "sip:bob@tandem".into(),
            started_at: at,
            ringing_at: None,
            answered_at: None,
            ended_at: at,
            setup_ms: None,
            ring_ms: None,
            duration_ms: None,
            cause: Cause { sip_status: 486, text: "busy".into(), by: ReleasedBy::Callee },
            recovered: false,
            referred_by: None,
            legs: Vec::new(),
        }
    }

    #[test]
    fn a_record_is_inserted_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let batch = Batch { records: vec![record("a", 5), record("b", 5)], ..Batch::default() };
        store.apply(&batch).unwrap();
        store.apply(&batch).unwrap();
        let page = store.records(&RecordQuery::default()).unwrap();
        assert_eq!(page.records, [record("b", 5), record("a", 5)]);
        assert_eq!(store.record("a").unwrap(), Some(record("a", 5)));
        assert_eq!(store.record("c").unwrap(), None);
    }

    #[test]
    fn digests_are_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        store.put_users(vec![User::with_password("a", "b", "c")]).unwrap();
        for entry in std::fs::read_dir(folder.path().join("sub")).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        }
    }

    #[test]
    fn pages_do_not_skip_calls_of_the_same_moment() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let records = (0..7).map(|n| record(&format!("c-{n}"), n / 4)).collect();
        store.apply(&Batch { records, ..Batch::default() }).unwrap();
        let mut query = RecordQuery { limit: 2, ..RecordQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.records(&query).unwrap();
            seen.extend(page.records.into_iter().map(|record| record.id));
            // A cursor goes over the wire as text.
            query.before = page.next.map(|next| next.to_string().parse().unwrap());
            if query.before.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["c-6", "c-5", "c-4", "c-3", "c-2", "c-1", "c-0"]);
    }

    #[test]
    fn parties_are_found_by_user_and_by_address() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        store.apply(&Batch { records: vec![record("a", 5)], ..Batch::default() }).unwrap();
        let found = |party: &str| {
            let query = RecordQuery { party: Some(party.into()), ..RecordQuery::default() };
            store.records(&query).unwrap().records.len()
        };
        assert_eq!(found("alice"), 1);
        assert_eq!(found("BOB"), 1);
        assert_eq!(found("bob@tandem"), 1);
        assert_eq!(found("sip:bob@tandem"), 1);
        assert_eq!(found("bob@elsewhere"), 0);
        assert_eq!(found("carol"), 0);
    }

    #[test]
    fn users_survive_and_another_process_sees_them_change() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(open(&folder));
        let (list, follower) = UserList::follow(store.clone()).unwrap();
        assert!(list.load().is_empty());
        // What a second process does: its own connections to the same file.
        let other = open(&folder);
        let alice = User::with_password("alice", "tandem", "x");
        assert_eq!(other.put_users(vec![alice.clone()]).unwrap(), [true]);
        assert_eq!(other.put_users(vec![alice.clone()]).unwrap(), [false]);
        let start = Instant::now();
        while list.load().find("alice", "tandem").is_none() {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(store.users().unwrap(), [alice]);
        assert!(other.remove_user("alice", "tandem").unwrap());
        assert!(!other.remove_user("alice", "tandem").unwrap());
        while !list.load().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(follower);
    }

    #[test]
    fn numbers_have_one_owner_and_go_with_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let with = |name: &str, numbers: &[&str]| User {
            numbers: numbers.iter().map(|it| (*it).to_owned()).collect(),
            ..User::with_password(name, "r", "x")
        };
        store.put_users(vec![with("bob", &["+4930124", "21"]), with("alice", &["20"])]).unwrap();
        // A new password keeps the numbers.
        store.put_users(vec![with("bob", &[])]).unwrap();
        let numbers = || -> Vec<Vec<String>> {
            store.users().unwrap().into_iter().map(|user| user.numbers).collect()
        };
        assert_eq!(numbers(), [vec!["20".to_owned()], vec!["+4930124".into(), "21".into()]]);
        let before = store.users_version().unwrap();
        let error = store.set_numbers("alice", "r", &["22".into(), "21".into()]).unwrap_err();
        assert!(error.to_string().contains("belongs to bob"), "{error}");
        assert!(store.put_users(vec![with("carol", &["20"])]).is_err());
        assert_eq!((numbers().len(), store.users_version().unwrap()), (2, before));
        assert!(store.set_numbers("bob", "r", &["+4930124".into()]).unwrap());
        assert_ne!(store.users_version().unwrap(), before);
        assert!(store.set_numbers("alice", "r", &["21".into()]).unwrap());
        assert!(!store.set_numbers("nobody", "r", &[]).unwrap());
        store.remove_user("bob", "r").unwrap();
        assert!(store.set_numbers("alice", "r", &["+4930124".into()]).unwrap());
        assert_eq!(numbers(), [["+4930124"]]);
    }

    #[test]
    fn records_do_not_change_the_version_of_users() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let before = store.users_version().unwrap();
        store.apply(&Batch { records: vec![record("a", 5)], ..Batch::default() }).unwrap();
        assert_eq!(store.users_version().unwrap(), before);
        store.put_users(vec![User::with_password("a", "b", "c")]).unwrap();
        assert_ne!(store.users_version().unwrap(), before);
    }

    #[test]
    fn newer_and_damaged_files_are_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        drop(SqliteStore::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = SqliteStore::open(&path).unwrap_err().to_string();
        assert!(error.contains("version 99"), "{error}");
        let damaged = folder.path().join("damaged.db");
        std::fs::write(&damaged, "this is no database, and long enough to look like one".repeat(9))
            .unwrap();
        let error = SqliteStore::open(&damaged).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = SqliteStore::open(&file.join("t.db")).unwrap_err().to_string();
        assert!(error.contains("--data"), "{error}");
    }
}
