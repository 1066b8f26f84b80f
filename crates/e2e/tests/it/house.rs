//! The rules of the house. Each says what to do when it is broken.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The storeys of architecture: a crate uses those below it, and beside it only where named.
const STOREYS: [&[&str]; 4] = [
    &["topic", "proto", "event"],
    &["fault", "token", "kit", "store", "bus", "rpc", "identity"],
    &["auth", "vehicles", "mock-vehicle-connector", "gateway"],
    &["turnpike", "testkit", "e2e", "bench"],
];
/// Arrows within a storey.
const BESIDE: [(&str, &str); 16] = [
    ("event", "proto"),
    ("event", "topic"),
    ("store", "fault"),
    ("store", "kit"),
    ("bus", "kit"),
    ("rpc", "fault"),
    ("rpc", "token"),
    ("rpc", "kit"),
    ("identity", "fault"),
    ("identity", "token"),
    ("identity", "kit"),
    ("identity", "bus"),
    ("identity", "rpc"),
    ("e2e", "testkit"),
    ("e2e", "turnpike"),
    ("bench", "testkit"),
];
/// Crates of others that only some of ours may use, at run time.
const ONLY: [(&str, &[&str]); 5] = [
    ("sqlx", &["store", "auth", "vehicles", "testkit", "bench"]),
    ("redis", &["bus"]),
    ("axum", &["gateway", "kit", "rpc"]),
    ("jsonwebtoken", &["token"]),
    ("argon2", &["auth"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

fn metadata(arguments: &[&str]) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--format-version", "1"]).args(arguments);
    let output = cargo.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Our crates by their short names: `(name, is a dev-dependency)` of what each uses.
fn uses() -> BTreeMap<String, Vec<(String, bool)>> {
    let short = |name: &str| name.strip_prefix("turnpike-").unwrap_or(name).to_owned();
    let list = |package: &Value| {
        let uses = package["dependencies"].as_array().expect("a list").iter();
        uses.map(|used| (short(used["name"].as_str().expect("a name")), used["kind"] == "dev")).collect()
    };
    let packages = metadata(&["--no-deps"])["packages"].as_array().cloned().expect("packages");
    packages.iter().map(|package| (short(package["name"].as_str().expect("a name")), list(package))).collect()
}

fn storey(name: &str) -> Option<usize> {
    STOREYS.iter().position(|crates| crates.contains(&name))
}

#[test]
fn arrows_point_down() {
    for (name, used) in uses() {
        let here = storey(&name).unwrap_or_else(|| panic!("give {name} a storey, here and in crates/README.md"));
        for (other, for_tests) in used {
            let Some(there) = storey(&other) else { continue };
            // A service is used by the assembly alone; tests may use the testkit, and vehicles the mock, which is its peer.
            let below = there < here && (there != 2 || here == 3);
            let in_tests = for_tests
                && (other == "testkit" || (name.as_str(), other.as_str()) == ("vehicles", "mock-vehicle-connector"));
            let allowed = below || in_tests || BESIDE.contains(&(name.as_str(), other.as_str()));
            assert!(
                allowed,
                "{name} must not depend on {other}: services meet in proto, topic and event, tools know no service"
            );
        }
    }
}

#[test]
fn some_crates_are_for_some_rooms_only() {
    for (name, used) in uses() {
        for (foreign, rooms) in ONLY {
            let here = used.iter().any(|(other, for_tests)| other == foreign && !for_tests);
            assert!(!here || rooms.contains(&name.as_str()), "{name} uses {foreign}, which is for {rooms:?}");
        }
        let forbidden = ["common", "utils", "helpers", "shared"];
        assert!(!forbidden.contains(&name.as_str()), "{name}: something lacks a name");
    }
}

/// Every file of ours that ends like this, generated code left out.
fn files(ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !["gen", "target"].contains(&name) {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("crates"), &mut found);
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    assert!(!found.is_empty());
    found
}

#[test]
fn only_kit_reads_the_environment() {
    for path in files(".rs") {
        let text = path.to_string_lossy().replace('\\', "/");
        let allowed =
            ["/crates/kit/", "/crates/testkit/", "/tests/", "/examples/"].iter().any(|part| text.contains(part));
        let code = fs::read_to_string(&path).expect("text");
        assert!(allowed || !code.contains("std::env"), "{text}: take a Config; only kit reads the environment");
    }
}

#[test]
fn names_of_events_and_topics_are_strings_in_one_crate() {
    for path in files(".rs") {
        let text = path.to_string_lossy().into_owned();
        let tells = ["/crates/topic/", "/crates/event/"].iter().any(|part| text.contains(part))
            || text.contains("/tests/")
            || text.contains("/crates/bench/");
        let code = fs::read_to_string(&path).expect("text");
        // Comments and the examples of the API's description may show what they speak of, and tests what they test.
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let says = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("example = ");
        let code = code.lines().filter(says).collect::<Vec<_>>().join("\n");
        for name in ["\"response:", "\"vehicle:", "\"conversation:", "\"captions:", "\"session_ended\""] {
            assert!(tells || !code.contains(name), "{text}: {name}…\" belongs to turnpike-topic or turnpike-event");
        }
    }
}

#[test]
fn a_file_is_one_idea() {
    for path in files(".rs") {
        let lines = fs::read_to_string(&path).expect("text").lines().count();
        assert!(lines <= 700, "{} has {lines} lines: it is more than one idea", path.display());
    }
}

#[test]
fn every_crate_says_what_it_is_and_stands_on_the_map() {
    let map = fs::read_to_string(root().join("crates/README.md")).expect("crates/README.md");
    for (name, _) in uses() {
        let readme = fs::read_to_string(root().join("crates").join(&name).join("README.md"));
        assert!(readme.is_ok_and(|text| text.len() > 100), "crates/{name}/README.md says what the crate is");
        assert!(map.contains(&format!("{name}/")), "crates/README.md has a line for {name}/");
    }
}

#[test]
fn the_readme_explains_every_variable() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let names = fs::read_to_string(root().join("crates/kit/src/names.rs")).expect("names.rs");
    let known: BTreeSet<&str> = names.split('"').filter(|part| part.starts_with("TURNPIKE_")).collect();
    assert!(known.len() > 30);
    for name in &known {
        assert!(readme.contains(*name), "the README's table has a row for {name}");
    }
    let word = |c: char| !(c.is_ascii_uppercase() || c == '_');
    for name in readme.split(word).filter(|word| word.starts_with("TURNPIKE_") && !word.ends_with('_')) {
        assert!(known.contains(name), "the README speaks of {name}, which does not exist");
    }
}

/// MIT, Apache-2.0, BSD, MPL and what is as free.
const LICENCES: [&str; 14] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MPL-2.0",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "Unicode-3.0",
    "CC0-1.0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "MIT-0",
];

#[test]
fn every_licence_is_one_of_ours() {
    // Of what is built here: crates for other systems need not even be on this machine.
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    for package in metadata(&["--filter-platform", host])["packages"].as_array().expect("packages") {
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ").replace(['(', ')'], " ");
        // Every part of an AND must be allowed, one of each OR.
        let fits = licence.split(" AND ").all(|all| {
            all.split(" OR ").any(|one| LICENCES.contains(&one.trim().trim_end_matches(" WITH LLVM-exception")))
        });
        assert!(fits, "{} is under {licence:?}", package["name"]);
    }
}
