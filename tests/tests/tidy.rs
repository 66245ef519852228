//! Rules of the tree that no compiler checks: layout, dependency edges, sizes, purity.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOFT_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

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

const FOLDERS: &[&str] = &["hw", "dataplane", "control", "benches", "tests"];

#[test]
fn the_top_level_holds_only_what_is_agreed() {
    let allowed = ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE"];
    for path in files() {
        let first = path.iter().next().expect("not empty").to_string_lossy().into_owned();
        assert!(
            first.starts_with('.')
                || allowed.contains(&first.as_str())
                || FOLDERS.contains(&first.as_str()),
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
    "dataplane/engine/src",
];
/// What in these meets the machine: the engine's threads, and its clock.
const IMPURE: &[&str] = &["dataplane/engine/src/host", "dataplane/engine/src/main.rs"];

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
        let within = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        if !within(PURE) || within(IMPURE) || path.ends_with("tests.rs") {
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

/// Tables in the form of functions: each line is one row.
const LONG_TABLES: &[(&str, &str)] = &[("control/signalling/src/build/reason.rs", "reason_phrase")];

/// The functions of a file that are longer than allowed: name and lines. A function ends at the
/// first closing brace that is indented like its beginning, since all source is formatted.
fn long_functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
        if !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = lines[start..].iter().position(|line| {
            line.strip_prefix(indent).is_some_and(|rest| {
                rest == "}" || (!rest.starts_with([' ', ')']) && rest.ends_with([';', '}']))
            })
        });
        let length = end.unwrap_or(lines.len() - start) + 1;
        if length > FUNCTION_LINES {
            let name = after.split(['(', '<']).next().unwrap_or(after);
            found.push((name.to_owned(), length));
        }
    }
    found
}

#[test]
fn functions_stay_readable() {
    for (path, text) in rust_files() {
        let of_tests = path.iter().any(|part| part == "tests") || path.ends_with("tests.rs");
        if of_tests {
            continue;
        }
        for (name, length) in long_functions(without_tests(&text)) {
            assert!(
                LONG_TABLES.iter().any(|(file, table)| path.ends_with(file) && name == *table),
                "{}: {name} has {length} lines",
                path.display()
            );
        }
    }
}

#[test]
fn a_long_function_is_found() {
    let body = "        x();\n".repeat(FUNCTION_LINES - 2);
    let fits = format!("fn short();\npub fn fits() {{\n{body}}}\n");
    assert_eq!(long_functions(&fits), []);
    let head = "    const fn long<T>(\n        a: T,\n    ) {\n";
    let long = format!("{fits}impl X {{\n{head}{body}    }}\n}}\n");
    assert_eq!(long_functions(&long), [("long".to_owned(), FUNCTION_LINES + 2)]);
}

#[test]
fn every_top_level_folder_says_what_is_in_it() {
    for folder in FOLDERS {
        let file = root().join(folder).join("README.md");
        let text = fs::read_to_string(&file).unwrap_or_default();
        assert!(text.starts_with("# "), "{folder}/README.md is missing");
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

#[test]
fn every_test_file_belongs_to_a_step_of_the_runner() {
    let steps = ["tidy", "sim_", "conformance_", "alloc_", "fuzz_", "system_"];
    for path in files().iter().filter(|path| path.starts_with("tests/tests")) {
        let name = path.iter().nth(2).expect("a file or folder").to_string_lossy();
        assert!(
            name == "snapshots" || steps.iter().any(|step| name.starts_with(step)),
            "tests/run runs no step with {name}"
        );
    }
}
