//! Answers that were asked for as JSON.

use serde::de::DeserializeOwned;

/// The value of an answer that is JSON. `None`: it is not JSON, or has another shape. Some models put JSON into a block of code even
/// if the request names a schema; the block is removed.
pub(crate) fn json_answer<T: DeserializeOwned>(answer: &str) -> Option<T> {
    let text = answer.trim();
    let text = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).unwrap_or(text);
    serde_json::from_str(text.strip_suffix("```").unwrap_or(text).trim()).ok()
}
