//! Offsets of events.

use std::{fmt, str::FromStr};

/// The number of an event within its topic: `<epoch>-<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The time at which the epoch began, in milliseconds since 1970.
    pub epoch: u64,
    /// 1, 2, 3… within the epoch, without gaps.
    pub n: u64,
}

/// Text that is not an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an offset looks like 1763700000000-42")]
pub struct InvalidOffset;

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.n)
    }
}

impl FromStr for Offset {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        let (epoch, n) = text.split_once('-').ok_or(InvalidOffset)?;
        // u64's own parser takes a leading plus sign
        if [epoch, n].iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit())) {
            return Err(InvalidOffset);
        }
        Ok(Self { epoch: epoch.parse().map_err(|_| InvalidOffset)?, n: n.parse().map_err(|_| InvalidOffset)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_parsed_offset_is_the_one_that_was_printed(epoch: u64, n: u64) {
            let offset = Offset { epoch, n };
            proptest::prop_assert_eq!(offset.to_string().parse(), Ok(offset));
        }

        #[test]
        fn any_text_is_parsed_without_panic(text: String) {
            let _ = text.parse::<Offset>();
        }
    }

    #[test]
    fn text_that_is_almost_an_offset_is_refused() {
        for text in ["", "-", "1", "1-", "-1", "+1-2", "1-+2", "1-2-3", " 1-2", "1-2 ", "99999999999999999999-1"] {
            assert_eq!(text.parse::<Offset>(), Err(InvalidOffset), "{text:?}");
        }
    }
}
