//! Frames that are no valid requests.

use serde_json::Value;

use crate::stream::control_frames;

/// A frame that is not a valid request: a code for programs and a sentence for people.
#[derive(Debug, PartialEq)]
pub(super) struct Invalid {
    pub(super) code: &'static str,
    pub(super) detail: String,
    /// For programs, besides the code.
    pub(super) details: Option<Value>,
}

impl Invalid {
    /// The frame that answers it.
    pub(super) fn frame(self, id: Option<&Value>) -> String {
        control_frames::error_with(id, self.code, &self.detail, self.details)
    }
}
