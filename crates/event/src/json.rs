//! JSON that is carried as its text.

use std::fmt;

use serde_json::value::RawValue;

/// A JSON object, kept as its text: no process between the producer and the client needs its contents.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

/// Text that is not a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON object")]
pub struct NotAnObject;

impl Json {
    /// Checks that the text is a JSON object.
    pub fn parse(text: String) -> Result<Self, NotAnObject> {
        let raw = RawValue::from_string(text).map_err(|_| NotAnObject)?;
        if raw.get().starts_with('{') { Ok(Self(raw)) } else { Err(NotAnObject) }
    }

    /// Encodes an object.
    pub fn object(object: &serde_json::Map<String, serde_json::Value>) -> Self {
        // A map with string keys always has a JSON text.
        Self(serde_json::value::to_raw_value(object).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
