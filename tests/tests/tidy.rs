//! Rules of the tree that no compiler checks: layout, dependency edges, sizes, purity.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOFT_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").into()
}

/// Files that git knows or would add.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .expect("git lists files");
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    text.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect()
}

fn rust_files() -> impl Iterator<Item = (PathBuf, String)> {
    files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).map(|path| {
        let text = fs::read_to_string(root().join(&path)).expect("source is UTF-8");
        (path, text)
    })
}

/// The part of a file before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[test]
fn the_top_level_holds_only_what_is_agreed() {
    let allowed = ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE"];
    let folders = ["hw", "dataplane", "control", "benches", "tests"];
    for path in files() {
        let first = path.iter().next().expect("not empty").to_string_lossy().into_owned();
        assert!(
            first.starts_with('.')
                || allowed.contains(&first.as_str())
                || folders.contains(&first.as_str()),
            "{} is outside the layout",
            path.display()
        );
    }
}

/// Who may depend on whom (normal dependencies inside the workspace).
const EDGES: &[(&str, &[&str])] = &[
    ("tandem-wire", &[]),
    ("tandem-contract", &["tandem-wire"]),
    ("tandem-hw", &["tandem-wire"]),
    ("tandem-dsp", &["tandem-hw"]),
    ("tandem-engine", &["tandem-contract", "tandem-wire", "tandem-dsp", "tandem-hw"]),
    ("tandem-signalling", &["tandem-wire"]),
    ("tandem-rating", &[]),
    (
        "tandem",
        &["tandem-signalling", "tandem-rating", "tandem-contract", "tandem-wire", "tandem-hw"],
    ),
];
/// These may use all, and nothing depends on them.
const LEAVES: &[&str] = &["tandem-ua", "tandem-bench", "tandem-tests"];

#[test]
fn dependencies_point_one_way() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let ours: BTreeSet<_> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    for package in &metadata.packages {
        let name = package.name.to_string();
        for dependency in &package.dependencies {
            if !ours.contains(&dependency.name)
                || dependency.kind != cargo_metadata::DependencyKind::Normal
            {
                continue;
            }
            assert!(!LEAVES.contains(&dependency.name.as_str()), "{name} uses {}", dependency.name);
            let allowed = EDGES.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
            assert!(
                LEAVES.contains(&name.as_str())
                    || allowed.is_some_and(|to| to.contains(&dependency.name.as_str())),
                "{name} may not depend on {}",
                dependency.name
            );
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("root manifest");
    let section = text.split("[workspace.dependencies]").nth(1).expect("dependencies");
    let section = section.split("\n[").next().expect("first part");
    let plain = ["serde", "serde_json", "thiserror", "tracing", "tracing-subscriber"];
    for line in section.lines().filter(|line| line.contains(" = ") && !line.contains("path = ")) {
        let name = line.split(" = ").next().unwrap_or_default();
        assert!(line.contains(" # ") || plain.contains(&name), "no reason beside {name}");
    }
}

#[test]
fn unsafe_code_lives_in_hw_alone() {
    for (path, text) in rust_files() {
        if path.starts_with("hw") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let found = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe("];
            assert!(
                path.ends_with("tests/tests/tidy.rs") || !found.iter().any(|w| code.contains(w)),
                "unsafe outside hw: {}:{}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn every_unsafe_file_says_its_invariants() {
    for (path, text) in rust_files() {
        if path.starts_with("hw/src") && text.contains("unsafe {") {
            assert!(text.starts_with("//!"), "{} has no module doc", path.display());
            assert!(text.contains("nvariant"), "{} names no invariants", path.display());
        }
    }
}

/// Crates that are functions of their input: no clock, no sleep, no environment, no I/O.
const PURE: &[&str] = &[
    "dataplane/wire/src",
    "dataplane/contract/src",
    "dataplane/dsp/src",
    "control/signalling/src",
    "control/rating/src",
];

#[test]
fn pure_crates_read_no_clock_and_do_no_io() {
    let forbidden = [
        "Instant::now(",
        "SystemTime::now(",
        "thread::sleep(",
        "std::env::",
        "std::fs::",
        "UdpSocket",
        "TcpStream",
        "thread::spawn(",
    ];
    for (path, text) in rust_files() {
        if !PURE.iter().any(|folder| path.starts_with(folder)) || path.ends_with("tests.rs") {
            continue;
        }
        for word in forbidden {
            assert!(!without_tests(&text).contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for (path, text) in rust_files() {
        let lines = without_tests(&text).lines().count();
        assert!(lines <= SOFT_LINES, "{} has {lines} lines before its tests", path.display());
    }
}

#[test]
fn every_source_file_opens_with_its_doc() {
    for (path, text) in rust_files() {
        let start = text.trim_start_matches("#![no_main]\n");
        assert!(start.starts_with("//!"), "{} has no module doc", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "XXX"];
    for (path, text) in rust_files() {
        if path.ends_with("tests/tests/tidy.rs") {
            continue;
        }
        for word in words {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}
