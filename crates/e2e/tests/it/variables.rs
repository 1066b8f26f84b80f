//! The environment variables: the documents, the deployment and the code say what `turnpike_kit::variables` declares.

use std::{collections::BTreeSet, fs};

use turnpike_kit::{
    Variable,
    variables::{self, Binary, Default},
};

use crate::architecture::{files, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every `TURNPIKE_*` word of a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter(|word| word.starts_with("TURNPIKE_") && !word.ends_with('_')).collect()
}

const BINARIES: [(Binary, &str); 7] = [
    (Binary::Gateway, "gateway"),
    (Binary::Auth, "auth"),
    (Binary::Chat, "chat"),
    (Binary::Captions, "captions"),
    (Binary::Vehicles, "vehicles"),
    (Binary::MockVehicleConnector, "mock-vehicle-connector"),
    (Binary::Turnpike, "turnpike"),
];

fn row(variable: &Variable) -> String {
    let default = match variable.default {
        Default::Value("") => "unset".to_owned(),
        Default::Value(value) => format!("`{value}`"),
        Default::Described(words) => words.to_owned(),
    };
    let readers = match variable.readers.len() {
        0 => "none in this version".to_owned(),
        6 => "every binary".to_owned(),
        _ => {
            let reads = |(binary, name): &(Binary, &'static str)| variable.readers.contains(binary).then_some(*name);
            BINARIES.iter().filter_map(reads).collect::<Vec<_>>().join(", ")
        }
    };
    format!("| `{}` | {default} | {} | {readers} |\n", variable.name, variable.meaning)
}

const BEGIN: &str = "<!-- variables: written by `cargo test -p turnpike-e2e variables` -->\n";
const END: &str = "<!-- end of variables -->\n";

/// Rewrites the table where it is stale, and fails once so that the change is seen and committed.
#[test]
fn the_readme_has_the_declared_table() {
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the README has the marker");
    let (_, after) = rest.split_once(END).expect("the README has the end marker");
    let rows: String = variables::ALL.iter().copied().map(row).collect();
    let table = format!("| variable | default | meaning | used by |\n|---|---|---|---|\n{rows}");
    let fresh = format!("{before}{BEGIN}{table}{END}{after}");
    if fresh != readme {
        fs::write(root().join("README.md"), fresh).expect("README.md can be written");
        panic!("the table in README.md was stale and has been written again; commit it");
    }
}

#[test]
fn documents_and_deployment_name_only_declared_variables() {
    for path in ["README.md", "docker-compose.yml", "deploy/example.env", "deploy/Dockerfile", "deploy/README.md"] {
        for name in names(&read(path)) {
            assert!(variables::find(name).is_some(), "{path} names {name}, which does not exist");
        }
    }
}

#[test]
fn the_example_environment_shows_the_defaults() {
    /// The defaults of the compose file, or an example of a default that has no fixed value.
    const OTHERS: [&str; 3] = [
        "TURNPIKE_CONNECTORS=mock=http://mock-vehicle-connector:50054",
        "TURNPIKE_LIMIT_CONNECTIONS_PER_ADDRESS=512",
        "TURNPIKE_LOG_FORMAT=json",
    ];
    for line in read("deploy/example.env").lines() {
        let Some(pair) = line.strip_prefix('#').filter(|pair| pair.starts_with("TURNPIKE_")) else { continue };
        let (name, shown) = pair.split_once('=').expect("NAME=VALUE");
        let variable = variables::find(name).unwrap_or_else(|| panic!("{name} does not exist"));
        let default = match variable.default {
            Default::Value(value) => value,
            Default::Described(_) => "",
        };
        assert!(shown == default || OTHERS.contains(&pair), "{pair}: the declared default is {default:?}");
    }
}

/// The variables that a service of the compose file is given, in its own `environment` or in the common one.
fn given(compose: &str, service: &str) -> BTreeSet<String> {
    let block = |start: &str, indent: usize| -> String {
        let (_, rest) = compose.split_once(start).unwrap_or_else(|| panic!("{start:?} in docker-compose.yml"));
        let inside = |line: &&str| line.is_empty() || line.len() - line.trim_start().len() > indent;
        rest.lines().skip(1).take_while(inside).map(|line| format!("{line}\n")).collect()
    };
    let own = block(&format!("\n  {service}:"), 2);
    let mut text: String = own.lines().filter_map(|line| line.split('$').next()).collect::<Vec<_>>().join("\n");
    if own.contains("*common") {
        text.push_str(&block("\nx-common:", 0));
    }
    names(&text).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_compose_file_gives_a_service_only_variables_that_it_uses() {
    let compose = read("docker-compose.yml");
    for (binary, service) in BINARIES.into_iter().filter(|(binary, _)| *binary != Binary::Turnpike) {
        let given = given(&compose, service);
        assert!(given.len() > 5, "{service}: {given:?}");
        for name in given {
            let variable = variables::find(&name).unwrap_or_else(|| panic!("{name} does not exist"));
            assert!(
                variable.readers.contains(&binary),
                "docker-compose.yml gives {name} to {service}, which ignores it"
            );
        }
    }
}

/// A crate uses a variable where its code says `variables::NAME`. Every binary uses those of kit and bus as well.
#[test]
fn the_declared_readers_are_the_crates_that_read() {
    let sources = |name: &str| -> String {
        let folder = format!("/crates/{name}/src/");
        let paths = files(".rs").into_iter().filter(|path| path.to_string_lossy().contains(&folder));
        let code = |path| fs::read_to_string(path).expect("text").split("#[cfg(test)]").next().map(str::to_owned);
        paths.filter_map(code).collect()
    };
    let uses = |text: &str, variable: &Variable| {
        let name = format!("variables::{}", variable.name.trim_start_matches("TURNPIKE_"));
        text.match_indices(&name)
            .any(|(at, _)| text[at + name.len()..].starts_with(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
    };
    let common = sources("kit") + &sources("bus");
    for (binary, name) in BINARIES.into_iter().filter(|(binary, _)| *binary != Binary::Turnpike) {
        let own = sources(name);
        for variable in variables::ALL.iter().copied() {
            let reads = uses(&own, variable) || uses(&common, variable);
            assert_eq!(variable.readers.contains(&binary), reads, "{} and {name}", variable.name);
        }
    }
}
