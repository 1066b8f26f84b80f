//! Cleans text of connectors before it is stored and shown: PostgreSQL cannot store U+0000, and every text has a maximum length.

/// At most `most` characters; each control character except a line feed or a tab becomes U+FFFD.
pub fn clean(text: &str, most: usize) -> String {
    let fit = |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(most).map(fit).collect()
}

/// Whether a text is not empty and [`clean`] would not change it.
pub fn is_clean(text: &str, most: usize) -> bool {
    !text.is_empty() && clean(text, most) == text
}

/// The form in which texts are compared when case does not matter: the same on both databases, whose own functions know only
/// ASCII. Letters are composed first, so that `š` is found in both of its Unicode forms.
pub fn folded(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization;
    // Character by character: the lower case of a sigma in a whole text would depend on its position in the word.
    text.nfc().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_composition_do_not_matter() {
        for (one, other) in [
            ("Škoda", "ŠKODA"),
            ("Škoda", "S\u{30c}koda"),
            ("ΟΔΟΣ", "οδος"),
            ("Citroën", "CITROE\u{308}N"),
            ("İ", "i\u{307}"),
        ] {
            // The final sigma and the sigma are two letters in lower case and one in upper case.
            let folded = |text: &str| folded(&text.replace('ς', "σ"));
            assert_eq!(folded(one), folded(other));
        }
    }

    proptest! {
        #[test]
        fn clean_text_can_be_stored_and_fits(text: String, most in 0_usize..50) {
            let clean = clean(&text, most);
            prop_assert!(!clean.contains('\0') && clean.chars().count() <= most);
            prop_assert!(clean.is_empty() || is_clean(&clean, most));
        }

        #[test]
        fn folding_twice_is_folding_once(text: String) {
            prop_assert_eq!(folded(&folded(&text)), folded(&text));
        }
    }
}
