//! The part of a text that shows a hit. Lengths are characters, so that no letter or emoji is cut.

use std::ops::Range;

use super::words::{Query, Word, words};

/// Characters on either side of the first hit.
const AROUND: usize = 60;
/// Characters of the beginning of a text.
const BEGINNING: usize = 150;
/// Stands for text that is left out.
const DOTS: &str = "...";

/// A part of a text, on one line, and where the words that were found stand in it, in characters: start and length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snippet {
    pub(crate) text: String,
    pub(crate) marks: Vec<(u32, u32)>,
}

/// The surroundings of the first hit; without a hit, the beginning of the text.
pub(super) fn around_hit(text: &str, query: &Query) -> Snippet {
    let Some(hit) = words(text).find(|word| query.finds(word)) else { return beginning(text, query) };
    let before = text[..hit.bytes.start].char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
    let behind = text[hit.bytes.end..].char_indices().nth(AROUND);
    let end = behind.map_or(text.len(), |(at, _)| hit.bytes.end + at);
    cut(text, before..end, query)
}

/// The beginning of a text.
pub(super) fn beginning(text: &str, query: &Query) -> Snippet {
    let end = text.char_indices().nth(BEGINNING).map_or(text.len(), |(at, _)| at);
    Snippet { text: one_line(&text[..end]), marks: marks(text, 0..end, 0, query) }
}

fn cut(text: &str, part: Range<usize>, query: &Query) -> Snippet {
    let (before, behind) = (if part.start > 0 { DOTS } else { "" }, if part.end < text.len() { DOTS } else { "" });
    let shown = format!("{before}{}{behind}", one_line(&text[part.clone()]));
    Snippet { text: shown, marks: marks(text, part, before.len(), query) }
}

/// As many characters as `text` has.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The whole words within a part of the text that the query finds. A word that the part cuts is not marked.
fn marks(text: &str, part: Range<usize>, offset: usize, query: &Query) -> Vec<(u32, u32)> {
    let whole = words(text).skip_while(|word| word.bytes.start < part.start);
    let whole = whole.take_while(|word| word.bytes.end <= part.end).filter(|word| query.finds(word));
    let mark = |word: Word| {
        let before = text[part.start..word.bytes.start].chars().count();
        let length = text[word.bytes].chars().count();
        ((offset + before) as u32, length as u32)
    };
    whole.map(mark).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snippet(text: &str, query: &str) -> Snippet {
        around_hit(text, &Query::new(query).expect("words"))
    }

    #[test]
    fn sixty_characters_stand_on_either_side() {
        let (left, right) = ("ü".repeat(59), "🚗".repeat(59));
        let whole = format!("{left} Öl {right}");
        assert_eq!(snippet(&whole, "öl"), Snippet { text: whole.clone(), marks: vec![(60, 2)] });
        let long = format!("x{whole}🚗");
        assert_eq!(snippet(&long, "ÖL"), Snippet { text: format!("...{whole}..."), marks: vec![(63, 2)] });
    }

    #[test]
    fn every_word_that_was_found_is_marked() {
        let found = snippet("Battery low.\nThe BATTERY and batteries", "low batter");
        assert_eq!(found.text, "Battery low. The BATTERY and batteries");
        assert_eq!(found.marks, [(0, 7), (8, 3), (17, 7), (29, 9)]);
    }

    #[test]
    fn a_hit_in_the_title_shows_the_beginning() {
        let text = "é".repeat(151);
        let query = Query::new("title").expect("words");
        assert_eq!(beginning(&text, &query), Snippet { text: "é".repeat(150), marks: Vec::new() });
        assert_eq!(beginning("", &query), Snippet::default());
    }

    proptest! {
        #[test]
        fn marks_are_the_words_that_were_found(
            before in "\\PC{0,80}", hit in "[a-zü東]{1,9}", after in "\\PC{0,80}"
        ) {
            let text = format!("{before} {hit} {after}");
            let query = Query::new(&hit).expect("words");
            let found = around_hit(&text, &query);
            prop_assert!(found.text.chars().count() <= 2 * AROUND + 70 + 2 * DOTS.len());
            prop_assert!(!found.marks.is_empty());
            for (start, length) in found.marks {
                let marked: String = found.text.chars().skip(start as usize).take(length as usize).collect();
                prop_assert!(words(&marked).any(|word| query.finds(&word)), "{marked:?} of {:?}", found.text);
            }
        }
    }
}
