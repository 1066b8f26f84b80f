//! From where a client wants to read a topic.

use std::str::FromStr;

use turnpike_topic::Offset;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Start,
    After(Offset),
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("since is start, live or an offset such as 1763700000000-42")]
pub(crate) struct InvalidSince;

impl FromStr for Since {
    type Err = InvalidSince;

    fn from_str(text: &str) -> Result<Self, InvalidSince> {
        match text {
            "start" => Ok(Self::Start),
            "live" => Ok(Self::Live),
            offset => offset.parse().map(Self::After).map_err(|_| InvalidSince),
        }
    }
}
