//! Which texts a query finds: those that have each of its words, the last one as the beginning of a word.

/// Words of a query that count.
const MOST_WORDS: usize = 16;
/// Characters on either side of the first hit.
const AROUND: usize = 60;
/// Stands for text that is left out.
const DOTS: &str = "...";

pub(crate) struct Query(Vec<String>);

impl Query {
    /// `None`: it has no word.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let words: Vec<_> = words(text).take(MOST_WORDS).map(|(_, word)| word.to_lowercase()).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// The surroundings of the first word that is found. `None`: the text does not have all of them.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        let in_text: Vec<_> = words(text).map(|(at, word)| (at, word, word.to_lowercase())).collect();
        let mut first: Option<(usize, &str)> = None;
        for (n, wanted) in self.0.iter().enumerate() {
            let is_last = n + 1 == self.0.len();
            let is_hit = |word: &str| match (spaceless(wanted), is_last) {
                (true, _) => word.contains(wanted.as_str()),
                (false, true) => word.starts_with(wanted.as_str()),
                (false, false) => word == wanted,
            };
            let (at, word, _) = in_text.iter().find(|(.., word)| is_hit(word))?;
            if first.is_none_or(|(first, _)| *at < first) {
                first = Some((*at, word));
            }
        }
        first.map(|(at, word)| around(text, at, at + word.len()))
    }
}

/// Runs of letters and digits, and where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let split = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    split.map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// Whether this is of a script without spaces between words (Chinese, Japanese, Korean…): it is found within words.
fn spaceless(word: &str) -> bool {
    word.chars().any(|c| matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{2e80}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}'))
}

fn around(text: &str, start: usize, end: usize) -> String {
    let before = text[..start].char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
    let behind = text[end..].char_indices().nth(AROUND).map_or(text.len(), |(at, _)| end + at);
    let dots = |left_out| if left_out { DOTS } else { "" };
    format!("{}{}{}", dots(before > 0), &text[before..behind], dots(behind < text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(query: &str, text: &str) -> Option<String> {
        Query::new(query).expect("words").find(text)
    }

    #[test]
    fn every_word_is_in_the_text_and_the_last_one_may_be_a_beginning() {
        let text = "The Brake disc is worn; Österreich.";
        for query in ["brake", "DISC bra", "worn", "öster", "the brake disc is w"] {
            assert_eq!(find(query, text).as_deref(), Some(text), "{query}");
        }
        for query in ["bra disc", "clutch", "rake", "brake clutch"] {
            assert_eq!(find(query, text), None, "{query}");
        }
        assert!(find("刹车", "前刹车盘磨损").is_some());
        assert!(Query::new(" .,").is_none());
    }

    #[test]
    fn a_snippet_is_the_surroundings_of_the_first_hit() {
        let text = format!("{} brake {}", "ü".repeat(80), "🚗".repeat(80));
        let expected = format!("...{} brake {}...", "ü".repeat(59), "🚗".repeat(59));
        assert_eq!(find("brake", &text), Some(expected));
    }

    proptest! {
        #[test]
        fn a_word_of_a_text_finds_it(before in "\\PC{0,80}", word in "[a-zü]{1,9}", after in "\\PC{0,80}") {
            let found = find(&word, &format!("{before} {word} {after}"));
            prop_assert!(found.is_some_and(|snippet| snippet.chars().count() <= 2 * AROUND + 90 + 2 * DOTS.len()));
        }
    }
}
