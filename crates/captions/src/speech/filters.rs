//! Removes words that a model invents: repetitions, and more words than a person can say.

use crate::engine::Heard;

/// More words a second than this are not speech.
const WORDS_PER_SECOND: f32 = 6.0;
/// A phrase that follows itself this often is a loop of the model.
const REPEATED: usize = 4;
/// The longest phrase, in words, that is compared.
const PHRASE: usize = 8;

/// Filters the words of `seconds` of audio. The first `committed` words stay.
pub(super) fn filter(mut words: Vec<Heard>, committed: usize, seconds: f32) -> Vec<Heard> {
    words.retain(|word| word.text.chars().any(char::is_alphanumeric));
    if let Some(end) = loop_start(&words) {
        words.truncate(end.max(committed));
    }
    let most = (seconds * WORDS_PER_SECOND).ceil() as usize + 1;
    words.truncate(most.max(committed));
    words
}

/// Where the second copy of the first phrase that repeats too often begins.
fn loop_start(words: &[Heard]) -> Option<usize> {
    let plain: Vec<String> = words.iter().map(|word| plain(&word.text)).collect();
    for at in 0..plain.len() {
        for length in 1..=PHRASE {
            let Some(all) = plain.get(at..at + length * REPEATED) else { break };
            if all.chunks(length).all(|copy| copy == &all[..length]) {
                return Some(at + length);
            }
        }
    }
    None
}

/// A word without case and punctuation, for comparisons.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric() || *c == '\'').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Vec<Heard> {
        let word = |text: &str| Heard { text: text.to_owned(), start: 0.0, end: 0.0, confidence: 1.0 };
        text.split_whitespace().map(word).collect()
    }

    fn filtered(text: &str, committed: usize, seconds: f32) -> String {
        let words = filter(heard(text), committed, seconds);
        words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_loop_of_the_model_is_cut_and_speech_is_not() {
        assert_eq!(filtered("and so on. and so on, And so on and so on and", 0, 20.0), "and so on.");
        assert_eq!(filtered("tar tar tar tar tar", 0, 20.0), "tar");
        let speech = "it was the best of times it was the worst of times it was it was";
        assert_eq!(filtered(speech, 0, 20.0), speech);
        assert_eq!(filtered("no no no no", 3, 20.0), "no no no", "committed words stay");
    }

    #[test]
    fn nobody_says_seven_words_a_second() {
        assert_eq!(filtered("a b c d e f g h i j k l", 0, 1.0).split(' ').count(), 7);
        assert_eq!(filtered("a - b ...", 0, 5.0), "a b");
    }
}
