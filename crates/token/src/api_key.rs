//! The text of an API key: `tp_`, 43 characters of randomness, and 6 characters of checksum. The prefix lets scanners of source
//! code find a leaked key. The checksum lets a mistyped key be refused without a query.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The first characters of every API key. No access token begins with them.
pub const PREFIX: &str = "tp_";
/// The characters by which an owner recognises a key. The others have 220 random bits.
const RECOGNISABLE: usize = 9;
/// 62^43 is more than 2^256.
const RANDOM: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed API key. `Debug` does not print it.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// The key of 32 bytes, which must come from a cryptographic source.
    pub fn new(random: [u8; 32]) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + RANDOM + CHECKSUM);
        text.push_str(PREFIX);
        text.push_str(&digits(random, RANDOM));
        text.push_str(&checksum(&text));
        Self(text.into())
    }

    /// Whether a bearer credential is meant as an API key.
    pub fn is_meant(credential: &str) -> bool {
        credential.starts_with(PREFIX)
    }

    /// Reads a key; `None` if it has another form, or if its checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.len() != RANDOM + CHECKSUM || !digits.bytes().all(|byte| DIGITS.contains(&byte)) {
            return None;
        }
        let (body, sum) = text.split_at(text.len() - CHECKSUM);
        (checksum(body) == sum).then(|| Self(text.into()))
    }

    /// The key itself, for the response that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The first characters, by which an owner recognises the key.
    pub fn prefix(&self) -> &str {
        &self.expose()[..RECOGNISABLE]
    }

    /// What auth is asked about instead of the key itself.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// A CRC-32 finds every change of one character, and every change of two neighbours in the text before it.
fn checksum(text: &str) -> String {
    let mut number = [0; 32];
    number[28..].copy_from_slice(&crc32fast::hash(text.as_bytes()).to_be_bytes());
    digits(number, CHECKSUM)
}

/// The last `count` digits of a number, in base 62.
fn digits(mut number: [u8; 32], count: usize) -> String {
    let mut text = vec![DIGITS[0]; count];
    for digit in text.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = (value / 62) as u8; // rest < 62, so the quotient is a byte
            rest = value % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};

    use super::*;

    const EXAMPLE: &str = "tp_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp14XliL0";

    #[test]
    fn a_key_has_a_fixed_form() {
        let key = ApiKey::new([0xff; 32]);
        // 2^256 - 1 in base 62, and the CRC-32 of the text before: both computed elsewhere.
        assert_eq!(key.expose(), EXAMPLE);
        assert_eq!(key.prefix(), &EXAMPLE[..9]);
        assert_eq!(ApiKey::parse(EXAMPLE).expect("well-formed").digest(), key.digest());
        assert_eq!(format!("{key:?}"), "ApiKey(***)");
        assert_eq!(ApiKey::new([0; 32]).expose().len(), EXAMPLE.len(), "small numbers have leading zeros");
    }

    #[test]
    fn other_texts_are_no_keys() {
        let longer = format!("{EXAMPLE}0");
        let jwt = "eyJhbGciOiJFZERTQSJ9.e30.c2ln";
        for text in ["", "tp_", "tp", jwt, &EXAMPLE[3..], &EXAMPLE[..51], &longer, &EXAMPLE.to_uppercase()] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
        assert!(ApiKey::is_meant("tp_x") && !ApiKey::is_meant(jwt));
    }

    proptest! {
        #[test]
        fn every_key_is_well_formed_and_different_bytes_give_different_keys(one: [u8; 32], other: [u8; 32]) {
            let key = ApiKey::new(one);
            prop_assert!(ApiKey::parse(key.expose()).is_some());
            prop_assert_eq!(one == other, key.expose() == ApiKey::new(other).expose());
        }

        #[test]
        fn a_wrong_character_is_found(random: [u8; 32], index in 0..52_usize, character: char) {
            let mut text: Vec<char> = ApiKey::new(random).expose().chars().collect();
            prop_assume!(text[index] != character);
            text[index] = character;
            prop_assert!(ApiKey::parse(&text.into_iter().collect::<String>()).is_none());
        }

        #[test]
        fn a_wrong_digit_is_found(random: [u8; 32], index in 3..52_usize, digit in 0..62_usize) {
            let mut text = ApiKey::new(random).expose().to_owned().into_bytes();
            prop_assume!(text[index] != DIGITS[digit]);
            text[index] = DIGITS[digit];
            prop_assert!(ApiKey::parse(std::str::from_utf8(&text).expect("ASCII")).is_none());
        }

        #[test]
        fn two_swapped_neighbours_are_found(random: [u8; 32], index in 0..51_usize) {
            let mut text = ApiKey::new(random).expose().to_owned().into_bytes();
            prop_assume!(text[index] != text[index + 1]);
            text.swap(index, index + 1);
            prop_assert!(ApiKey::parse(std::str::from_utf8(&text).expect("ASCII")).is_none());
        }

        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            prop_assert!(ApiKey::parse(&text).is_none());
            let meant = format!("tp_{text}");
            prop_assert!(ApiKey::parse(&meant).is_none());
        }
    }
}
