//! An event with its offset.

use crate::Offset;

/// An event with its offset. The bus carries an event as its bytes; a reader decodes it with [`Record::map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<E> {
    /// The number of the event within its topic.
    pub offset: Offset,
    /// This is the final event: no event follows it in the topic.
    pub is_final: bool,
    /// The event, encoded or decoded.
    pub event: E,
}

impl<E> Record<E> {
    /// The same record with its event in another form.
    pub fn map<F>(self, convert: impl FnOnce(E) -> F) -> Record<F> {
        Record { offset: self.offset, is_final: self.is_final, event: convert(self.event) }
    }
}
