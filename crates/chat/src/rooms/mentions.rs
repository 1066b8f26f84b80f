//! Who is named in a message: `@` and a username.

/// Users that one message can name.
const MAX: usize = 20;
const MAX_NAME: usize = 64;

/// The different names in a text, in their order. A name begins at the beginning of a word.
pub(super) fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        if character == '@' && !before.is_alphanumeric() {
            let rest = &text[at + 1..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
            // A full stop at the end belongs to the sentence.
            let name = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', '-']);
            if (1..=MAX_NAME).contains(&name.len()) && !names.contains(&name) {
                names.push(name);
            }
            if names.len() == MAX {
                break;
            }
        }
        before = character;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_an_at_sign_at_the_beginning_of_a_word() {
        assert_eq!(names("@ada, see @bob_1. Not me@example.com, (@c.d-e) @ada @@ @"), ["ada", "bob_1", "c.d-e"]);
        assert_eq!(names(""), Vec::<&str>::new());
        assert_eq!(names(&"@x".repeat(30)), ["x"], "an at sign within a word is none");
        assert_eq!(names(&(0..30).map(|n| format!("@u{n} ")).collect::<String>()).len(), MAX);
        assert!(names(&format!("@{}", "x".repeat(65))).is_empty());
    }
}
