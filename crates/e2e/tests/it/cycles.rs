//! The files of a crate do not import one another in a circle. A file may import from the modules above it: a folder is one unit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module by its path within the crate; the crate's root is empty.
type Module = Vec<String>;

#[derive(Default)]
struct File {
    /// The paths of its `use` declarations, and those that begin with `crate`, `self` or `super` anywhere else.
    paths: Vec<Import>,
}

struct Import {
    /// The name by which the file, and modules below it, know the item; `None` outside `use` declarations.
    name: Option<String>,
    path: Vec<String>,
    is_public: bool,
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut circles = Vec::new();
    for folder in fs::read_dir(crates).expect("readable") {
        let folder = folder.expect("readable");
        let mut files = BTreeMap::new();
        read_modules(&folder.path().join("src"), &Vec::new(), &mut files);
        let name = folder.file_name().to_string_lossy().into_owned();
        circles.extend(circles_of(&imports(&files)).into_iter().map(|circle| format!("{name}: {circle}")));
    }
    assert!(circles.is_empty(), "files that import one another:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_of_three_files_is_found() {
    let mut files = BTreeMap::new();
    for (name, text) in [
        ("", "mod a; mod b; mod c; pub use c::Three;"),
        ("a", "use crate::{b::{One as First, Two}, Three}; #[cfg(test)] mod tests { use super::*; }"),
        ("b", "fn two() { crate::c::call() } // use crate::a::Comment;"),
        ("c", "use super::a; #[cfg(test)] use crate::b::OnlyInTests;"),
    ] {
        let module = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
        files.insert(module, parse(text));
    }
    assert_eq!(circles_of(&imports(&files)), ["a -> b -> c -> a"]);
    files.insert(vec!["c".to_owned()], File::default());
    assert_eq!(circles_of(&imports(&files)), Vec::<String>::new());
}

/// Reads a folder's modules: `mod.rs` and `lib.rs` are the folder itself.
fn read_modules(folder: &Path, module: &Module, files: &mut BTreeMap<Module, File>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("readable").path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let below = || module.iter().cloned().chain([stem.clone()]).collect::<Module>();
        if path.is_dir() {
            read_modules(&path, &below(), files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && stem != "tests" {
            let text = fs::read_to_string(&path).expect("readable");
            let module = match stem.as_str() {
                "lib" | "mod" => module.clone(),
                "main" if folder.join("lib.rs").exists() => continue,
                "main" => module.clone(),
                _ => below(),
            };
            files.insert(module, parse(&text));
        }
    }
}

fn parse(text: &str) -> File {
    let lines = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    let code = without_tests(&lines.collect::<Vec<_>>().join("\n"));
    let mut file = File::default();
    let mut rest = String::new();
    let mut at = 0;
    while let Some(found) = code[at..].find("use ") {
        let start = at + found;
        let before = code[..start].trim_end_matches(|c: char| c.is_alphanumeric() || c == '(' || c == ')' || c == ' ');
        let visibility = code[before.len()..start].trim();
        let is_declaration = visibility.is_empty() || visibility.starts_with("pub");
        let starts_an_item = before.is_empty() || before.ends_with(['\n', ';', '{', '}', ']']);
        let end = code[start..].find(';').map_or(code.len(), |end| start + end);
        if is_declaration && starts_an_item {
            rest.push_str(&code[at..before.len()]);
            let is_public = visibility.starts_with("pub");
            expand(code[start + 4..end].trim(), &[], is_public, &mut file.paths);
            at = end;
        } else {
            rest.push_str(&code[at..start + 4]);
            at = start + 4;
        }
    }
    rest.push_str(&code[at..]);
    file.paths.extend(paths_in(&rest).map(|path| Import { name: None, path, is_public: false }));
    file
}

/// Leaves out items that only tests have.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        let end = after.find([';', '{']).unwrap_or(after.len());
        rest = match after[end..].starts_with('{') {
            true if !after[..end].trim_start().starts_with("use ") => &after[end + braces(&after[end..])..],
            _ => &after[after.find(';').map_or(after.len(), |end| end + 1)..],
        };
    }
    kept + rest
}

/// The length of a text in braces.
fn braces(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// The paths of one `use` declaration.
fn expand(tree: &str, prefix: &[String], is_public: bool, into: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some((path, group)) = tree.split_once('{') {
        let prefix: Vec<_> = prefix.iter().cloned().chain(segments(path)).collect();
        let group = group.trim_end().strip_suffix('}').unwrap_or(group);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                if !group[start..at].trim().is_empty() {
                    expand(&group[start..at], &prefix, is_public, into);
                }
                start = at + 1;
            }
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path: Vec<_> = prefix.iter().cloned().chain(segments(path)).collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.map(str::to_owned).or_else(|| path.last().cloned());
    into.push(Import { name, path, is_public });
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    path.split("::").map(|segment| segment.trim().to_owned()).filter(|segment| !segment.is_empty())
}

/// Paths outside `use` declarations that begin with `crate`, `self` or `super`.
fn paths_in(code: &str) -> impl Iterator<Item = Vec<String>> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '$'));
    let own = words.filter(|word| ["crate::", "self::", "super::"].iter().any(|first| word.starts_with(first)));
    own.map(|word| segments(word).collect())
}

/// Which files each file imports.
fn imports(files: &BTreeMap<Module, File>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut imports = BTreeMap::new();
    for (module, file) in files {
        let mut targets = BTreeSet::new();
        for import in &file.paths {
            let Some(target) = resolve(files, module, &import.path, 0) else { continue };
            let below = target.len() > module.len() && target.starts_with(module);
            let re_exported = below && import.is_public;
            if !module.starts_with(&target) && !re_exported {
                targets.insert(target);
            }
        }
        imports.insert(module.clone(), targets);
    }
    imports
}

/// The file that defines what a path names; `None`: another crate.
fn resolve(files: &BTreeMap<Module, File>, from: &Module, path: &[String], depth: usize) -> Option<Module> {
    let mut at = from.clone();
    let mut rest = path;
    let mut own = false;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            _ => break,
        }
        (rest, own) = (after, true);
    }
    for (place, segment) in rest.iter().enumerate() {
        let below: Module = at.iter().cloned().chain([segment.clone()]).collect();
        if files.contains_key(&below) {
            at = below;
            continue;
        }
        let name = |import: &&Import| import.name.as_ref() == Some(segment) && import.path != path;
        let known = files.get(&at).filter(|_| depth < 8).and_then(|file| file.paths.iter().find(name));
        return match known {
            Some(import) => {
                let path: Vec<_> = import.path.iter().chain(&rest[place + 1..]).cloned().collect();
                resolve(files, &at, &path, depth + 1)
            }
            None if own || place > 0 => Some(at),
            None => None,
        };
    }
    (own || !rest.is_empty()).then_some(at)
}

/// The circles that a depth-first search meets.
fn circles_of(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let (mut done, mut circles) = (BTreeSet::new(), Vec::new());
    for module in imports.keys() {
        search(module, imports, &mut Vec::new(), &mut done, &mut circles);
    }
    circles
}

fn search(
    module: &Module,
    imports: &BTreeMap<Module, BTreeSet<Module>>,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
    circles: &mut Vec<String>,
) {
    if let Some(start) = way.iter().position(|passed| passed == module) {
        let circle = way[start..].iter().chain([module]).map(|module| module.join("/"));
        circles.push(circle.collect::<Vec<_>>().join(" -> "));
        return;
    }
    if done.contains(module) {
        return;
    }
    way.push(module.clone());
    for target in imports.get(module).into_iter().flatten() {
        search(target, imports, way, done, circles);
    }
    way.pop();
    done.insert(module.clone());
}
