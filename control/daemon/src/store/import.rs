//! Users out of CSV files and Kamailio's `subscriber` table.
//!
//! A CSV file has a header line. `username` and one of `password`, `ha1` and `ha1_sha256` are
//! needed; `realm` or `domain` name the realm. Comma, semicolon and tab separate; further columns
//! are ignored, so a dump of Kamailio's table (`id,username,domain,password,ha1,ha1b`) is read as it
//! is. A ready digest comes before a password.

use super::users::{User, ha1_md5, ha1_sha256};
use csv::StringRecord;
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::path::Path;

/// Users of one file at most.
pub const MAX_USERS: usize = 5_000_000;
/// Longest user name and realm, octets.
pub const MAX_NAME: usize = 255;

/// Characters of a wrong header that an error shows.
const SHOWN_HEADER: usize = 200;

/// A line that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number in the file, the header being 1; for a database the row, from 1.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Import {
    /// The users, in the order of the file.
    pub users: Vec<User>,
    /// Lines that were left out.
    pub bad: Vec<BadLine>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file.
    #[error("cannot read {path}: {message}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        message: String,
    },
    /// The columns.
    #[error(
        "the header has no column {missing}; there are: {found}. Needed are `username`, and `password`, `ha1` or `ha1_sha256`; `realm` or `domain` is optional"
    )]
    Columns {
        /// What is missing.
        missing: &'static str,
        /// What there is.
        found: String,
    },
}

/// Which column holds what.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    username: usize,
    realm: Option<usize>,
    domain: Option<usize>,
    password: Option<usize>,
    ha1: Option<usize>,
    ha1_sha256: Option<usize>,
}

impl Columns {
    fn find(names: &[&str]) -> Result<Self, ImportError> {
        let position = |wanted: &[&str]| {
            names.iter().position(|name| {
                wanted.iter().any(|wanted| name.trim().eq_ignore_ascii_case(wanted))
            })
        };
        let missing = |missing| ImportError::Columns { missing, found: shown(names) };
        let columns = Self {
            username: position(&["username", "user"]).ok_or_else(|| missing("`username`"))?,
            realm: position(&["realm"]),
            domain: position(&["domain"]),
            password: position(&["password"]),
            ha1: position(&["ha1", "ha1_md5"]),
            ha1_sha256: position(&["ha1_sha256"]),
        };
        if columns.password.or(columns.ha1).or(columns.ha1_sha256).is_none() {
            return Err(missing("`password`, `ha1` or `ha1_sha256`"));
        }
        Ok(columns)
    }
}

/// The names of the columns as a terminal can show them: a header of another kind of file may hold
/// anything.
fn shown(names: &[&str]) -> String {
    let names = names.join(", ");
    if names.chars().any(|it| it.is_control() || it == char::REPLACEMENT_CHARACTER) {
        return "no text, so the file is not CSV".to_owned();
    }
    let end = names.char_indices().nth(SHOWN_HEADER).map_or(names.len(), |(at, _)| at);
    names[..end].to_owned()
}

/// Reads a CSV file.
///
/// # Errors
/// [`ImportError`] if the file cannot be read or lacks columns; bad lines are in the result.
pub fn csv_file(path: &Path, default_realm: &str) -> Result<Import, ImportError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    csv_bytes(&bytes, default_realm)
}

/// Reads CSV from standard input.
///
/// # Errors
/// As [`csv_file`].
pub fn csv_stdin(default_realm: &str) -> Result<Import, ImportError> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
        .map_err(|error| unreadable(Path::new("standard input"), error))?;
    csv_bytes(&bytes, default_realm)
}

fn unreadable(path: &Path, error: impl ToString) -> ImportError {
    ImportError::Unreadable { path: path.display().to_string(), message: error.to_string() }
}

/// Reads CSV.
///
/// # Errors
/// [`ImportError::Columns`] if it lacks columns; bad lines are in the result.
pub fn csv_bytes(bytes: &[u8], default_realm: &str) -> Result<Import, ImportError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(bytes))
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(bytes);
    let names = match reader.byte_headers() {
        Ok(names) => {
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
        }
        Err(_) => Vec::new(),
    };
    let columns = Columns::find(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut collector = Collector::new(default_realm);
    for result in reader.into_records() {
        match result {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                if record.iter().all(str::is_empty) {
                    continue;
                }
                collector.add(line, row_of(&record, &columns));
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                collector.refuse(line, "the line is not UTF-8 or not CSV".to_owned());
                if error.is_io_error() {
                    break;
                }
            }
        }
    }
    Ok(collector.import)
}

/// The separator that the header line has most of.
fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes
        .split(|&byte| byte == b'\n')
        .find(|line| !line.starts_with(b"#") && !line.trim_ascii().is_empty())
        .unwrap_or_default();
    let count = |separator: u8| header.iter().filter(|&&byte| byte == separator).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|&separator| count(separator)).unwrap_or(b',')
}

fn row_of(record: &StringRecord, columns: &Columns) -> Row {
    let get = |index: Option<usize>| {
        let value = record.get(index?)?;
        (!matches!(value, "" | "NULL" | "\\N")).then(|| value.to_owned())
    };
    Row {
        username: get(Some(columns.username)),
        realm: get(columns.realm).or_else(|| get(columns.domain)),
        password: get(columns.password),
        ha1: get(columns.ha1),
        ha1_sha256: get(columns.ha1_sha256),
    }
}

/// Reads the `subscriber` table of a Kamailio database in an SQLite file.
///
/// # Errors
/// [`ImportError`] if the file or the table cannot be read.
pub fn kamailio_sqlite(path: &Path, default_realm: &str) -> Result<Import, ImportError> {
    let fail = |error: rusqlite::Error| unreadable(path, error);
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(fail)?;
    let mut statement = connection.prepare("SELECT * FROM subscriber").map_err(fail)?;
    let columns = Columns::find(&statement.column_names())?;
    let mut rows = statement.query([]).map_err(fail)?;
    let mut collector = Collector::new(default_realm);
    let mut number = 0;
    while let Some(row) = rows.next().map_err(fail)? {
        number += 1;
        let get = |index: Option<usize>| -> Option<String> {
            let value = row.get::<_, Option<String>>(index?).ok().flatten()?;
            (!value.is_empty()).then_some(value)
        };
        let row = Row {
            username: get(Some(columns.username)),
            realm: get(columns.realm).or_else(|| get(columns.domain)),
            password: get(columns.password),
            ha1: get(columns.ha1),
            ha1_sha256: get(columns.ha1_sha256),
        };
        collector.add(number, row);
    }
    Ok(collector.import)
}

/// A line before it is checked.
#[derive(Debug)]
struct Row {
    username: Option<String>,
    realm: Option<String>,
    password: Option<String>,
    ha1: Option<String>,
    ha1_sha256: Option<String>,
}

struct Collector<'a> {
    default_realm: &'a str,
    import: Import,
    seen: HashMap<(String, String), u64>,
}

impl<'a> Collector<'a> {
    fn new(default_realm: &'a str) -> Self {
        Self { default_realm, import: Import::default(), seen: HashMap::new() }
    }

    fn refuse(&mut self, line: u64, message: String) {
        self.import.bad.push(BadLine { line, message });
    }

    fn add(&mut self, line: u64, row: Row) {
        if self.import.users.len() >= MAX_USERS {
            return self.refuse(line, format!("more than {MAX_USERS} users in one file: split it"));
        }
        let user = match user_of(row, self.default_realm) {
            Ok(user) => user,
            Err(message) => return self.refuse(line, message),
        };
        let key = (user.username.clone(), user.realm.clone());
        match self.seen.get(&key) {
            Some(first) => {
                let message =
                    format!("user `{}` of realm `{}` is in line {first} already", key.0, key.1);
                self.refuse(line, message);
            }
            None => {
                self.seen.insert(key, line);
                self.import.users.push(user);
            }
        }
    }
}

/// Checks a user name or a realm.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if name.len() > MAX_NAME {
        return Err(format!("the {what} is longer than {MAX_NAME} octets"));
    }
    if name.contains(|c: char| c.is_control() || c.is_whitespace() || "\":\\<>".contains(c)) {
        return Err(format!(
            "the {what} `{}` has a blank, colon, quote, backslash, angle bracket or control character",
            name.escape_debug()
        ));
    }
    Ok(())
}

fn user_of(row: Row, default_realm: &str) -> Result<User, String> {
    let username = row.username.unwrap_or_default();
    let realm = row.realm.unwrap_or_else(|| default_realm.to_owned());
    check_name("user name", &username)?;
    check_name("realm", &realm)?;
    let (mut md5, mut sha256) = (None, None);
    if let Some(ha1) = row.ha1 {
        match ha1.len() {
            32 => md5 = Some(digest("ha1", &ha1, 32)?),
            // Kamailio keeps SHA-256 in the same column.
            64 => sha256 = Some(digest("ha1", &ha1, 64)?),
            _ => return Err("ha1 is not 32 (MD5) or 64 (SHA-256) hexadecimal digits".into()),
        }
    }
    if let Some(ha1) = row.ha1_sha256 {
        sha256 = Some(digest("ha1_sha256", &ha1, 64)?);
    }
    if let Some(password) = row.password {
        let computed = ha1_md5(&username, &realm, &password);
        // A password that does not fit to the digest is a left-over: phones use the digest.
        if md5.as_ref().is_none_or(|known| *known == computed)
            && (md5.is_some() || sha256.is_none())
        {
            md5 = Some(computed);
            sha256 = sha256.or_else(|| Some(ha1_sha256(&username, &realm, &password)));
        }
    }
    if md5.is_none() && sha256.is_none() {
        return Err("neither password, ha1 nor ha1_sha256 is given".into());
    }
    Ok(User { username, realm, ha1_md5: md5, ha1_sha256: sha256, numbers: Vec::new() })
}

fn digest(name: &str, value: &str, length: usize) -> Result<String, String> {
    if value.len() == length && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(value.to_ascii_lowercase())
    } else {
        Err(format!("{name} is not {length} hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Import {
        csv_bytes(text.as_bytes(), "tandem").unwrap()
    }

    #[test]
    fn passwords_and_digests_are_read() {
        let sha = ha1_sha256("bob", "example.org", "pw");
        let md5 = ha1_md5("bob", "example.org", "pw").to_uppercase();
        let import = read(&format!(
            "username,realm,password,ha1,ha1_sha256\nalice,,secret,,\nbob,example.org,,{md5},{sha}\n"
        ));
        assert_eq!(import.bad, []);
        assert_eq!(
            import.users,
            [
                User::with_password("alice", "tandem", "secret"),
                User::with_password("bob", "example.org", "pw")
            ]
        );
    }

    #[test]
    fn kamailio_dumps_are_read_with_any_separator() {
        let md5 = ha1_md5("1001", "voip.example", "x");
        for separator in [",", ";", "\t"] {
            let text = [
                ["id", "username", "domain", "password", "ha1", "ha1b", "vmpin"].join(separator),
                ["1", "1001", "voip.example", "", &md5, "ffff", "NULL"].join(separator),
                ["2", "1002", "voip.example", "y", "\\N", "", "\\N"].join(separator),
            ]
            .join("\r\n");
            let import = read(&text);
            assert_eq!(import.bad, [], "{separator:?}");
            assert_eq!(import.users[0].ha1_md5.as_ref(), Some(&md5));
            assert_eq!(import.users[0].ha1_sha256, None);
            assert_eq!(import.users[1], User::with_password("1002", "voip.example", "y"));
        }
    }

    #[test]
    fn bad_lines_have_their_number_and_the_rest_is_read() {
        let import = read(
            "# our users\nusername,password\nalice,a\n,b\nbob,\nbad name,c\nalice,d\n\ncarol,e\n",
        );
        let lines: Vec<u64> = import.bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [4, 5, 6, 7]);
        assert!(import.bad[1].message.contains("neither password"));
        assert!(import.bad[3].message.contains("in line 3 already"));
        assert_eq!(import.users.len(), 2);
        let import = read("username,ha1\nalice,xyz\n");
        assert!(import.bad[0].message.contains("ha1 is not"));
    }

    #[test]
    fn a_left_over_password_does_not_spoil_the_digest() {
        let md5 = ha1_md5("alice", "tandem", "new");
        let import = read(&format!("username,password,ha1\nalice,old,{md5}\n"));
        assert_eq!(import.users[0].ha1_md5.as_ref(), Some(&md5));
        assert_eq!(import.users[0].ha1_sha256, None);
        let import = read(&format!("username,password,ha1\nalice,new,{md5}\n"));
        assert_eq!(import.users[0], User::with_password("alice", "tandem", "new"));
    }

    #[test]
    fn missing_columns_are_named() {
        let error = csv_bytes(b"name,secret\n", "tandem").unwrap_err().to_string();
        assert!(error.contains("`username`") && error.contains("name, secret"), "{error}");
        assert!(csv_bytes(b"username\n", "t").unwrap_err().to_string().contains("ha1"));
        assert!(csv_bytes(b"", "t").is_err());
        assert!(csv_bytes(b"\xff\xfe\x00", "t").is_err());
    }

    #[test]
    fn the_subscriber_table_is_read_from_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kamailio.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE subscriber (id INTEGER PRIMARY KEY NOT NULL, username VARCHAR(64),
                 domain VARCHAR(64), password VARCHAR(64), ha1 VARCHAR(128), ha1b VARCHAR(128));
                 INSERT INTO subscriber VALUES (1, 'alice', 'example.org', 'pw', '', '');
                 INSERT INTO subscriber VALUES (2, '', 'example.org', 'pw', '', '');",
            )
            .unwrap();
        let import = kamailio_sqlite(&path, "tandem").unwrap();
        assert_eq!(import.users, [User::with_password("alice", "example.org", "pw")]);
        assert_eq!(import.bad[0].line, 2);
        assert!(kamailio_sqlite(&folder.path().join("none"), "t").is_err());
    }
}
