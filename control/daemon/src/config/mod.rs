//! The configuration: one TOML file, every key optional.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`settings`] | every key with its default and its sentence |
//! | [`types`] | types of settings |
//! | [`trunk`] | types of settings of trunks and routes |
//! | [`reload`] | what a running daemon takes of a changed file |
//! | `check` | values that make no sense |
//! | `check_routing` | the same for numbers, trunks and routes |

mod check;
mod check_routing;
pub mod reload;
pub mod settings;
pub mod sockets;
pub mod trunk;
pub mod types;

pub use settings::Config;

use settings::{SECTIONS, Section};
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Its content is wrong.
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(
                f,
                "cannot read the configuration {}: {source}. Run without --config for the defaults, or write them to a file with `tandem run --print-config`",
                path.display()
            ),
            Self::Wrong { path, problems } => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        f.write_char('\n')?;
                    }
                    let Problem { line, column, message } = problem;
                    write!(f, "{}:{line}:{column}: {message}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read, or with all that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|problems| ConfigError::Wrong { path: path.to_owned(), problems })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// All that is wrong, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| problem(text, error.span().unwrap_or(0..0), error.message().to_owned()))
            .collect();
        if problems.is_empty() {
            problems = unknown_keys(text, table.get_ref());
        }
        if problems.is_empty() {
            match toml::from_str::<Self>(text) {
                Ok(config) => {
                    let found = check::check(&config).into_iter().map(|(key, message)| {
                        let span = span_of(table.get_ref(), key).unwrap_or(0..0);
                        problem(text, span, format!("{key}: {message}"))
                    });
                    let of_entries = check_routing::check(&config).into_iter().map(|it| {
                        let key = format!("{}.{}", it.section, it.key);
                        let span = entry_span(table.get_ref(), it.section, it.index, it.key);
                        problem(text, span.unwrap_or(0..0), format!("{key}: {}", it.message))
                    });
                    problems = found.chain(of_entries).collect();
                    if problems.is_empty() {
                        return Ok(config);
                    }
                }
                Err(error) => {
                    let span = error.span().unwrap_or(0..0);
                    let key = key_at(table.get_ref(), span.start);
                    let message = match key {
                        Some(key) => format!("{key}: {}", error.message()),
                        None => error.message().to_owned(),
                    };
                    problems.push(problem(text, span, message));
                }
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(problems)
    }

    /// Addresses that media ports are bound to: as configured, else the first of SIP of each family.
    #[must_use]
    pub fn media_addresses(&self) -> Vec<IpAddr> {
        if !self.media.addresses.is_empty() {
            return self.media.addresses.clone();
        }
        let listen = self.sip.listen.iter().map(SocketAddr::ip);
        let first = |v4: bool| listen.clone().find(|ip| ip.is_ipv4() == v4);
        [first(true), first(false)].into_iter().flatten().collect()
    }

    /// The configuration as a TOML file with a sentence for each key.
    #[must_use]
    pub fn to_documented_toml(&self) -> String {
        let mut text = String::from(
            "# Configuration of Tandem. Every key is optional; these are the values in effect.\n",
        );
        let values = toml::Table::try_from(self).unwrap_or_default();
        for section in SECTIONS {
            text.push('\n');
            push_comment(&mut text, section.doc);
            let value = values.get(section.name);
            if section.many {
                push_entries(&mut text, section, value.and_then(toml::Value::as_array));
            } else {
                let _ = writeln!(text, "[{}]", section.name);
                push_keys(&mut text, section, value.and_then(toml::Value::as_table), "");
            }
        }
        text
    }
}

/// The tables of an array; without any, one with the defaults as a comment.
fn push_entries(text: &mut String, section: &Section, entries: Option<&toml::value::Array>) {
    let entries: Vec<&toml::Table> =
        entries.into_iter().flatten().filter_map(toml::Value::as_table).collect();
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "[[{}]]", section.name);
        push_keys(text, section, Some(entry), "");
    }
    if entries.is_empty() {
        let _ = writeln!(text, "# [[{}]]", section.name);
        let defaults = settings::entry_defaults(section.name);
        push_keys(text, section, defaults.as_ref(), "# ");
    }
}

fn push_keys(text: &mut String, section: &Section, table: Option<&toml::Table>, before: &str) {
    for key in section.keys {
        push_comment(text, key.doc);
        if let Some(value) = table.and_then(|table| table.get(key.name)) {
            let _ = writeln!(text, "{before}{} = {value}", key.name);
        }
    }
}

fn push_comment(text: &mut String, doc: &[&str]) {
    for line in doc {
        let _ = writeln!(text, "#{}", line.trim_end());
    }
}

fn problem(text: &str, span: Range<usize>, message: String) -> Problem {
    let before = text.get(..span.start.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |position| position + 1);
    Problem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
    }
}

/// Finds keys that do not exist, each with the nearest one that does.
fn unknown_keys(text: &str, table: &DeTable<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in table {
        let Some(section) = SECTIONS.iter().find(|section| section.name == name.get_ref()) else {
            let message = unknown_section(name.get_ref(), value.get_ref());
            problems.push(problem(text, name.span(), message));
            continue;
        };
        let tables = match (section.many, value.get_ref()) {
            (false, DeValue::Table(table)) => vec![table],
            (true, DeValue::Array(entries)) => {
                entries.iter().filter_map(|entry| entry.get_ref().as_table()).collect()
            }
            (many, _) => {
                let (what, name_in) =
                    if many { ("an array of tables", "[[") } else { ("a section", "[") };
                let name_out = if many { "]]" } else { "]" };
                let message = format!(
                    "`{0}` is {what}: write {name_in}{0}{name_out} and its keys below",
                    section.name
                );
                problems.push(problem(text, name.span(), message));
                continue;
            }
        };
        for (key, _) in tables.into_iter().flatten() {
            if !section.keys.iter().any(|known| known.name == key.get_ref()) {
                let message = unknown_key(section.name, key.get_ref());
                problems.push(problem(text, key.span(), message));
            }
        }
    }
    problems
}

fn unknown_section(name: &str, value: &DeValue<'_>) -> String {
    if !value.is_table()
        && let Some(section) =
            SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name))
    {
        return format!("unknown key `{name}`: did you mean `{name}` below [{}]?", section.name);
    }
    match nearest(name, SECTIONS.iter().map(|section| section.name)) {
        Some(near) => format!("unknown section `{name}`: did you mean `{near}`?"),
        None => format!("unknown section `{name}`: `tandem run --print-config` shows all"),
    }
}

fn unknown_key(section: &str, key: &str) -> String {
    let own = SECTIONS.iter().find(|known| known.name == section);
    let own = own.into_iter().flat_map(|known| known.keys).map(|known| known.name);
    if let Some(other) =
        SECTIONS.iter().find(|other| other.keys.iter().any(|known| known.name == key))
    {
        return format!("unknown key `{section}.{key}`: did you mean `{}.{key}`?", other.name);
    }
    match nearest(key, own) {
        Some(near) => format!("unknown key `{section}.{key}`: did you mean `{near}`?"),
        None => {
            format!("unknown key `{section}.{key}`: `tandem run --print-config` shows all")
        }
    }
}

/// The nearest name, if one is near.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| {
            let swapped = strsim::normalized_damerau_levenshtein(name, known);
            (swapped.max(strsim::jaro_winkler(name, known)), known)
        })
        .filter(|(score, _)| *score > 0.65)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Where the value of `section.key` stands, or its section.
fn span_of(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let (section, key) = path.split_once('.')?;
    let (name, value) = find(table, section)?;
    match value.get_ref().as_table().and_then(|inner| find(inner, key)) {
        Some((_, value)) => Some(value.span()),
        None => Some(name.span()),
    }
}

type KeyValue<'t, 'i> = (&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

fn find<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<KeyValue<'t, 'i>> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}

/// Where a key of the `index`th table of an array stands, or the table, or the section.
fn entry_span(
    table: &DeTable<'_>,
    section: &str,
    index: Option<usize>,
    key: &str,
) -> Option<Range<usize>> {
    let Some(index) = index else { return span_of(table, &format!("{section}.{key}")) };
    let (_, value) = find(table, section)?;
    let entry = value.get_ref().as_array()?.get(index)?;
    match entry.get_ref().as_table().and_then(|inner| find(inner, key)) {
        Some((_, value)) => Some(value.span()),
        None => Some(entry.span()),
    }
}

/// The key whose value stands at this place.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (section, value) in table {
        let tables: Vec<&DeTable<'_>> = match value.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(entries) => {
                entries.iter().filter_map(|entry| entry.get_ref().as_table()).collect()
            }
            _ => continue,
        };
        for (key, value) in tables.into_iter().flatten() {
            if key.span().contains(&offset) || value.span().contains(&offset) {
                return Some(format!("{}.{}", section.get_ref(), key.get_ref()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> (usize, usize, String) {
        let problem = Config::parse(text).unwrap_err().remove(0);
        (problem.line, problem.column, problem.message)
    }

    #[test]
    fn what_is_printed_reads_back_as_the_defaults() {
        let printed = Config::default().to_documented_toml();
        assert_eq!(Config::parse(&printed), Ok(Config::default()));
        for section in SECTIONS {
            let (head, before) = match section.many {
                true => (format!("\n# [[{}]]\n", section.name), "# "),
                false => (format!("\n[{}]\n", section.name), ""),
            };
            assert!(printed.contains(&head), "{head}");
            for key in section.keys {
                assert!(printed.contains(&format!("\n{before}{} = ", key.name)), "{}", key.name);
                assert!(!key.doc.is_empty(), "{} has no sentence", key.name);
            }
        }
    }

    #[test]
    fn what_is_printed_keeps_changed_values() {
        let text = "[sip]\nadvertised = [\"10.0.0.1=203.0.113.9\", \"2001:db8::2\"]\nt1_ms = 250\n[log]\nformat = \"json\"";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.sip.t1_ms, 250);
        assert_eq!(Config::parse(&config.to_documented_toml()), Ok(config));
    }

    #[test]
    fn arrays_of_tables_are_printed_read_back_and_hide_passwords() {
        let text = "[[trunk]]\nname = \"a\"\npeer = \"sip:192.0.2.9\"\n[[trunk]]\nname = \"b\"\npeer = \"sip:example.com\"\n[[route]]\nprefix = \"+49\"\ntrunk = \"b\"\nfailover = [408, \"q850/34\"]";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.trunk.len(), 2);
        let printed = config.to_documented_toml();
        assert_eq!(Config::parse(&printed), Ok(config));
        let text = format!(
            "{text}\n[[trunk]]\nname = \"c\"\npeer = \"sip:192.0.2.8\"\npassword = \"s3cret\""
        );
        let printed = Config::parse(&text).unwrap().to_documented_toml();
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(Config::parse(&printed).unwrap_err()[0].message.contains("trunk.password"));
    }

    #[test]
    fn mistakes_in_arrays_of_tables_have_their_place() {
        let two = "[[trunk]]\nname = \"a\"\npeer = \"sip:192.0.2.9\"\n[[trunk]]\nname = \"b\"\n";
        for (text, line, part) in [
            (format!("{two}paer = 1\n"), 6, "unknown key `trunk.paer`: did you mean `peer`?"),
            (format!("{two}peer = 3\n"), 6, "trunk.peer: invalid type"),
            (two.to_owned(), 4, "trunk.peer: "),
            (format!("{two}peer = \"http://x\"\n"), 6, "trunk.peer: "),
            ("[trunk]\nname = \"a\"\n".to_owned(), 1, "write [[trunk]]"),
            ("[[sip]]\nrealm = \"a\"\n".to_owned(), 1, "write [sip]"),
            ("[[route]]\nprefix = \"+49\"\n\ntrunk = \"x\"\n".to_owned(), 4, "route.trunk: "),
        ] {
            let (at, _, message) = first(&text);
            assert!(message.contains(part), "{text}: {message}");
            assert_eq!(at, line, "{text}: {message}");
        }
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn unknown_keys_are_refused_with_place_and_nearest_name() {
        assert_eq!(
            first("[sip]\nrealm = \"x\"\n  lisen = []\n"),
            (3, 3, "unknown key `sip.lisen`: did you mean `listen`?".into())
        );
        assert_eq!(first("[spi]\n"), (1, 2, "unknown section `spi`: did you mean `sip`?".into()));
        assert_eq!(
            first("[sip]\ndscp = 3\n"),
            (2, 1, "unknown key `sip.dscp`: did you mean `media.dscp`?".into())
        );
        assert_eq!(
            first("realm = \"x\"\n"),
            (1, 1, "unknown key `realm`: did you mean `realm` below [sip]?".into())
        );
        let all = Config::parse("[sip]\nxq = 1\n[http]\nlissten = 2\n").unwrap_err();
        assert_eq!(all.len(), 2);
        assert!(all[0].message.contains("--print-config"));
    }

    #[test]
    fn wrong_types_and_syntax_have_their_place() {
        let (line, column, message) = first("[sip]\nt1_ms = \"soon\"\n");
        assert_eq!((line, column), (2, 9));
        assert!(message.starts_with("sip.t1_ms: invalid type: string"), "{message}");
        let (line, column, message) = first("[sip]\nlisten = [\"127.0.0.1:5060\", \"x\"]\n");
        assert_eq!((line, column), (2, 29));
        assert!(message.starts_with("sip.listen: "), "{message}");
        assert_eq!(first("[sip]\nlisten = \n").0, 2);
        assert_eq!(first("[sip]\nt1_ms = 1\nt1_ms = 2\n").0, 3);
        assert_eq!(first("[media]\ndscp = 300\n").0, 2);
        assert!(first("sip = 3\n").2.contains("is a section"));
        assert!(first("[call]\nring = \"none\"\n").2.contains("by_priority"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (text, line, part) in [
            ("[media]\ndscp = 64\n", 2, "0 to 63"),
            ("[media]\nport_min = 40000\nport_max = 39000\n", 3, "above media.port_min"),
            ("[media]\nport_min = 40000\n\nport_max = 40003\n", 4, "port pairs"),
            ("[http]\nlisten = \"0.0.0.0:8080\"\n", 2, "http.allow_remote"),
            ("[sip]\nlisten = []\n", 2, "at least one"),
            ("[sip]\nrealm = \"a\\\"b\"\n", 2, "no quote"),
            ("[log]\nlevel = \"loud=loud\"\n", 2, "log.level"),
            ("[log]\n\nlevel = \"loud\"\n", 3, "\"error\", \"warn\", \"info\", \"debug\""),
            ("[log]\nlevel = \"tandem::call=debug,inof\"\n", 2, "\"inof\" is no level"),
            ("[call]\nmax_branches = 17\n", 2, "1 to 16"),
            ("[sip]\nmax_connections = 16385\n", 2, "1 to 16384"),
            ("[registrar]\nmax_expires_s = 90\n", 1, "registrar.default_expires_s"),
        ] {
            let (at, _, message) = first(text);
            assert_eq!(at, line, "{text} {message}");
            assert!(message.contains(part), "{message}");
        }
        assert!(Config::parse("[http]\nlisten = \"0.0.0.0:1\"\nallow_remote = true").is_ok());
        for level in ["error", "WARN", "trace", "off", "info,tandem::call=debug", "tandem=debug"] {
            assert!(Config::parse(&format!("[log]\nlevel = \"{level}\"")).is_ok(), "{level}");
        }
    }

    #[test]
    fn media_uses_the_addresses_of_sip_unless_it_has_its_own() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let config = |text: &str| Config::parse(text).unwrap();
        let both = config(
            "[sip]\nlisten = [\"10.0.0.1:5060\", \"10.0.0.2:5060\", \"[2001:db8::1]:5060\"]",
        );
        assert_eq!(both.media_addresses(), [ip("10.0.0.1"), ip("2001:db8::1")]);
        let own = config("[media]\naddresses = [\"10.0.0.9\"]");
        assert_eq!(own.media_addresses(), [ip("10.0.0.9")]);
    }

    #[test]
    fn errors_read_as_compiler_messages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        std::fs::write(&path, "[sip]\nrealmm = 1\n").unwrap();
        let text = Config::load(&path).unwrap_err().to_string();
        assert!(text.ends_with("t.toml:2:1: unknown key `sip.realmm`: did you mean `realm`?"));
        let missing = Config::load(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("--print-config"), "{missing}");
    }
}
