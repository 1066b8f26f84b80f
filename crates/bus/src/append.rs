//! The three ways to append an event, and the answer.

use turnpike_topic::Offset;

/// How an event is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// Only if the topic has no event yet.
    First,
    /// After the newest event.
    Next,
    /// After the newest event; closes the topic.
    Final,
}

/// What an append did to a topic that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The event has this offset.
    At(Offset),
    /// The answer to [`Append::First`] when the topic has events already: nothing was written.
    NotFirst { head: Offset },
}

impl Append {
    pub(crate) fn is_final(self) -> bool {
        self == Self::Final
    }
}

impl Appended {
    /// The offset of the event, or of the event that was there before.
    pub(crate) const fn offset(self) -> Offset {
        match self {
            Self::At(offset) | Self::NotFirst { head: offset } => offset,
        }
    }
}
