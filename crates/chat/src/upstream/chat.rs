//! A conversation's request to the model, and its answer in pieces.

use std::{collections::VecDeque, future::poll_fn};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::upstream::{
    Endpoint, UpstreamError, Upstreams, attempt::Answer, chunk::Chunk, error::FAILED, request::Call,
    stream::EventStream,
};

/// What the model is asked.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    /// `None`: the configured model.
    pub model: Option<String>,
    pub messages: Vec<ChatMessage>,
    pub temperature: Option<f64>,
    pub max_tokens: Option<u32>,
    /// The form of the answer, as OpenAI's `response_format`. A server may ignore it.
    pub response_format: Option<Value>,
}

/// A message of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    pub role: ChatRole,
    pub content: String,
}

impl ChatMessage {
    /// A message that is data and no instruction: JSON between two lines. Without `<` the data cannot contain the line that ends it.
    pub fn data(data: &Value) -> Self {
        let data = data.to_string().replace('<', "\\u003c").replace('>', "\\u003e");
        Self { role: ChatRole::User, content: format!("<data>\n{data}\n</data>") }
    }
}

/// The author of a message of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    System,
    User,
    Assistant,
}

impl ChatRole {
    const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// To be appended to the pieces before; one of both can be empty.
    Text { content: String, reasoning_content: String },
    /// Why the model stopped: `stop`, `length`, `tool_calls`…
    Finish { reason: String },
    /// As the server counted.
    Usage { prompt_tokens: u64, completion_tokens: u64 },
}

/// An answer in pieces: texts, then why the model stopped, and the usage if the server counted. Dropping it closes the connection.
#[derive(Debug)]
pub struct ChatStream {
    model: String,
    events: EventStream,
    pieces: VecDeque<Piece>,
    finish: Option<String>,
    is_over: bool,
}

impl Upstreams {
    /// Asks the model. Returns once the first piece of the answer is there; until then other servers are tried.
    pub async fn chat(&self, request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        let named = request.model.clone().or_else(|| self.0.model.clone()).unwrap_or_default();
        let call = Call::parse(Endpoint::ChatCompletions, to_body(request)).map_err(|_| UpstreamError::new(FAILED))?;
        match self.open(&call).await.map_err(|failure| failure.to_error())? {
            Answer::Stream(events) => {
                let (pieces, finish) = (VecDeque::new(), None);
                let mut stream = ChatStream { model: named, events: *events, pieces, finish, is_over: false };
                stream.model = stream.events.model().map_or(stream.model, str::to_owned);
                Ok(stream)
            }
            Answer::Whole(_) => Err(UpstreamError::new(FAILED)), // it was asked for a stream
        }
    }
}

impl ChatStream {
    /// The model that answers, as its server says.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The next piece; `None` after the last one. No piece is lost if the future is dropped. After an error there is no more.
    pub async fn next(&mut self) -> Option<Result<Piece, UpstreamError>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some(Ok(piece));
            }
            if self.is_over {
                return None;
            }
            match poll_fn(|cx| self.events.poll_next(cx)).await {
                Some(Ok((_, chunk))) => self.take(*chunk),
                Some(Err(broken)) => {
                    self.is_over = true;
                    return Some(Err(broken.error));
                }
                None => self.is_over = true,
            }
        }
    }

    fn take(&mut self, chunk: Chunk) {
        if !chunk.text.is_empty() || !chunk.reasoning.is_empty() {
            self.pieces.push_back(Piece::Text { content: chunk.text, reasoning_content: chunk.reasoning });
        }
        if let (Some(reason), None) = (chunk.finish_reason, &self.finish) {
            self.finish = Some(reason.clone());
            self.pieces.push_back(Piece::Finish { reason });
        }
        if let Some(usage) = chunk.usage {
            let (prompt_tokens, completion_tokens) = (usage.prompt, usage.completion);
            self.pieces.push_back(Piece::Usage { prompt_tokens, completion_tokens });
        }
    }
}

fn to_body(request: ChatRequest) -> Bytes {
    let message = |message: ChatMessage| json!({ "role": message.role.as_str(), "content": message.content });
    let mut body = Map::new();
    body.extend(request.model.map(|model| ("model".to_owned(), Value::from(model))));
    body.insert("messages".to_owned(), request.messages.into_iter().map(message).collect());
    body.insert("stream".to_owned(), Value::from(true));
    body.extend(request.temperature.map(|temperature| ("temperature".to_owned(), Value::from(temperature))));
    body.extend(request.max_tokens.map(|tokens| ("max_tokens".to_owned(), Value::from(tokens))));
    body.extend(request.response_format.map(|format| ("response_format".to_owned(), format)));
    Value::from(body).to_string().into()
}

#[cfg(test)]
mod tests {
    use turnpike_kit::{Clock, Environment, Process};

    use super::*;
    use crate::Config;

    async fn ask(content: &str) -> Result<(String, Vec<Piece>), UpstreamError> {
        let env = Environment::new([("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "0")]).expect("known names");
        let process = Process::new(env, Clock::system()).expect("a process");
        let models = Config::new(&process.env).expect("valid").models;
        let upstreams = Upstreams::new(&models, &process).expect("no address");
        let message = ChatMessage { role: ChatRole::User, content: content.to_owned() };
        let mut stream = upstreams.chat(ChatRequest { messages: vec![message], ..ChatRequest::default() }).await?;
        let (mut text, mut others) = (String::new(), Vec::new());
        while let Some(piece) = stream.next().await {
            match piece? {
                Piece::Text { content, .. } => text.push_str(&content),
                other => others.push(other),
            }
        }
        assert_eq!(stream.model(), "turnpike-scripted");
        Ok((text, others))
    }

    #[tokio::test]
    async fn the_scripted_model_answers_in_pieces() {
        let (text, others) = ask("3 words").await.expect("an answer");
        assert_eq!(text, "word-1 word-2 word-3");
        let finish = Piece::Finish { reason: "stop".to_owned() };
        assert_eq!(others, [finish, Piece::Usage { prompt_tokens: 2, completion_tokens: 3 }]);
    }
}
