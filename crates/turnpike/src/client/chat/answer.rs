//! One answer, printed as it arrives. If the connection breaks, the client continues after the last offset on the conversation's
//! topic, or, if the topic does not have the events, with the stored message.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::events::Events;
use crate::client::{api::Api, frames::Frames, gateway::is_refusal};

pub(super) struct Question {
    pub(super) conversation: String,
    pub(super) content: String,
    pub(super) model: Option<String>,
}

pub(super) struct Answer {
    api: Api,
    question: Question,
    /// Requests with this key are one question.
    key: String,
    /// The answer, known from its first event.
    message_id: Option<String>,
    topic: String,
    /// The offset of the latest event. `None` also if an event had none: the topic cannot be continued then.
    last: Option<String>,
    printed: String,
}

/// Attempts to send the question, and to read the stored message. About a minute.
const MAX_ATTEMPTS: u32 = 15;

/// How an answer ended.
enum Ended {
    Complete,
    /// Stopped by a user, or interrupted.
    Early,
    Failed(String),
}

impl Answer {
    pub(super) fn new(api: Api, question: Question) -> Self {
        let (topic, printed) = Default::default();
        let key = Uuid::now_v7().to_string();
        Self { api, question, key, message_id: None, topic, last: None, printed }
    }

    /// Asks, and prints the answer up to its end. Returns whether it is complete.
    #[expect(clippy::print_stderr, reason = "a command that prints")]
    pub(super) async fn print(mut self) -> anyhow::Result<bool> {
        let ended = self.receive().await?;
        if !self.printed.ends_with('\n') && !self.printed.is_empty() {
            writeln!(io::stdout())?;
        }
        match ended {
            Ended::Complete => Ok(true),
            Ended::Early => Ok(false),
            Ended::Failed(message) => {
                eprintln!("turnpike: {message}");
                Ok(false)
            }
        }
    }

    async fn receive(&mut self) -> anyhow::Result<Ended> {
        // If the connection breaks before the first event, the question is sent again.
        for _ in 0..2 {
            let mut events = self.send().await?;
            while let Some(frame) = events.next().await? {
                if let Some(ended) = self.take(&frame)? {
                    return Ok(ended);
                }
            }
            if self.message_id.is_some() {
                break;
            }
        }
        if let Some(since) = self.last.clone() {
            let mut frames = Frames::open(self.api.clone(), self.topic.parse()?, since.parse()?)?;
            while let Some(frame) = frames.next().await? {
                if frame["event"] == "reset" {
                    break; // events were lost: the stored message has them
                }
                if let Some(ended) = self.take(&frame)? {
                    return Ok(ended);
                }
            }
        }
        self.read_stored().await
    }

    /// Sends the question, and tries again if the gateway cannot be reached.
    async fn send(&mut self) -> anyhow::Result<Events> {
        let path = format!("/api/chat/conversations/{}/messages", super::segment(&self.question.conversation));
        let mut body = json!({ "content": self.question.content });
        if let Some(model) = &self.question.model {
            body["model"] = model.as_str().into();
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.api.open(&path, &body, &self.key).await {
                Ok(response) => return Ok(Events::new(response)),
                Err(error) if attempt >= MAX_ATTEMPTS || is_refusal(&error) => return Err(error),
                Err(_) => sleep(Duration::from_millis(250 * u64::from(attempt)).min(Duration::from_secs(5))).await,
            }
        }
    }

    /// Prints what is new in a frame. Returns how the answer ended, if it did.
    fn take(&mut self, frame: &Value) -> anyhow::Result<Option<Ended>> {
        let text = |field: &str| frame[field].as_str().unwrap_or_default();
        let Some(id) = frame["message_id"].as_str() else { return Ok(None) };
        if *self.message_id.get_or_insert_with(|| id.to_owned()) != id {
            return Ok(None);
        }
        self.topic = text("topic").to_owned();
        self.last = frame["offset"].as_str().map(str::to_owned);
        match text("event") {
            "delta" => {
                self.write(text("content"))?;
                Ok(None)
            }
            "message" => {
                self.complete_with(text("content"))?;
                let stopped = text("finish_reason") == "stopped";
                Ok(Some(if stopped { Ended::Early } else { Ended::Complete }))
            }
            "error" => Ok(Some(Ended::Failed(text("error_message").to_owned()))),
            _ => Ok(None),
        }
    }

    /// Reads the message until it is no longer being generated.
    async fn read_stored(&mut self) -> anyhow::Result<Ended> {
        let Some(id) = self.message_id.clone() else { bail!("the connection broke before the answer began") };
        let path =
            format!("/api/chat/conversations/{}/messages?limit=100", super::segment(&self.question.conversation));
        for _ in 0..MAX_ATTEMPTS {
            let page = self.api.call(Method::GET, &path, None).await.context("the answer cannot be read")?;
            let message = page.as_array().into_iter().flatten().find(|message| message["id"] == *id);
            let message = message.context("the answer is not in the conversation any more")?;
            let text = |field: &str| message[field].as_str().unwrap_or_default();
            match text("state") {
                "generating" => sleep(Duration::from_secs(2)).await,
                state => {
                    self.complete_with(text("content"))?;
                    return Ok(match state {
                        "complete" => Ended::Complete,
                        "error" => Ended::Failed(text("error_message").to_owned()),
                        _ => Ended::Early,
                    });
                }
            }
        }
        bail!("the connection broke, and the end of the answer is not known yet; `turnpike chat show` prints it later")
    }

    /// Prints what is missing of the whole text.
    fn complete_with(&mut self, whole: &str) -> io::Result<()> {
        match whole.strip_prefix(self.printed.as_str()) {
            Some(missing) => self.write(missing),
            None => self.write(&format!("\n\n{whole}")),
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        self.printed.push_str(text);
        out.flush()
    }
}
