//! Which words of a live segment are settled: those on which three hypotheses in a row agree.

use std::collections::VecDeque;

use super::filters::plain;
use crate::engine::Heard;

/// Hypotheses that must agree.
const AGREEING: usize = 3;
/// The last words of a hypothesis, which are never committed: the audio may end within them.
const HELD: usize = 1;

/// The hypotheses of one segment.
#[derive(Default)]
pub(super) struct Agreement {
    latest: VecDeque<(Vec<String>, u64)>,
    committed: Vec<String>,
    /// The committed words are before this sample.
    pub(super) committed_until: u64,
}

impl Agreement {
    /// The number of committed words.
    pub(super) fn committed(&self) -> usize {
        self.committed.len()
    }

    /// Takes a hypothesis of the audio up to the sample `until`. Its first words are the committed ones (see [`Self::continued`]).
    pub(super) fn add(&mut self, words: &[Heard], until: u64) {
        let words: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
        if self.latest.len() == AGREEING {
            self.latest.pop_front();
        }
        self.latest.push_back((words, until));
        if self.latest.len() < AGREEING {
            return;
        }
        let Some(((newest, _), earlier)) =
            self.latest.iter().collect::<Vec<_>>().split_last().map(|(n, e)| (*n, e.to_vec()))
        else {
            return;
        };
        let common = |other: &Vec<String>| newest.iter().zip(other).take_while(|(a, b)| a == b).count();
        let agreed = earlier.iter().map(|(words, _)| common(words)).min().unwrap_or(0);
        let agreed = agreed.min(newest.len().saturating_sub(HELD));
        if agreed > self.committed.len() {
            self.committed = newest[..agreed].to_vec();
            self.committed_until = earlier[0].1;
        }
    }

    /// A hypothesis that begins with the committed words. An engine that cannot be made to begin with them may have heard them
    /// differently: its words up to the best match are then replaced.
    pub(super) fn continued(&self, mut words: Vec<Heard>) -> Vec<Heard> {
        let begins = |words: &[Heard]| {
            words.len() >= self.committed.len()
                && self.committed.iter().zip(words).all(|(text, word)| *text == word.text)
        };
        if begins(&words) {
            return words;
        }
        let matched = self.best_match(&words);
        let rest = words.split_off(matched);
        let at = |n: usize| words.get(n.min(words.len().saturating_sub(1)));
        let settled = self.committed.iter().enumerate().map(|(n, text)| {
            let (start, end, confidence) =
                at(n).map_or((0.0, 0.0, 0.0), |word| (word.start, word.end, word.confidence));
            Heard { text: text.clone(), start, end, confidence }
        });
        settled.chain(rest).collect()
    }

    /// How many of the words correspond to the committed ones: the fewest edits (Levenshtein, by word).
    fn best_match(&self, words: &[Heard]) -> usize {
        let words: Vec<String> = words.iter().map(|word| plain(&word.text)).collect();
        let mut row: Vec<usize> = (0..=words.len()).collect();
        for text in &self.committed {
            let text = plain(text);
            let mut diagonal = row[0];
            row[0] += 1;
            for (n, word) in words.iter().enumerate() {
                let cost = diagonal + usize::from(*word != text);
                diagonal = row[n + 1];
                row[n + 1] = cost.min(row[n] + 1).min(row[n + 1] + 1);
            }
        }
        // Of equally good matches the longest: a missing word is better than a repeated one.
        (0..row.len()).rev().min_by_key(|n| row[*n]).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heard(text: &str) -> Vec<Heard> {
        let word = |text: &str| Heard { text: text.to_owned(), start: 0.0, end: 0.0, confidence: 1.0 };
        text.split_whitespace().map(word).collect()
    }

    fn text(words: &[Heard]) -> String {
        words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn three_hypotheses_agree_on_all_but_the_last_word() {
        let mut agreement = Agreement::default();
        agreement.add(&heard("he was"), 100);
        agreement.add(&heard("he was not and"), 200);
        assert_eq!(agreement.committed(), 0);
        agreement.add(&heard("he was not an"), 300);
        assert_eq!((agreement.committed(), agreement.committed_until), (2, 100));
        agreement.add(&heard("he was not an ill"), 400);
        assert_eq!((agreement.committed(), agreement.committed_until), (3, 200));
    }

    #[test]
    fn words_that_were_heard_differently_are_replaced_by_the_committed_ones() {
        let mut agreement = Agreement::default();
        for _ in 0..3 {
            agreement.add(&heard("he was not an ill"), 100);
        }
        assert_eq!(text(&agreement.continued(heard("He was not, an ill disposed"))), "he was not an ill disposed");
        assert_eq!(text(&agreement.continued(heard("she was an ill disposed"))), "he was not an ill disposed");
        assert_eq!(text(&agreement.continued(heard(""))), "he was not an");
    }

    proptest! {
        #[test]
        fn committed_text_is_append_only(hypotheses in prop::collection::vec(prop::collection::vec("[ab]", 0..6), 0..12)) {
            let mut agreement = Agreement::default();
            let mut before = String::new();
            for (n, words) in hypotheses.into_iter().enumerate() {
                let words = agreement.continued(heard(&words.join(" ")));
                agreement.add(&words, n as u64);
                let now = text(&words[..agreement.committed()]);
                prop_assert!(now.starts_with(&before), "{before:?} then {now:?}");
                before = now;
            }
        }
    }
}
