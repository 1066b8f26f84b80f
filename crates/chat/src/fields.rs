//! Validation of fields that callers fill with text.

use turnpike_fault::{Fault, Kind};

/// Characters of a conversation's title.
pub(crate) const MAX_TITLE: usize = 200;
/// Bytes of a system prompt.
const MAX_PROMPT_BYTES: usize = 16 << 10;

pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

/// Text on one line, without surrounding white space; empty if the caller left it out.
pub(crate) fn line(field: &str, text: &str, most: usize) -> Result<String, Fault> {
    let text = text.trim();
    if text.chars().count() > most || text.contains(char::is_control) {
        return Err(invalid(field, format!("must be at most {most} characters on one line")));
    }
    Ok(text.to_owned())
}

/// Like [`line()`], and not empty.
pub(crate) fn required_line(field: &str, text: &str, most: usize) -> Result<String, Fault> {
    match line(field, text, most) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(invalid(field, format!("must be 1 to {most} characters on one line"))),
    }
}

/// Instructions for a model; can be empty. The databases cannot store U+0000.
pub(crate) fn system_prompt(text: String) -> Result<String, Fault> {
    if text.len() > MAX_PROMPT_BYTES || text.contains('\0') {
        return Err(invalid("system_prompt", format!("must be at most {MAX_PROMPT_BYTES} bytes, without U+0000")));
    }
    Ok(text)
}
