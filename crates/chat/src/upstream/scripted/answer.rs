//! The text of a scripted answer, and its protocol.

use serde_json::{Value, json};

use crate::upstream::scripted::MODEL;

/// The most words that a request can ask for.
const WORDS: usize = 100_000;

/// An answer in pieces; each piece counts as one token.
pub struct Script {
    pub pieces: Vec<String>,
    finish_reason: &'static str,
    prompt_tokens: usize,
    /// For `/chat/completions`, else for `/completions`.
    is_chat: bool,
}

impl Script {
    /// The answer to a list of messages.
    pub fn chat(request: &Value) -> Result<Self, &'static str> {
        let messages = request["messages"].as_array().filter(|messages| !messages.is_empty());
        let messages = messages.ok_or("`messages` must be a list of at least one message")?;
        let texts: Vec<String> = messages.iter().map(|message| text_of(&message["content"])).collect();
        let last = messages.iter().rposition(|message| message["role"] == json!("user"));
        let prompt = last.map_or("", |last| texts[last].as_str());
        let text = match request["response_format"]["type"].as_str() {
            Some("json_schema") => {
                return Err("The scripted model cannot follow a JSON schema; configure TURNPIKE_LLM_URL");
            }
            Some("json_object") => json!({ "scripted": true, "message": answer_to(prompt) }).to_string(),
            _ => answer_to(prompt),
        };
        let prompt_tokens = texts.iter().map(|text| words(text).len()).sum();
        Ok(Self::new(&text, request, prompt_tokens, true))
    }

    /// The continuation of a text.
    pub fn completion(request: &Value) -> Result<Self, &'static str> {
        let prompt = match &request["prompt"] {
            Value::String(prompt) => prompt.as_str(),
            Value::Array(prompts) if prompts.len() == 1 => prompts[0].as_str().unwrap_or_default(),
            _ => return Err("`prompt` must be a text"),
        };
        Ok(Self::new(&answer_to(prompt), request, words(prompt).len(), false))
    }

    fn new(text: &str, request: &Value, prompt_tokens: usize, is_chat: bool) -> Self {
        let stops: Vec<&str> = match &request["stop"] {
            Value::String(stop) => vec![stop],
            Value::Array(stops) => stops.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let cut = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
        let mut pieces: Vec<String> =
            words(&text[..cut.unwrap_or(text.len())]).into_iter().map(str::to_owned).collect();
        let most = request["max_completion_tokens"].as_u64().or(request["max_tokens"].as_u64());
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let finish_reason = if pieces.len() > most { "length" } else { "stop" };
        pieces.truncate(most);
        Self { pieces, finish_reason, prompt_tokens, is_chat }
    }

    pub fn id_prefix(&self) -> &'static str {
        if self.is_chat { "chatcmpl" } else { "cmpl" }
    }

    /// The whole response.
    pub fn whole(&self, id: &str, created: i64) -> Value {
        let text = self.pieces.concat();
        let (object, choice) = match self.is_chat {
            true => ("chat.completion", json!({ "message": { "role": "assistant", "content": text } })),
            false => ("text_completion", json!({ "text": text })),
        };
        let mut choice = choice;
        choice["index"] = json!(0);
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = json!(self.finish_reason);
        json!({
            "id": id, "object": object, "created": created, "model": MODEL, "choices": [choice], "usage": self.usage(),
        })
    }

    /// The first chunk of a stream.
    pub fn beginning(&self, id: &str, created: i64, with_usage: bool) -> Option<Value> {
        let delta = json!({ "delta": { "role": "assistant", "content": "" }, "finish_reason": null });
        self.is_chat.then(|| self.chunk(id, created, Some(delta), with_usage))
    }

    /// The chunk with a piece.
    pub fn piece(&self, n: usize, id: &str, created: i64, with_usage: bool) -> Value {
        let choice = match self.is_chat {
            true => json!({ "delta": { "content": self.pieces[n] }, "finish_reason": null }),
            false => json!({ "text": self.pieces[n], "finish_reason": null }),
        };
        self.chunk(id, created, Some(choice), with_usage)
    }

    /// The chunk with the reason to stop.
    pub fn end(&self, id: &str, created: i64, with_usage: bool) -> Value {
        let choice = match self.is_chat {
            true => json!({ "delta": {}, "finish_reason": self.finish_reason }),
            false => json!({ "text": "", "finish_reason": self.finish_reason }),
        };
        self.chunk(id, created, Some(choice), with_usage)
    }

    /// The chunk with the usage.
    pub fn usage_chunk(&self, id: &str, created: i64, with_usage: bool) -> Value {
        let mut chunk = self.chunk(id, created, None, with_usage);
        chunk["usage"] = self.usage();
        chunk
    }

    fn chunk(&self, id: &str, created: i64, choice: Option<Value>, with_usage: bool) -> Value {
        let object = if self.is_chat { "chat.completion.chunk" } else { "text_completion" };
        let choices: Vec<Value> = choice
            .into_iter()
            .map(|mut choice| {
                choice["index"] = json!(0);
                choice["logprobs"] = Value::Null;
                choice
            })
            .collect();
        let mut chunk = json!({ "id": id, "object": object, "created": created, "model": MODEL, "choices": choices });
        if with_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn usage(&self) -> Value {
        let completion = self.pieces.len();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        })
    }
}

/// The text of a message, which may be in parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// The answer to a prompt. A prompt with `<number> words` gets that many.
fn answer_to(prompt: &str) -> String {
    let prompt_words: Vec<&str> = prompt.split_whitespace().collect();
    let asked = prompt_words.windows(2).find_map(|pair| {
        let count = pair[0].parse::<usize>().ok()?;
        pair[1].trim_end_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case("words").then_some(count)
    });
    if let Some(count) = asked {
        let words = (1..=count.min(WORDS)).map(|n| format!("word-{n}"));
        return words.collect::<Vec<_>>().join(" ");
    }
    format!(
        "I am the scripted model of Turnpike, not a language model: no server is configured. To get real answers, set \
         TURNPIKE_LLM_URL to the base URL of an OpenAI-compatible server, for example http://127.0.0.1:11434/v1, and start \
         again. You wrote: {prompt}"
    )
}

/// The words of a text, each with the white space after it.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_space = false;
    for (at, c) in text.char_indices() {
        if in_space && !c.is_whitespace() {
            words.push(&text[start..at]);
            start = at;
        }
        in_space = c.is_whitespace();
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: Value) -> (String, &'static str) {
        let script = Script::chat(&request).expect("valid");
        (script.pieces.concat(), script.finish_reason)
    }

    fn user(text: &str) -> Value {
        json!({ "messages": [{ "role": "system", "content": "Be kind" }, { "role": "user", "content": text }] })
    }

    #[test]
    fn it_says_that_it_is_scripted_and_repeats_the_last_message() {
        let (text, reason) = answer(user("Hello  there 😀"));
        assert!(text.contains("scripted") && text.contains("TURNPIKE_LLM_URL"), "{text}");
        assert!(text.ends_with("You wrote: Hello  there 😀"), "{text}");
        assert_eq!(reason, "stop");
    }

    #[test]
    fn it_gives_as_many_words_as_it_is_asked_for() {
        assert_eq!(answer(user("Write 3 words, please")).0, "word-1 word-2 word-3");
        assert_eq!(words(&answer(user("5000 words")).0).len(), 5000);
    }

    #[test]
    fn limits_end_it_early() {
        let mut request = user("10 words");
        request["max_tokens"] = json!(2);
        assert_eq!(answer(request.clone()), ("word-1 word-2 ".to_owned(), "length"));
        request["max_tokens"] = json!(10);
        assert_eq!(answer(request.clone()).1, "stop");
        request["stop"] = json!(["nowhere", "-3"]);
        assert_eq!(answer(request), ("word-1 word-2 word".to_owned(), "stop"));
    }

    #[test]
    fn words_are_the_whole_text() {
        for text in ["", " ", "a", " a  b\n", "é 😀\u{a0}x"] {
            assert_eq!(words(text).concat(), text);
        }
    }
}
