//! The names of the API's types. In a description of OpenAPI, of two types with one name the last one stands for both.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::architecture::root;

/// The names of the types in a file that derive `ToSchema`, as the description has them.
fn names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut derives, mut renamed) = (false, None);
    for line in code.lines().map(str::trim) {
        if line.starts_with("#[derive(") {
            derives = line.contains("ToSchema");
            renamed = None;
        } else if let Some((_, name)) = line.split_once("schema(as = ") {
            renamed = name.split([')', ',']).next().map(str::to_owned);
        } else if derives && let Some(name) = declared(line) {
            names.push(renamed.take().unwrap_or(name));
            derives = false;
        }
    }
    names
}

/// The name of the struct or enum that a line declares.
fn declared(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    matches!(words.next(), Some("struct" | "enum")).then_some(())?;
    words.next().map(|name| name.split(['<', '(', ';', '{']).next().unwrap_or(name).to_owned())
}

#[test]
fn no_two_types_of_the_api_have_one_name() {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in crate::architecture::files(".rs") {
        if path.starts_with(root().join("crates/gateway/src")) {
            for name in names(&fs::read_to_string(&path).expect("text")) {
                found.entry(name).or_default().push(path.clone());
            }
        }
    }
    assert!(found.len() > 50, "the types were not found: {found:?}");
    found.retain(|_, paths| paths.len() > 1);
    assert!(found.is_empty(), "rename these in the description by #[schema(as = …)]: {found:#?}");
}

#[test]
fn a_second_type_with_a_name_is_found() {
    let code = "#[derive(Serialize, ToSchema)]\npub(crate) struct One {\n#[derive(ToSchema)]\n#[schema(as = One)]\nenum Two {\n\
                #[derive(Serialize)]\nstruct One;\n#[derive(ToSchema)]\nstruct Three(String);";
    assert_eq!(names(code), ["One", "One", "Three"]);
}
