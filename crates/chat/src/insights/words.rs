//! Whether a message mentions its author's health.

/// Words at whose beginning a word of the message may be: `feeling` begins with `feel`.
const WORDS: [&str; 16] = [
    "sleep",
    "tired",
    "energy",
    "stress",
    "anxi",
    "mood",
    "exercis",
    "workout",
    "heart rate",
    "steps",
    "activity",
    "pain",
    "headache",
    "feel",
    "health",
    "wellness",
];

/// The words of the list that a message mentions, each once.
pub(super) fn mentioned(message: &str) -> Vec<&'static str> {
    let words: Vec<String> = message
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let pairs = words.windows(2).map(|two| two.join(" "));
    let all: Vec<String> = words.iter().cloned().chain(pairs).collect();
    WORDS.into_iter().filter(|word| all.iter().any(|said| is_form(word, said))).map(whole).collect()
}

fn is_form(word: &str, said: &str) -> bool {
    match said.strip_prefix(word) {
        // Not paint.
        Some(rest) if word == "pain" => ["", "s", "ful", "fully"].contains(&rest),
        rest => rest.is_some(),
    }
}

/// The whole word of a beginning.
fn whole(word: &'static str) -> &'static str {
    match word {
        "anxi" => "anxiety",
        "exercis" => "exercise",
        "feel" => "how you feel",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_form_and_only_as_words() {
        assert_eq!(mentioned("I'm SO tired, and anxious about my heart  rate."), ["tired", "anxiety", "heart rate"]);
        assert_eq!(mentioned("Feeling well after exercising"), ["exercise", "how you feel"]);
        assert!(mentioned("Paint the asleep unhealthy brake disc, heart and all").is_empty());
        assert!(mentioned("").is_empty());
    }
}
