//! Skipping a test with a reason that people see.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Says that `test` is skipped because of `why`; the runner counts the lines at its end.
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    eprintln!("{line}");
    if let Ok(path) = std::env::var("TANDEM_SKIP_LOG")
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path)
        && writeln!(file, "{line}").is_ok()
    {}
}

/// Whether a program is on the path.
#[must_use]
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// Why network namespaces with the given programs can't be used here, if so.
#[must_use]
pub fn missing(programs: &[&str]) -> Option<String> {
    if let Some(name) = programs.iter().find(|name| !has_program(name)) {
        return Some(format!("{name} is not installed"));
    }
    if !rooted() {
        return Some("network namespaces need root".into());
    }
    None
}

fn rooted() -> bool {
    // /proc/self/status is the one place that tells it without a library.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|uids| uids.split_whitespace().nth(1) == Some("0"));
    root && Path::new("/proc/self/ns/net").exists()
}
