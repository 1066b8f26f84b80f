//! docker-compose.yml and deploy/, checked as text. The tests run without Docker.

use std::{collections::BTreeSet, fs, path::Path};

const COMPOSE: &str = "docker-compose.yml";
const EXAMPLE: &str = "deploy/example.env";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every `TURNPIKE_*` name in the text.
fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter(|word| word.starts_with("TURNPIKE_") && !word.ends_with('_')).collect()
}

#[test]
fn every_variable_of_the_example_is_passed_to_a_service() {
    let (compose, example) = (read(COMPOSE), read(EXAMPLE));
    let unused: Vec<_> = variables(&example).difference(&variables(&compose)).copied().collect();
    assert!(unused.is_empty(), "{EXAMPLE} has {unused:?}, which {COMPOSE} passes to no service");
}

#[test]
fn there_is_no_default_password() {
    for path in [COMPOSE, EXAMPLE] {
        for line in read(path).lines() {
            let Some((name, value)) = line.split_once([':', '=']) else { continue };
            let name = name.trim_start_matches(['#', ' ']); // a commented-out variable counts too; prose does not
            let secret = !name.contains(' ') && (name.ends_with("PASSWORD") || name.ends_with("SECRET"));
            let no_value = value.trim().is_empty() || value.starts_with('$');
            assert!(!secret || no_value, "{path}: {name} must have no value here");
            let default = line.split("PASSWORD:-").nth(1).is_some_and(|rest| !rest.starts_with('}'));
            assert!(!default, "{path}: a password must have no default: {line}");
        }
    }
}

#[test]
fn only_the_gateway_is_published() {
    let compose = read(COMPOSE);
    let services = compose.split("\nservices:\n").nth(1).and_then(|rest| rest.split("\nnetworks:\n").next());
    let (mut service, mut seen) = ("", BTreeSet::new());
    for line in services.expect("services, then networks").lines() {
        let name = line.strip_prefix("  ").filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        service = name.and_then(|name| name.split_once(':')).map_or(service, |(name, _)| name);
        seen.insert(service);
        assert!(!line.trim().starts_with("ports:") || service == "gateway", "{service} must publish no port");
    }
    for service in ["gateway", "auth", "chat", "captions", "vehicles", "mock-vehicle-connector", "postgres", "redis"] {
        assert!(seen.contains(service), "{COMPOSE} has no {service}");
    }
}

/// Without it, `COPY` finds no file, which only a build of the images would show.
#[test]
fn every_file_that_an_image_is_built_from_is_in_the_build_context() {
    let (dockerfile, ignore) = (read("deploy/Dockerfile"), read(".dockerignore"));
    let sent: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new).collect();
    let copies =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|rest| !rest.starts_with("--"));
    let mut seen = 0;
    for copy in copies {
        let mut sources: Vec<_> = copy.split_whitespace().collect();
        sources.pop(); // the destination
        for source in sources.into_iter().map(Path::new) {
            let is_sent = sent.iter().any(|sent| source.starts_with(sent) || sent.starts_with(source));
            assert!(is_sent, "{} is not in .dockerignore's list", source.display());
            seen += 1;
        }
    }
    assert!(seen >= 5, "COPY lines are read");
}
