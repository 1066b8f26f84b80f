//! What an event of a model's stream means.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::upstream::Endpoint;

/// Tokens as a server counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub prompt: u64,
    pub completion: u64,
}

/// What an event means.
#[derive(Debug)]
pub enum Meaning {
    /// The last event of a stream.
    Done,
    /// An error object instead of an answer.
    Error,
    /// No JSON.
    Garbage,
    Chunk(Box<Chunk>),
}

/// A part of an answer.
#[derive(Debug, Default)]
pub struct Chunk {
    pub text: String,
    pub reasoning: String,
    /// It holds something of the answer: text, reasoning, a tool call, a reason to stop.
    pub is_content: bool,
    pub finish_reason: Option<String>,
    pub usage: Option<Tokens>,
    /// It holds the usage and nothing of the answer.
    pub only_usage: bool,
    pub model: Option<String>,
    /// It is the last event of a stream without `[DONE]` (the Responses API).
    pub is_last: bool,
}

/// Chunks of all endpoints. Every member is optional: servers leave out what the API requires.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    object: Option<Cow<'a, str>>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    response: Option<InResponse>,
    /// Of the Responses API.
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    /// Of `/completions`.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    /// The name of DeepSeek, vLLM, llama.cpp and TabbyAPI.
    #[serde(default)]
    reasoning_content: Option<String>,
    /// The name of OpenRouter, Ollama and newer versions of vLLM.
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    function_call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct InResponse {
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    model: Option<String>,
}

impl From<WireUsage> for Tokens {
    fn from(usage: WireUsage) -> Self {
        Self { prompt: usage.prompt_tokens.unwrap_or(0), completion: usage.completion_tokens.unwrap_or(0) }
    }
}

/// Reads the data of an event.
pub fn meaning(endpoint: Endpoint, name: &[u8], data: &[u8]) -> Meaning {
    if data == b"[DONE]" {
        return Meaning::Done;
    }
    let wire: Wire<'_> = match serde_json::from_slice(data) {
        Ok(wire) => wire,
        // JSON of a form that is not known here is still part of the answer.
        Err(error) if error.is_data() && name != b"error" => return unknown(data),
        Err(_) => return Meaning::Garbage,
    };
    let has_error = wire.error.is_some_and(|error| error.get() != "null");
    if has_error || name == b"error" || matches!(wire.object.as_deref(), Some("error")) {
        return Meaning::Error;
    }
    match endpoint {
        Endpoint::Responses => of_response(wire),
        _ => of_choices(wire),
    }
}

/// A chunk of a known syntax and an unknown form.
fn unknown(data: &[u8]) -> Meaning {
    match serde_json::from_slice::<IgnoredAny>(data) {
        Ok(_) => Meaning::Chunk(Box::new(Chunk { is_content: true, ..Chunk::default() })),
        Err(_) => Meaning::Garbage,
    }
}

fn of_choices(wire: Wire<'_>) -> Meaning {
    let choices = wire.choices.unwrap_or_default();
    let mut chunk = Chunk { model: wire.model, usage: wire.usage.map(Tokens::from), ..Chunk::default() };
    chunk.only_usage = choices.is_empty() && chunk.usage.is_some();
    for choice in choices {
        let delta = choice.delta;
        chunk.is_content |= choice.finish_reason.is_some();
        chunk.finish_reason = choice.finish_reason.or(chunk.finish_reason);
        chunk.text.push_str(choice.text.as_deref().unwrap_or_default());
        let Some(delta) = delta else { continue };
        chunk.text.push_str(delta.content.as_deref().unwrap_or_default());
        chunk.reasoning.push_str(delta.reasoning_content.or(delta.reasoning).as_deref().unwrap_or_default());
        chunk.is_content |= delta.tool_calls.is_some_and(|calls| !calls.is_empty())
            || delta.function_call.is_some()
            || delta.refusal.is_some();
    }
    chunk.is_content |= !chunk.text.is_empty() || !chunk.reasoning.is_empty();
    Meaning::Chunk(Box::new(chunk))
}

fn of_response(wire: Wire<'_>) -> Meaning {
    let kind = wire.kind.as_deref().unwrap_or_default();
    if matches!(kind, "error" | "response.failed") {
        return Meaning::Error;
    }
    let is_last = matches!(kind, "response.completed" | "response.incomplete");
    let begins = ["response.created", "response.queued", "response.in_progress", "response.output_item.added"];
    let is_content = !begins.contains(&kind) && kind != "response.content_part.added";
    let text = wire.delta.and_then(|delta| serde_json::from_str(delta.get()).ok()).unwrap_or_default();
    let (usage, model) =
        wire.response.map_or((None, None), |response| (response.usage.map(Tokens::from), response.model));
    Meaning::Chunk(Box::new(Chunk {
        text,
        is_content,
        finish_reason: is_last.then(|| kind.trim_start_matches("response.").to_owned()),
        usage,
        model,
        is_last,
        ..Chunk::default()
    }))
}

/// A whole response.
pub enum Answered {
    Error,
    Usage { usage: Option<Tokens>, model: Option<String> },
}

/// Reads a whole response; fails if it is not JSON.
pub fn whole(body: &[u8]) -> Result<Answered, serde_json::Error> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
        #[serde(default)]
        object: Option<Cow<'a, str>>,
        #[serde(default)]
        usage: Option<WireUsage>,
        #[serde(default)]
        model: Option<String>,
    }
    let whole: Whole<'_> = match serde_json::from_slice(body) {
        Ok(whole) => whole,
        Err(error) if error.is_data() => {
            return serde_json::from_slice(body).map(|IgnoredAny| Answered::Usage { usage: None, model: None });
        }
        Err(error) => return Err(error),
    };
    let has_error = whole.error.is_some_and(|error| error.get() != "null");
    if has_error || whole.object.as_deref() == Some("error") {
        return Ok(Answered::Error);
    }
    Ok(Answered::Usage { usage: whole.usage.map(Tokens::from), model: whole.model })
}
