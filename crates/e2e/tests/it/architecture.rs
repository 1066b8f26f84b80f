//! The rules of the code. The message of each assertion says what to do when a rule is broken.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The layers: a crate depends on crates of lower layers, and on crates of its own layer only where [`WITHIN_A_LAYER`] says so.
const LAYERS: [&[&str]; 4] = [
    &["topic", "proto", "event"],
    &["fault", "token", "kit", "store", "bus", "rpc", "identity", "client"],
    &["auth", "captions", "chat", "vehicles", "mock-vehicle-connector", "console", "gateway"],
    &["turnpike", "testkit", "e2e", "bench"],
];
/// Allowed dependencies within a layer: which crate, on which crate.
const WITHIN_A_LAYER: [(&str, &str); 17] = [
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
    ("gateway", "console"),
    ("e2e", "testkit"),
    ("e2e", "turnpike"),
    ("bench", "testkit"),
];
/// External crates that only some of our crates may use at run time.
const RESERVED: [(&str, &[&str]); 5] = [
    ("sqlx", &["store", "auth", "chat", "vehicles", "testkit", "bench"]),
    ("redis", &["bus"]),
    ("axum", &["gateway", "kit", "rpc"]),
    ("jsonwebtoken", &["token"]),
    ("argon2", &["auth"]),
];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

fn metadata(arguments: &[&str]) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--format-version", "1"]).args(arguments);
    let output = cargo.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The dependencies of our crates, by short names: `(name, is a dev-dependency)`.
pub fn dependencies() -> BTreeMap<String, Vec<(String, bool)>> {
    let short = |name: &str| name.strip_prefix("turnpike-").unwrap_or(name).to_owned();
    let list = |package: &Value| {
        let uses = package["dependencies"].as_array().expect("a list").iter();
        uses.map(|used| (short(used["name"].as_str().expect("a name")), used["kind"] == "dev")).collect()
    };
    let packages = metadata(&["--no-deps"])["packages"].as_array().cloned().expect("packages");
    packages.iter().map(|package| (short(package["name"].as_str().expect("a name")), list(package))).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|crates| crates.contains(&name))
}

#[test]
fn dependencies_point_downwards() {
    for (name, used) in dependencies() {
        let here = layer(&name).unwrap_or_else(|| panic!("give {name} a layer, here and in crates/README.md"));
        for (other, for_tests) in used {
            let Some(there) = layer(&other) else { continue };
            // Only the assembly uses services. Tests may use the testkit, and those of vehicles the mock connector.
            let below = there < here && (there != 2 || here == 3);
            let in_tests = for_tests
                && (other == "testkit" || (name.as_str(), other.as_str()) == ("vehicles", "mock-vehicle-connector"));
            let allowed = below || in_tests || WITHIN_A_LAYER.contains(&(name.as_str(), other.as_str()));
            assert!(
                allowed,
                "{name} must not depend on {other}: services meet in proto, topic and event, tools know no service"
            );
        }
    }
}

#[test]
fn some_external_crates_are_reserved() {
    for (name, used) in dependencies() {
        for (external, users) in RESERVED {
            let here = used.iter().any(|(other, for_tests)| other == external && !for_tests);
            assert!(!here || users.contains(&name.as_str()), "{name} uses {external}, which is reserved for {users:?}");
        }
        let forbidden = ["common", "utils", "helpers", "shared"];
        assert!(!forbidden.contains(&name.as_str()), "{name}: name the crate after what it holds");
    }
}

/// Every file below `crates/` whose path ends like this, without generated code.
pub fn files(ending: &str) -> Vec<PathBuf> {
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
        let may_name = ["/crates/topic/", "/crates/event/"].iter().any(|part| text.contains(part))
            || text.contains("/tests/")
            || text.contains("/crates/bench/");
        let code = fs::read_to_string(&path).expect("text");
        // Comments, tests, and the examples of the OpenAPI description may show a name.
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let is_code = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("example = ");
        let code = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        for name in ["\"response:", "\"vehicle:", "\"conversation:", "\"captions:", "\"session_ended\""] {
            assert!(may_name || !code.contains(name), "{text}: {name}…\" belongs to turnpike-topic or turnpike-event");
        }
    }
}

#[test]
fn no_file_is_long() {
    for path in files(".rs") {
        let lines = fs::read_to_string(&path).expect("text").lines().count();
        assert!(lines <= 450, "{} has {lines} lines: split it by idea", path.display());
    }
}

/// MIT, Apache-2.0, BSD, MPL, and licences that ask for no more.
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
fn every_licence_is_allowed() {
    // Only packages that are built for this system: those for other systems need not be on this machine.
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
