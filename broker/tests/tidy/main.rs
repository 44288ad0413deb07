//! The house rules that a machine can check, as a test over the whole tree. Every test names all
//! offenders and what to do about them. What needs judgement stays with the reviewer.

mod source;

use source::{Source, has_word};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// The top of the tree is the first page a newcomer reads: an entry must earn its place here.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "broker",
    "clippy.toml",
    "net",
    "rustfmt.toml",
    "scripts",
    "storage",
];

/// What git and builds leave there, as `.gitignore` says.
const NOT_OURS: &[&str] = &[".git", "target", "spate-data"];

/// Each crate and which of ours it may know. `broker` is the only place where the others meet.
const KNOWS: &[(&str, &[&str])] = &[
    ("storage", &[]),
    ("net", &[]),
    ("bench", &["spate-net"]),
    ("broker", &["spate-net", "spate-storage"]),
];

/// Foreign crates that shape a whole thread, and the one crate of ours that may run it.
const ONLY_IN: &[(&str, &str)] = &[("glommio", "storage"), ("tokio", "broker")];

/// Names that say nothing: a thing lives with the thing it serves.
const BANNED_NAMES: &[&str] = &[
    "common", "util", "utils", "helper", "helpers", "impls", "misc",
];

/// Every file that may hold `unsafe`, and why it cannot do without.
const UNSAFE_FILES: &[(&str, &str)] = &[
    (
        "broker/src/allocator.rs",
        "the allocator's options are set by a C function",
    ),
    (
        "net/src/reactor/buffers.rs",
        "aligned and shared memory has no safe owner",
    ),
    (
        "net/src/reactor/ring/provided.rs",
        "the kernel writes into the ring of receive buffers",
    ),
    (
        "net/src/reactor/ring/queue.rs",
        "submission hands pointers to the kernel",
    ),
    (
        "net/src/reactor/ring/request.rs",
        "entries point into memory that the request owns",
    ),
];

#[test]
fn every_file_says_what_it_is() {
    let silent = |file: &Source| match file.path.rsplit_once('.') {
        Some((_, "rs")) => !file.text.starts_with("//! "),
        Some((_, "py")) => !after_shebang(&file.text).starts_with("\"\"\""),
        Some((_, "go" | "cjs")) => !file.text.starts_with("// "),
        Some((_, "xml")) => !file.text.contains("<!--"),
        _ => !after_shebang(&file.text).starts_with(['#', '"']),
    };
    let offenders = tree().into_iter().filter(silent).map(|file| file.path);
    expect_none(
        "open each file with what it is, why, and what it must never do",
        offenders,
    );
}

#[test]
fn scripts_stop_at_the_first_error() {
    let careless = |file: &Source| {
        file.text.starts_with("#!/usr/bin/env bash") && !file.text.contains("\nset -euo pipefail\n")
    };
    let offenders = tree().into_iter().filter(careless).map(|file| file.path);
    expect_none("a bash script says `set -euo pipefail`", offenders);
}

#[test]
fn files_are_rooms_not_halls() {
    let long = |file: &Source| file.text.lines().count() > FILE_LINES_MAX;
    let offenders = tree().into_iter().filter(long).map(|file| file.path);
    expect_none(
        &format!("split files of more than {FILE_LINES_MAX} lines"),
        offenders,
    );
}

#[test]
fn functions_fit_a_screen() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        for function in file.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                let (path, line, name) = (&file.path, function.line, function.name);
                offenders.push(format!(
                    "{path}:{line}: {name} has {} lines",
                    function.lines
                ));
            }
        }
    }
    expect_none(
        &format!("split functions of more than {FUNCTION_LINES_MAX} lines"),
        offenders,
    );
}

#[test]
fn lines_fit_the_page() {
    let wide = |line: &str| line.chars().count() > LINE_COLUMNS_MAX;
    let offenders = tree()
        .into_iter()
        .flat_map(|file| offending_lines(&file, wide));
    expect_none(
        &format!("break lines of more than {LINE_COLUMNS_MAX} columns"),
        offenders,
    );
}

#[test]
fn nothing_is_left_over() {
    // Put together here, or this file would be its own first offender.
    let notes = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let macros = ["dbg!", "todo!", "unimplemented!"];
    let mut offenders = Vec::new();
    for file in tree() {
        let noted = |line: &str| notes.iter().any(|note| has_word(line, note));
        offenders.extend(offending_lines(&file, noted));
        if file.is_rust() {
            let code = Source {
                text: file.code(),
                ..file
            };
            let called = |line: &str| macros.iter().any(|name| has_word(line, name));
            offenders.extend(offending_lines(&code, called));
        }
    }
    expect_none("finish it, or file it as an issue", offenders);
}

#[test]
fn names_say_something() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        let path = file.path.trim_end_matches(".rs");
        let rooms: Vec<&str> = path.split('/').collect();
        let stutters = rooms.windows(2).any(|pair| pair[0] == pair[1]);
        // Among the tests `mod.rs` keeps a shared room from being a test of its own.
        let nameless = path.ends_with("/mod") && rooms.contains(&"src");
        if stutters || nameless || rooms.iter().any(|room| BANNED_NAMES.contains(room)) {
            offenders.push(file.path.clone());
        }
        let module = |line: &str| {
            let line = line
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ");
            let name = line
                .strip_prefix("mod ")
                .map(|rest| rest.trim_end_matches([';', '{', ' ']));
            name.is_some_and(|name| BANNED_NAMES.contains(&name))
        };
        offenders.extend(offending_lines(&file, module));
    }
    expect_none(
        "name files and modules for what they hold, without stuttering",
        offenders,
    );
}

#[test]
fn crates_depend_in_one_direction() {
    let mut offenders = Vec::new();
    for (member, allowed) in KNOWS {
        for dependency in dependencies(member) {
            let ours = dependency.starts_with("spate") && !allowed.contains(&dependency.as_str());
            let only_in = ONLY_IN.iter().find(|(name, _)| *name == dependency);
            if ours || only_in.is_some_and(|(_, home)| home != member) {
                offenders.push(format!("{member}/Cargo.toml: {dependency}"));
            }
        }
    }
    expect_none(
        "storage and net know no other crate of ours, bench only net",
        offenders,
    );
}

#[test]
fn paths_reach_only_what_their_crate_may_know() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        let allowed = KNOWS.iter().find(|(member, _)| *member == file.top());
        let (member, allowed) = allowed.unwrap_or_else(|| panic!("{}: whose is it?", file.path));
        let code = file.code();
        for name in ["spate-net", "spate-storage", "spate-bench"] {
            let own = name.strip_prefix("spate-") == Some(member);
            if !own && !allowed.contains(&name) && has_word(&code, &name.replace('-', "_")) {
                offenders.push(format!("{}: {name}", file.path));
            }
        }
        if *member == "storage" && has_word(&code, "net") && code.contains("std::net") {
            offenders.push(format!("{}: storage knows no sockets", file.path));
        }
    }
    expect_none("move the code to the crate that may know both", offenders);
}

#[test]
fn every_member_is_in_the_dependency_rule() {
    let manifest = manifest(&workspace().join("Cargo.toml"));
    let members: BTreeSet<&str> = manifest["workspace"]["members"]
        .as_array()
        .expect("members is a list")
        .iter()
        .map(|member| member.as_str().expect("a member is a path"))
        .collect();
    assert_eq!(members, KNOWS.iter().map(|(member, _)| *member).collect());
}

#[test]
fn unsafe_lives_in_named_files() {
    let holders: BTreeSet<String> = rust_files()
        .filter(|file| has_word(&file.code(), "unsafe"))
        .map(|file| file.path)
        .collect();
    let named: BTreeSet<String> = UNSAFE_FILES
        .iter()
        .map(|(path, _)| path.to_string())
        .collect();
    expect_none("unsafe here is not on the list", holders.difference(&named));
    expect_none(
        "no unsafe is left: take it off the list",
        named.difference(&holders),
    );
    let unreasoned = UNSAFE_FILES.iter().filter(|(_, reason)| reason.is_empty());
    expect_none(
        "say why it cannot do without",
        unreasoned.map(|(path, _)| path),
    );
}

#[test]
fn the_top_level_is_a_table_of_contents() {
    let unexpected = fs::read_dir(workspace())
        .expect("the workspace can be listed")
        .map(|entry| {
            entry
                .expect("its entries too")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()) && !NOT_OURS.contains(&name.as_str()));
    expect_none(
        "move it into the crate or folder that it belongs to",
        unexpected,
    );
}

fn expect_none(remedy: &str, offenders: impl IntoIterator<Item = impl std::fmt::Display>) {
    let lines: Vec<String> = offenders
        .into_iter()
        .map(|offender| offender.to_string())
        .collect();
    assert!(lines.is_empty(), "{remedy}:\n  {}\n", lines.join("\n  "));
}

fn offending_lines(file: &Source, offends: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = file
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| offends(line));
    numbered
        .map(|(index, _)| format!("{}:{}", file.path, index + 1))
        .collect()
}

fn after_shebang(text: &str) -> &str {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => rest,
        _ => text,
    }
}

fn workspace() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member
        .parent()
        .expect("the workspace is one up")
        .to_path_buf()
}

/// Every file of the crates and scripts that a person wrote.
fn tree() -> Vec<Source> {
    let root = workspace();
    let mut paths = Vec::new();
    for top in ["broker", "storage", "net", "bench", "scripts", ".ci"] {
        walk(&root.join(top), &mut paths);
    }
    assert!(
        paths.len() > 10,
        "the tree was not found at {}",
        root.display()
    );
    paths.sort();
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

fn rust_files() -> impl Iterator<Item = Source> {
    tree().into_iter().filter(Source::is_rust)
}

/// Manifests, golden data and Python's leavings are not text to be judged by these rules.
fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry can be read").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let skipped = [
            "__pycache__",
            "golden",
            "Cargo.toml",
            "go.mod",
            "go.sum",
            "proptest-regressions",
        ];
        if skipped.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            walk(&path, paths)
        } else {
            paths.push(path)
        }
    }
}

fn manifest(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).expect("a manifest can be read");
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All dependencies of a member: for its code, its tests, its build, on any target.
fn dependencies(member: &str) -> Vec<String> {
    let manifest = manifest(&workspace().join(member).join("Cargo.toml"));
    let mut tables = vec![&manifest];
    if let Some(targets) = manifest.get("target").and_then(|target| target.as_table()) {
        tables.extend(targets.values().filter_map(|target| target.as_table()));
    }
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let named = tables
        .iter()
        .flat_map(|table| sections.map(|section| table.get(section)));
    let names = named.flatten().filter_map(|section| section.as_table());
    names.flat_map(|section| section.keys().cloned()).collect()
}
