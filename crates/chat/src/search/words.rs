//! Words, as the index has them: the same on both databases, whose own rules differ.
//!
//! A word is a run of letters, digits and combining marks. Of scripts that put no spaces between words (Chinese, Japanese, Thai…),
//! each character is a word. Case and the form of composed letters do not matter.

use std::{collections::HashSet, fmt::Write, ops::Range};

use turnpike_topic::UserId;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use uuid::Uuid;

/// Characters of a word that count. Postgres refuses words of more than 2,046 bytes.
const MOST_CHARS: usize = 64;
/// Bytes of the words of a text that are indexed; the words behind them are not found. Postgres refuses more than 1 MiB.
const MOST_BYTES: usize = 512 << 10;
/// Words of a query that count.
const MOST_QUERIED: usize = 16;

/// A word of a text, and where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) folded: String,
    pub(super) bytes: Range<usize>,
}

/// The words of a text, in its order.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, first) = rest.by_ref().find(|(_, c)| is_letter(*c))?;
        let mut end = start + first.len_utf8();
        while let Some((at, c)) =
            rest.next_if(|(_, c)| is_combining_mark(*c) || is_letter(*c) && !stands_alone(first) && !stands_alone(*c))
        {
            end = at + c.len_utf8();
        }
        Some(Word { folded: fold(&text[start..end]), bytes: start..end })
    })
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c)
}

/// Whether a character is of a script without spaces between words.
const fn stands_alone(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Letters are composed first, so that `ü` is found in both of its Unicode forms. Character by character: the lower case of a
/// sigma in a whole word would depend on its position.
fn fold(word: &str) -> String {
    let lower = word.nfc().take(MOST_CHARS).flat_map(char::to_lowercase).nfc();
    lower.map(|c| if c == 'ς' { 'σ' } else { c }).filter(|c| is_letter(*c)).collect()
}

/// The words of a text for the index, each once and behind the user's [`key`].
pub(super) fn indexed(text: &str, user: UserId) -> String {
    let key = key(user);
    let (mut seen, mut line) = (HashSet::new(), String::new());
    for Word { folded, .. } in words(text) {
        if line.len() > MOST_BYTES {
            break;
        }
        if !folded.is_empty() && !seen.contains(&folded) {
            let space = if line.is_empty() { "" } else { " " };
            // Cannot fail: writing to a String never does.
            let _ = write!(line, "{space}{key}{folded}");
            seen.insert(folded);
        }
    }
    line
}

/// What begins each word of a user in the index: the words of a user stand together, apart from those of other users. A search,
/// also for the beginning of a word, then takes as long as the user's own texts require. The last 40 bits of a UUIDv7 are random.
/// Two users could still have the same key, and searches compare the whole id, too.
fn key(user: UserId) -> String {
    let id = Uuid::from(user).as_u128();
    format!("{:010x}", id & 0xff_ffff_ffff)
}

/// A search: each of its words is looked for, the last one as the beginning of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query(Vec<String>);

impl Query {
    /// `None` if there is no word.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let words = words(text).map(|word| word.folded).filter(|word| !word.is_empty());
        let words: Vec<_> = words.take(MOST_QUERIED).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// The query in the language of FTS5. Words have only letters and digits, so that nothing in them has a meaning there.
    pub(super) fn fts5(&self, user: UserId) -> String {
        self.joined(user, |word| format!("\"{word}\""), " ", "*")
    }

    /// The query as a `tsquery`.
    pub(super) fn tsquery(&self, user: UserId) -> String {
        self.joined(user, |word| format!("'{word}'"), " & ", ":*")
    }

    fn joined(&self, user: UserId, quoted: impl Fn(String) -> String, and: &str, prefix: &str) -> String {
        let key = key(user);
        let words: Vec<_> = self.0.iter().map(|word| quoted(format!("{key}{word}"))).collect();
        words.join(and) + prefix
    }

    /// Whether a word of a text is one of those that the query looks for.
    pub(super) fn finds(&self, word: &Word) -> bool {
        let (last, others) = self.0.split_last().expect("a query has a word");
        word.folded.starts_with(last) || others.contains(&word.folded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> Vec<String> {
        words(text).map(|word| word.folded).collect()
    }

    #[test]
    fn words_by_example() {
        assert_eq!(folded("Der Ölstand, ÜBER 3.5 l!"), ["der", "ölstand", "über", "3", "5", "l"]);
        assert_eq!(folded("fu\u{308}r FÜR"), ["für", "für"]);
        assert_eq!(folded("ΟΔΟΣ οδος"), ["οδοσ", "οδοσ"]);
        assert_eq!(folded("東京タワー P0301"), ["東", "京", "タ", "ワ", "ー", "p0301"]);
        assert_eq!(folded("🚗 'x' \"y\" a:* (b) c\\d NEAR/2"), ["x", "y", "a", "b", "c", "d", "near", "2"]);
        assert_eq!(folded(""), [""; 0]);
        assert_eq!(folded(&"x".repeat(1000)), ["x".repeat(MOST_CHARS)]);
    }

    #[test]
    fn a_query_finds_its_words_and_the_beginning_of_its_last_one() {
        let query = Query::new("Öl bat").expect("words");
        let found = |text: &str| words(text).map(|word| query.finds(&word)).collect::<Vec<_>>();
        assert_eq!(found("ÖL Ölstand Batterie acrobat"), [true, false, true, false]);
        assert_eq!(Query::new(" \"*' "), None);
    }

    proptest! {
        #[test]
        fn queries_have_no_syntax_but_their_own(text: String) {
            let user = UserId::from(Uuid::from_u128(7));
            let Some(query) = Query::new(&text) else { return Ok(()) };
            let word = |quote: char, part: &str| {
                let inner = part.strip_prefix(quote).and_then(|part| part.strip_suffix(quote));
                inner.is_some_and(|inner| !inner.is_empty() && inner.chars().all(is_letter))
            };
            let fts5 = query.fts5(user);
            prop_assert!(fts5.strip_suffix('*').expect("a prefix").split(' ').all(|part| word('"', part)), "{fts5}");
            let tsquery = query.tsquery(user);
            let parts = tsquery.strip_suffix(":*").expect("a prefix");
            prop_assert!(parts.split(" & ").all(|part| word('\'', part)), "{tsquery}");
        }

        #[test]
        fn a_word_is_found_where_it_stands(text: String) {
            let mut end = 0;
            for word in words(&text) {
                prop_assert!(word.bytes.start >= end && text.get(word.bytes.clone()).is_some());
                end = word.bytes.end;
            }
        }

        #[test]
        fn the_index_of_a_text_fits(text in "[\\PC ]{0,2000}") {
            let line = indexed(&text, UserId::from(Uuid::from_u128(7)));
            prop_assert!(line.chars().all(|c| c == ' ' || is_letter(c)));
        }
    }
}
