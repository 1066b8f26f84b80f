//! Every declared dependency is used.

use std::fs;

use crate::architecture::{files, root};

/// The names in a table of a manifest.
fn names(manifest: &str, table: &str) -> Vec<String> {
    let body = manifest.split(&format!("\n[{table}]\n")).nth(1).and_then(|rest| rest.split("\n[").next());
    let name = |line: &str| line.split(['.', ' ', '=']).next().map(str::to_owned);
    let lines = body.unwrap_or_default().lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(name).collect()
}

#[test]
fn every_dependency_is_used() {
    let sources: Vec<(String, String)> = files(".rs")
        .into_iter()
        .map(|path| (path.to_string_lossy().into_owned(), fs::read_to_string(&path).expect("text")))
        .collect();
    let (mut unused, mut declared) = (Vec::new(), Vec::new());
    for path in files("Cargo.toml") {
        let folder = path.parent().expect("a folder").to_string_lossy().into_owned();
        let manifest = fs::read_to_string(&path).expect("text");
        for (table, parts) in [
            ("dependencies", &["/src/"][..]),
            ("build-dependencies", &["/build.rs"]),
            ("dev-dependencies", &["/src/", "/tests/", "/examples/"]),
        ] {
            for name in names(&manifest, table) {
                let word = name.replace('-', "_");
                let uses = |code: &str| {
                    code.match_indices(&word).any(|(at, _)| {
                        let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
                        !code[..at].ends_with(inside) && !code[at + word.len()..].starts_with(inside)
                    })
                };
                let used = sources.iter().any(|(path, code)| {
                    parts.iter().any(|part| path.starts_with(&format!("{folder}{part}"))) && uses(code)
                });
                // The generated code of proto is not among the files.
                if !used && !path.ends_with("crates/proto/Cargo.toml") {
                    unused.push(format!("{folder}: {name}"));
                }
                declared.push(name);
            }
        }
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    unused.extend(names(&workspace, "workspace.dependencies").into_iter().filter(|name| !declared.contains(name)));
    assert!(unused.is_empty(), "nothing uses these dependencies: {unused:#?}");
}
