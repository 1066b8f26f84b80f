//! The title of a conversation without a better one: the beginning of its first message.

use crate::conversations::DEFAULT_TITLE;

/// Characters of a title, without the dots.
const MOST: usize = 60;

/// The title by the rule: the message as one line without surrounding white space. Of a line of more than 60 characters, the first
/// 60 up to the last space among them, then `...`. A message without visible text gives the default title.
pub(crate) fn title_of(first_message: &str) -> String {
    let words = first_message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if line.chars().count() > MOST {
            break; // a message can be long
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().take(MOST + 1));
    }
    let Some((end, _)) = line.char_indices().nth(MOST) else {
        return if line.is_empty() { DEFAULT_TITLE.to_owned() } else { line };
    };
    line.truncate(line[..end].rfind(' ').unwrap_or(end));
    line + "..."
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn titles_by_example() {
        let x = |n: usize| "x".repeat(n);
        for (message, title) in [
            ("Hello", "Hello".to_owned()),
            ("  two\n\n lines\t here ", "two lines here".to_owned()),
            ("", DEFAULT_TITLE.to_owned()),
            (" \n\t ", DEFAULT_TITLE.to_owned()),
            (&x(60), x(60)),
            (&x(61), x(60) + "..."),
            (&format!("{} end", x(56)), x(56) + " end"), // exactly 60
            (&format!("{} ends", x(56)), x(56) + "..."),
            (&format!("{} y", x(60)), x(60) + "..."),
            (&format!("{}  {}", x(59), x(9)), x(59) + "..."),
            (&"🚗".repeat(61), "🚗".repeat(60) + "..."),
            (&format!("{} {}", "ü".repeat(30), "é".repeat(40)), "ü".repeat(30) + "..."),
            (
                "Why does the battery of my car lose a third of its charge overnight in winter?",
                "Why does the battery of my car lose a third of its charge...".to_owned(),
            ),
        ] {
            assert_eq!(title_of(message), title, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn a_title_is_a_beginning_of_the_message_that_ends_with_a_word(
            message in "([a-z🚗ü]{1,70}|[ \n\t]{1,3}|\\PC){0,40}"
        ) {
            let title = title_of(&message);
            let line = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
            let line = line.collect::<Vec<_>>().join(" ");
            let length = line.chars().count();
            prop_assert!(title.chars().count() <= MOST + 3);
            if length == 0 {
                prop_assert_eq!(title, DEFAULT_TITLE);
            } else if length <= MOST {
                prop_assert_eq!(title, line);
            } else {
                let kept = title.strip_suffix("...").expect("dots");
                let rest = line.strip_prefix(kept).expect("a beginning");
                let whole: String = line.chars().take(MOST).collect();
                // The longest one: nothing more fits, or the text has no space there.
                prop_assert!(kept == whole && !whole.contains(' ') || kept == &whole[..whole.rfind(' ').unwrap_or(0)]);
                prop_assert!(kept == whole || rest.starts_with(' '));
            }
        }

        #[test]
        fn the_length_of_the_message_does_not_matter(words in proptest::collection::vec("[a-z]{1,9}", 30..60)) {
            let message = words.join(" ");
            prop_assert_eq!(title_of(&message), title_of(&format!("{message} {}", "more ".repeat(10_000))));
        }
    }
}
