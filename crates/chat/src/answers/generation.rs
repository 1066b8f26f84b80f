//! One answer that is generated: the model is asked, its pieces are published, and the end is stored and published. It does not
//! depend on its callers.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use turnpike_event::{AnswerTiming, AnswerUsage, ChatEvent};
use turnpike_kit::Retry;
use turnpike_topic::{Offset, Topic};

use super::{
    Resources, context,
    delta::Pieces,
    ending::{End, Ended, How},
    leases::{self, Renewed},
    log::Source,
    publisher::{Progress, Publisher},
    renewal::{self, Renewal},
    submit::Open,
    titles,
};
use crate::{
    upstream::{ChatMessage, ChatRequest, ChatStream, Piece, UpstreamError, estimate_tokens},
    usage::Spent,
};

/// The longest answer, content and reasoning, in bytes: with its other fields it fits into one event. A longer one ends with the
/// reason `length`.
const MAX_ANSWER_BYTES: usize = 512 << 10;
/// How long an answer may go on after the process was asked to stop.
const STOPPING: Duration = Duration::from_secs(10);

pub(super) struct Generation {
    resources: Resources,
    open: Open,
    stop: CancellationToken,
    publisher: Publisher,
    content: String,
    reasoning_content: String,
    pieces: Pieces,
    began: Instant,
    first_token: Option<Duration>,
    finish_reason: Option<String>,
    usage: Option<AnswerUsage>,
    model: String,
    prompt: Vec<ChatMessage>,
    started: Option<Offset>,
    renewal: Renewal,
}

/// Where the pieces come from.
enum Upstream {
    Opening(BoxFuture<'static, Result<ChatStream, UpstreamError>>),
    Streaming(Box<ChatStream>),
}

/// What comes from the upstream.
enum Step {
    /// The model answers.
    Opened { model: String },
    /// `None`: the answer is complete.
    Piece(Option<Result<Piece, UpstreamError>>),
}

/// Why generation stops without an end of its own.
enum Halt {
    /// Another instance has the answer now.
    Lost,
    Deleted,
}

impl Generation {
    pub(super) fn new(resources: Resources, open: Open, stop: CancellationToken) -> Self {
        let topic = Topic::Conversation(open.conversation_id);
        let publisher = Publisher::new(resources.bus.clone(), resources.clock.clone(), topic);
        let now = Instant::now();
        let renewal = Renewal::new(&resources, &open);
        Self {
            model: open.model.clone(),
            resources,
            open,
            stop,
            publisher,
            content: String::new(),
            reasoning_content: String::new(),
            pieces: Pieces::default(),
            began: now,
            first_token: None,
            finish_reason: None,
            usage: None,
            prompt: Vec::new(),
            started: None,
            renewal,
        }
    }

    /// The events, for callers.
    pub(super) fn source(&self) -> Source {
        self.publisher.source()
    }

    pub(super) async fn run(mut self) {
        let Open { conversation_id, message_id, parent_id, fence, .. } = self.open;
        let now = self.resources.clock.now();
        let (user_message, title) = (self.open.user_message.clone(), self.open.title.clone());
        let started = ChatEvent::Started { conversation_id, message_id, parent_id, user_message, title };
        self.publisher.push(started, now);
        let how = match self.generate().await {
            Ok(how) => how,
            Err(halt) => return self.halt(&halt),
        };
        let ended = match self.end(how).await {
            Ok(ended) => ended,
            Err(halt) => return self.halt(&halt),
        };
        self.publisher.push(ended.event(), self.resources.clock.now());
        let stopping = self.resources.tasks.stopping().clone();
        while !self.publisher.is_idle() {
            let detached = self.publisher.is_detached();
            tokio::select! {
                progress = self.publisher.drive() => if progress == Progress::Closed {
                    return self.halt(&Halt::Deleted);
                },
                // Another instance, or the next run of this one, publishes the last event.
                () = stopping.cancelled(), if detached => {
                    if let Err(error) = leases::release(&self.resources.store, message_id, fence).await {
                        debug!(%error, message = %message_id, "a lease ends by itself");
                    }
                    return;
                }
                step = self.renewal.next(true) => match step {
                    renewal::Step::Due => self.renewal.begin("", "", None),
                    renewal::Step::Written(Some(Renewed::Lost)) => return self.halt(&Halt::Lost),
                    renewal::Step::Written(Some(Renewed::Deleted)) => return self.halt(&Halt::Deleted),
                    renewal::Step::Written(_) | renewal::Step::Overdue => {}
                },
            }
        }
        if let Err(error) = leases::close(&self.resources.store, message_id, fence).await {
            debug!(%error, message = %message_id, "an ended answer is closed later");
        }
        let model = if self.open.model.is_empty() { None } else { Some(self.open.model.clone()) };
        if let (Some(_), How::Complete(_)) = (&self.open.title, &ended.how) {
            titles::suggest(&self.resources, conversation_id, model, &self.open, &ended.content);
        }
    }

    /// Asks the model and publishes what it says, until it ends.
    async fn generate(&mut self) -> Result<How, Halt> {
        let resources = self.resources.clone();
        let context_tokens = resources.models.context_tokens;
        let prompt =
            context::build(&resources.store, &self.open.system_prompt, self.open.parent_id, context_tokens).await;
        self.prompt = match prompt {
            Ok(prompt) => prompt,
            Err(error) => {
                warn!(%error, message = %self.open.message_id, "the messages of a conversation cannot be read");
                return Ok(failed("UNAVAILABLE", "The conversation could not be read; try again"));
            }
        };
        let request = ChatRequest {
            model: (!self.open.model.is_empty()).then(|| self.open.model.clone()),
            messages: self.prompt.clone(),
            temperature: self.open.temperature,
            max_tokens: None,
            response_format: None,
        };
        let upstreams = resources.upstreams.clone();
        let mut upstream = Upstream::Opening(Box::pin(async move { upstreams.chat(request).await }));
        self.began = Instant::now();
        let stopping = resources.tasks.stopping().clone();
        let must_stop = async {
            stopping.cancelled().await;
            resources.clock.sleep(STOPPING).await;
        };
        tokio::pin!(must_stop);
        loop {
            let due = self.pieces.due(Instant::now());
            let held = self.publisher.is_held();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.flush();
                    return Ok(How::Stopped);
                }
                progress = self.publisher.drive() => match progress {
                    Progress::Published(offset) if self.started.is_none() => {
                        self.started = Some(offset);
                        self.renewal.hurry(); // a takeover reads the topic from this offset
                    }
                    Progress::Published(_) => {}
                    Progress::Closed => return Err(Halt::Deleted),
                },
                step = self.renewal.next(held) => match step {
                    renewal::Step::Due => self.renewal.begin(&self.content, &self.reasoning_content, self.started),
                    renewal::Step::Overdue => self.publisher.hold(true),
                    renewal::Step::Written(None) => {}
                    renewal::Step::Written(Some(Renewed::Held)) => self.publisher.hold(false),
                    renewal::Step::Written(Some(Renewed::StopAsked)) => self.stop.cancel(),
                    renewal::Step::Written(Some(Renewed::Lost)) => return Err(Halt::Lost),
                    renewal::Step::Written(Some(Renewed::Deleted)) => return Err(Halt::Deleted),
                },
                () = sleep_until(due.unwrap_or(self.began)), if due.is_some() => self.flush(),
                step = next(&mut upstream) => match self.take(step) {
                    None => {}
                    Some(how) => {
                        self.flush();
                        return Ok(how);
                    }
                },
                () = &mut must_stop => {
                    self.flush();
                    return Ok(How::Interrupted);
                }
            }
        }
    }

    /// Takes a piece; returns how the answer has ended, if it has.
    fn take(&mut self, step: Step) -> Option<How> {
        let piece = match step {
            Step::Opened { model } => {
                self.model = model;
                return None;
            }
            Step::Piece(piece) => piece,
        };
        match piece {
            Some(Ok(Piece::Text { content, reasoning_content })) => {
                self.first_token.get_or_insert(self.began.elapsed());
                self.content.push_str(&content);
                self.reasoning_content.push_str(&reasoning_content);
                self.pieces.push(&content, &reasoning_content);
                (self.content.len() + self.reasoning_content.len() > MAX_ANSWER_BYTES)
                    .then(|| How::Complete("length".to_owned()))
            }
            Some(Ok(Piece::Finish { reason })) => {
                self.finish_reason = Some(reason);
                None
            }
            Some(Ok(Piece::Usage { prompt_tokens, completion_tokens })) => {
                self.usage = Some(AnswerUsage { prompt_tokens, completion_tokens, estimated: false });
                None
            }
            Some(Err(error)) => Some(failed(error.code, &error.message)),
            None => Some(How::Complete(self.finish_reason.take().unwrap_or_else(|| "stop".to_owned()))),
        }
    }

    /// Publishes the pieces so far.
    fn flush(&mut self) {
        if self.pieces.due(Instant::now()).is_some() {
            let (content, reasoning_content) = self.pieces.take(Instant::now());
            let message_id = self.open.message_id;
            self.publisher
                .push(ChatEvent::Delta { message_id, content, reasoning_content }, self.resources.clock.now());
        }
    }

    /// Stores the end. Tries again while the database is away.
    async fn end(&mut self, how: How) -> Result<Ended, Halt> {
        let usage = self.usage.unwrap_or_else(|| AnswerUsage {
            prompt_tokens: self.prompt.iter().map(|message| estimate_tokens(&message.content)).sum(),
            completion_tokens: estimate_tokens(&self.content) + estimate_tokens(&self.reasoning_content),
            estimated: true,
        });
        let total = self.began.elapsed();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let timing =
            AnswerTiming { first_token_ms: millis(self.first_token.unwrap_or(total)), total_ms: millis(total) };
        let Open { conversation_id, message_id, user_id, fence, .. } = self.open;
        let ended = Ended {
            conversation_id,
            message_id,
            how,
            content: std::mem::take(&mut self.content),
            reasoning_content: std::mem::take(&mut self.reasoning_content),
            model: std::mem::take(&mut self.model),
            usage,
            timing,
        };
        info!(message = %message_id, state = ended.how.state(), ?usage, total_ms = timing.total_ms, "answer ended");
        metrics::counter!("turnpike_answers_total", "state" => ended.how.state()).increment(1);
        let spent = Spent {
            user_id,
            api_key_id: (!self.open.api_key_id.is_empty()).then(|| self.open.api_key_id.clone()),
            model: ended.model.clone(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            estimated: usage.estimated,
        };
        let mut retry = Retry::default();
        loop {
            let now = self.resources.clock.now();
            let write = End { ended: ended.clone(), fence, spent: spent.clone(), now };
            let stored = async { self.resources.store.write(write).await };
            tokio::pin!(stored);
            let stored = loop {
                tokio::select! {
                    stored = &mut stored => break stored,
                    // The pieces before go on to the topic meanwhile.
                    progress = self.publisher.drive() => if progress == Progress::Closed {
                        return Err(Halt::Deleted);
                    },
                }
            };
            match stored {
                Ok(Renewed::Held | Renewed::StopAsked) => return Ok(ended),
                Ok(Renewed::Lost) => return Err(Halt::Lost),
                Ok(Renewed::Deleted) => return Err(Halt::Deleted),
                Err(error) => {
                    retry.pause(&self.resources.clock, "the end of an answer cannot be stored yet", error).await;
                }
            }
        }
    }

    fn halt(mut self, halt: &Halt) {
        let Open { conversation_id, message_id, .. } = self.open;
        match halt {
            Halt::Lost => warn!(message = %message_id, "another instance has taken the answer over"),
            Halt::Deleted => {
                info!(message = %message_id, "the answer ended because its conversation was deleted");
                let (error_code, error_message) =
                    ("CONVERSATION_DELETED".to_owned(), "The conversation was deleted".to_owned());
                self.publisher.tell_callers(
                    ChatEvent::Error { conversation_id, message_id, error_code, error_message },
                    self.resources.clock.now(),
                );
            }
        }
    }
}

/// The next step. Cancel-safe.
async fn next(upstream: &mut Upstream) -> Step {
    match upstream {
        Upstream::Streaming(stream) => Step::Piece(stream.next().await),
        Upstream::Opening(opening) => match opening.await {
            Err(error) => Step::Piece(Some(Err(error))),
            Ok(stream) => {
                let model = stream.model().to_owned();
                *upstream = Upstream::Streaming(Box::new(stream));
                Step::Opened { model }
            }
        },
    }
}

fn failed(code: &str, message: &str) -> How {
    How::Failed { code: code.to_owned(), message: message.to_owned() }
}
