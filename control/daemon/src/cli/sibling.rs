//! Programs that lie beside `tandem`.

use super::{CliError, CliResult};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a program of this name lies: beside this one, else where the PATH has it; the bare name
/// if it is nowhere.
pub(crate) fn find(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// Becomes that program.
pub(super) fn execute(name: &str, arguments: &[OsString]) -> CliResult {
    let program = find(name);
    // Its usage lines then name the command that was typed: `tandem ua`.
    let typed = name.replacen('-', " ", 1);
    let error = Command::new(&program).arg0(typed).args(arguments).exec();
    Err(CliError::failed(format!(
        "cannot execute {}: {error}. Build it with `cargo build --release -p {name}`, or install it beside tandem",
        program.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_path_are_found() {
        assert!(find("sh").is_absolute());
        assert_eq!(find("tandem-no-such-program"), PathBuf::from("tandem-no-such-program"));
    }

    #[test]
    fn a_missing_program_is_named_with_its_remedy() {
        let error = execute("tandem-no-such-program", &[]).unwrap_err().to_string();
        assert!(error.contains("tandem-no-such-program") && error.contains("cargo build"));
    }
}
