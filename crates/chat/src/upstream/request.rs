//! A request of an OpenAI-compatible client, and its edits.

use bytes::Bytes;
use turnpike_fault::{Fault, Kind};

use crate::upstream::edit::{Edit, Object, Slot, apply};

/// What an OpenAI-compatible client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Responses,
    Embeddings,
}

impl Endpoint {
    pub const ALL: [Self; 4] = [Self::ChatCompletions, Self::Completions, Self::Responses, Self::Embeddings];

    /// The path after the base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
        }
    }
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Call {
    pub endpoint: Endpoint,
    /// As the caller sent it.
    body: Bytes,
    /// The model that it names.
    pub model: Option<String>,
    /// Where its model stands.
    slot: Slot,
    pub is_stream: bool,
    /// The edits that ask for the usage of a stream; empty if the caller asked, or if there is nothing to ask.
    ask_usage: Vec<Edit>,
    /// Tokens of the prompt, estimated.
    pub prompt_estimate: u64,
}

impl Call {
    /// Reads what matters here from a request; the server judges the rest.
    pub fn parse(endpoint: Endpoint, body: Bytes) -> Result<Self, Fault> {
        let invalid = |message: &str| Fault::new(Kind::Validation, "The request is not valid").field("body", message);
        let object = Object::parse(&body).map_err(|error| invalid(&format!("must be a JSON object: {error}")))?;
        let model = match object.get("model") {
            None | Some("null" | "\"\"") => None,
            Some(json) => Some(serde_json::from_str(json).map_err(|_| {
                Fault::new(Kind::Validation, "The request is not valid").field("model", "must be a string")
            })?),
        };
        let is_stream = object.get("stream") == Some("true") && endpoint != Endpoint::Embeddings;
        let ask_usage = match (is_stream, endpoint) {
            (true, Endpoint::ChatCompletions | Endpoint::Completions) => ask_usage(&object),
            _ => Vec::new(),
        };
        let prompt = ["messages", "prompt", "input"].iter().filter_map(|name| object.get(name));
        let prompt_estimate = prompt.map(estimate_json).sum();
        let slot = object.slot("model");
        Ok(Self { endpoint, model, slot, is_stream, ask_usage, prompt_estimate, body })
    }

    /// The body for a server: with this model if the caller named none, and with the request for usage.
    pub fn body(&self, default_model: Option<&str>, with_usage: bool) -> Bytes {
        let mut edits = if with_usage { self.ask_usage.clone() } else { Vec::new() };
        if let (None, Some(model)) = (&self.model, default_model) {
            edits.extend(self.slot.set(&serde_json::Value::from(model).to_string()));
        }
        if edits.is_empty() { self.body.clone() } else { apply(&self.body, edits) }
    }

    /// The caller did not ask for the usage, and gets none.
    pub fn strips_usage(&self) -> bool {
        !self.ask_usage.is_empty()
    }
}

/// Sets `stream_options.include_usage`; no edits if it is set.
fn ask_usage(object: &Object<'_>) -> Vec<Edit> {
    let slot = object.slot("stream_options");
    let whole = |json: &str| slot.set(json).collect();
    let Some(options) = object.get("stream_options") else { return whole(r#"{"include_usage":true}"#) };
    match Object::parse(options.as_bytes()) {
        Ok(inner) if inner.get("include_usage") == Some("true") => Vec::new(),
        Ok(inner) => {
            let edited = apply(options.as_bytes(), inner.slot("include_usage").set("true").collect());
            whole(&String::from_utf8_lossy(&edited))
        }
        Err(_) if options == "null" => whole(r#"{"include_usage":true}"#),
        Err(_) => Vec::new(), // the server refuses it
    }
}

/// About how many tokens a text has: English has about four characters a token, other scripts fewer.
pub fn estimate_tokens(text: &str) -> u64 {
    let (ascii, other) = text.chars().fold((0_u64, 0_u64), |(ascii, other), c| match c.is_ascii() {
        true => (ascii + 1, other),
        false => (ascii, other + 1),
    });
    ascii.div_ceil(4) + other.div_ceil(2)
}

/// Tokens of a prompt in JSON. Images in it count 1,000 each, whatever their size.
fn estimate_json(json: &str) -> u64 {
    const IMAGE: &[u8] = b";base64,";
    let bytes = json.as_bytes();
    let (mut images, mut hidden) = (0, 0);
    for at in memchr::memmem::find_iter(bytes, IMAGE) {
        images += 1;
        hidden += memchr::memchr(b'"', &bytes[at..]).unwrap_or(bytes.len() - at) as u64;
    }
    (bytes.len() as u64).saturating_sub(hidden).div_ceil(4) + images * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: &str) -> Call {
        Call::parse(Endpoint::ChatCompletions, Bytes::copy_from_slice(body.as_bytes())).expect("valid")
    }

    fn sent(body: &str) -> String {
        String::from_utf8(call(body).body(Some("m"), true).to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_missing_model_and_the_request_for_usage_are_added() {
        for (body, expected) in [
            (r#"{"model":"x","n": 1.0}"#, r#"{"model":"x","n": 1.0}"#),
            (r#"{"model":null}"#, r#"{"model":"m"}"#),
            (r"{}", r#"{"model":"m"}"#),
            (r#"{"model":"x","stream":false}"#, r#"{"model":"x","stream":false}"#),
            (
                r#"{"model":"x","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"x","stream":true}"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options":null}"#,
                r#"{"model":"x","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options":{"include_usage":false, "a":1}}"#,
                r#"{"model":"x","stream":true,"stream_options":{"include_usage":true, "a":1}}"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options":{ "include_usage" : true }}"#,
                r#"{"model":"x","stream":true,"stream_options":{ "include_usage" : true }}"#,
            ),
            (
                r#"{"stream":true, "model":""}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true, "model":"m"}"#,
            ),
        ] {
            assert_eq!(sent(body), expected);
        }
        assert!(!call(r#"{"stream":true,"stream_options":{"include_usage":true}}"#).strips_usage());
        assert!(call(r#"{"stream":true,"stream_options":{"include_usage":false}}"#).strips_usage());
        assert!(!call(r#"{"stream":false}"#).strips_usage());
    }

    #[test]
    fn a_body_that_is_no_object_names_the_fault() {
        for (body, field) in [("", "body"), ("[1]", "body"), (r#"{"model":1}"#, "model")] {
            let fault = Call::parse(Endpoint::ChatCompletions, Bytes::from(body)).expect_err(body);
            assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, field));
        }
    }

    #[test]
    fn estimates_grow_with_the_text_and_not_with_images() {
        assert_eq!(estimate_tokens(""), 0);
        assert_eq!(estimate_tokens("four"), 1);
        assert_eq!(estimate_tokens("语言"), 1);
        let image = format!(r#"[{{"url":"data:image/png;base64,{}"}}]"#, "A".repeat(1 << 20));
        assert!((1000..1100).contains(&estimate_json(&image)), "{}", estimate_json(&image));
    }
}
