//! What the documents say is true of the files: names of files exist, and Rust code compiles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::architecture::{dependencies, files, root};

/// Every README, and its path.
fn readmes() -> BTreeMap<PathBuf, String> {
    let outside = ["README.md", "proto/README.md", "deploy/README.md"].map(|path| root().join(path));
    let all = files("README.md").into_iter().chain(outside);
    all.map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect()
}

#[test]
fn every_crate_has_a_readme_and_a_line_in_the_code_map() {
    let map = fs::read_to_string(root().join("crates/README.md")).expect("crates/README.md");
    for (name, _) in dependencies() {
        let readme = fs::read_to_string(root().join("crates").join(&name).join("README.md"));
        assert!(readme.is_ok_and(|text| text.len() > 100), "crates/{name}/README.md says what the crate is");
        assert!(map.contains(&format!("{name}/")), "crates/README.md has a line for {name}/");
    }
}

/// Rust code of a crate's README is compiled because the README is the crate's documentation, and `scripts/test` runs
/// documentation tests; other documents are included by this crate's library.
#[test]
fn every_rust_block_is_compiled() {
    let library = fs::read_to_string(root().join("crates/e2e/src/lib.rs")).expect("text");
    let included: BTreeSet<PathBuf> = library
        .split("include_str!(\"")
        .skip(1)
        .filter_map(|rest| root().join("crates/e2e/src").join(rest.split('"').next()?).canonicalize().ok())
        .collect();
    for (path, text) in readmes() {
        let has_rust = text.lines().any(|line| line.starts_with("```rust"));
        let crate_root = path.with_file_name("src").join("lib.rs");
        let is_documentation =
            fs::read_to_string(&crate_root).is_ok_and(|code| code.contains("include_str!(\"../README.md\")"));
        let compiled = is_documentation || included.contains(&path.canonicalize().expect("a file"));
        assert!(!has_rust || compiled, "{}: no documentation test compiles its Rust blocks", path.display());
        assert!(!text.contains("```rust,ignore") && !text.contains("```ignore"), "{}", path.display());
    }
    let script = fs::read_to_string(root().join("scripts/test")).expect("scripts/test");
    assert!(script.contains(" --doc "), "scripts/test runs the documentation tests");
}

#[test]
fn every_file_that_a_document_names_exists() {
    let everything = tracked_files();
    let mut missing = Vec::new();
    for (readme, text) in readmes() {
        let folder = readme.parent().expect("a folder").strip_prefix(root()).expect("below the root").to_owned();
        for named in words(&text).into_iter().filter(|word| is_file_name(word)) {
            // A path is relative to the document or to the root; in the code map of a crate, to any folder of the crate; in the
            // other documents, to any folder.
            let tail = format!("/{}", named.trim_start_matches("./").trim_start_matches("../"));
            let inside = if folder.starts_with("crates") && folder != Path::new("crates") {
                folder.clone()
            } else {
                PathBuf::new()
            };
            let found = root().join(&folder).join(&named).exists()
                || everything
                    .iter()
                    .any(|path| path.starts_with(&inside) && format!("/{}", path.display()).ends_with(&tail))
                || root().join(&named).exists();
            if !found {
                missing.push(format!("{}: {named}", folder.display()));
            }
        }
    }
    assert!(missing.is_empty(), "these documents name files that do not exist: {missing:#?}");
}

/// The words of a text; `a/{b,c}.rs` is two.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || "`()[]|;\"'".contains(c)) {
        match word.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
            Some((before, (list, after))) => {
                words.extend(
                    list.split(',').map(|part| format!("{before}{part}{}", after.trim_end_matches(['.', ',', ':']))),
                );
            }
            None => words.extend(word.split(',').map(|part| part.trim_end_matches(['.', ':']).to_owned())),
        }
    }
    words
}

fn is_file_name(word: &str) -> bool {
    let ending = word.rsplit_once('.').map(|(_, ending)| ending);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    ending.is_some_and(|ending| ["rs", "md", "proto", "toml", "yml", "sql", "env", "txt"].contains(&ending))
        && word.chars().all(plain)
        && !word.starts_with('.')
}

/// Paths of all files, relative to the root, without build results.
fn tracked_files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !["target", ".git"].contains(&name) {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.iter().map(|path| path.strip_prefix(root()).expect("below the root").to_owned()).collect()
}
