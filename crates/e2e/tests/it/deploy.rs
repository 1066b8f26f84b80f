//! What docker-compose.yml and deploy/ say, checked as text: the containers themselves need a Docker.

use std::{collections::BTreeSet, fs, path::Path};

const COMPOSE: &str = "docker-compose.yml";
const EXAMPLE: &str = "deploy/example.env";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every `TURNPIKE_*` word.
fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words.filter(|word| word.starts_with("TURNPIKE_") && !word.ends_with('_')).collect()
}

#[test]
fn every_variable_of_the_example_reaches_a_service() {
    let (compose, example) = (read(COMPOSE), read(EXAMPLE));
    let lost: Vec<_> = variables(&example).difference(&variables(&compose)).copied().collect();
    assert!(lost.is_empty(), "{EXAMPLE} offers {lost:?}, which {COMPOSE} passes on to nobody");
}

#[test]
fn there_is_no_default_password() {
    for path in [COMPOSE, EXAMPLE] {
        for line in read(path).lines() {
            let Some((name, value)) = line.split_once([':', '=']) else { continue };
            let name = name.trim_start_matches(['#', ' ']); // what the example offers counts, too; prose does not
            let secret = !name.contains(' ') && (name.ends_with("PASSWORD") || name.ends_with("SECRET"));
            let kept = value.trim().is_empty() || value.starts_with('$');
            assert!(!secret || kept, "{path}: {name} is generated, or comes from the environment");
            let default = line.split("PASSWORD:-").nth(1).is_some_and(|rest| !rest.starts_with('}'));
            assert!(!default, "{path}: a default is no password: {line}");
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
        assert!(!line.trim().starts_with("ports:") || service == "gateway", "{service} must not be published");
    }
    for service in ["gateway", "auth", "vehicles", "mock-vehicle-connector", "postgres", "redis"] {
        assert!(seen.contains(service), "{COMPOSE} has no {service}");
    }
}
