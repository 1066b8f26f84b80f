//! Events of a conversation with a language model, on the topic `conversation:{conversation_id}`, and the requests to stop answers,
//! on the internal topic `answers`.

use serde::ser::SerializeMap;
use serde_json::json;
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::{ConversationId, MessageId};

/// An event of a conversation. The events of one answer have the same `message_id`: `Started`, `Delta`…, and one `Message` or
/// `Error`.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    /// The user's message is stored, and the model is asked.
    Started {
        /// The conversation.
        conversation_id: ConversationId,
        /// The answer.
        message_id: MessageId,
        /// The user's message that is answered.
        parent_id: MessageId,
        /// The user's message, unless it is answered again.
        user_message: Option<UserMessage>,
        /// The title that the conversation got from the message.
        title: Option<String>,
    },
    /// A piece of the answer, to be appended to the pieces before.
    Delta {
        /// The answer.
        message_id: MessageId,
        /// A piece of the text; can be empty.
        content: String,
        /// A piece of what a reasoning model writes before its answer; can be empty.
        reasoning_content: String,
    },
    /// The answer is complete, or a user stopped it.
    Message {
        /// The conversation.
        conversation_id: ConversationId,
        /// The answer.
        message_id: MessageId,
        /// The whole text.
        content: String,
        /// What a reasoning model wrote before it; can be empty.
        reasoning_content: String,
        /// As the model's server says; [`STOPPED`] if a user stopped the answer.
        finish_reason: String,
        /// The model that answered.
        model: String,
        /// The tokens.
        usage: AnswerUsage,
        /// The durations.
        timing: AnswerTiming,
    },
    /// The answer failed. The text so far is stored.
    Error {
        /// The conversation.
        conversation_id: ConversationId,
        /// The answer.
        message_id: MessageId,
        /// A stable upper-snake word.
        error_code: String,
        /// A sentence for people.
        error_message: String,
    },
    /// The conversation has these values now.
    Changed {
        /// The conversation.
        conversation_id: ConversationId,
        /// Its title.
        title: String,
        /// It is listed before the others.
        pinned: bool,
        /// The newest message of the shown path.
        leaf_message_id: Option<MessageId>,
    },
    /// The conversation was deleted. The final event of its topic.
    Deleted {
        /// The conversation.
        conversation_id: ConversationId,
    },
    /// A user asked to stop an answer. Internal.
    StopRequested {
        /// The answer.
        message_id: MessageId,
    },
}

/// The `finish_reason` of an answer that a user stopped.
pub const STOPPED: &str = "stopped";

/// A user's message that has just been stored.
#[derive(Clone, Debug, PartialEq)]
pub struct UserMessage {
    /// The message before it.
    pub parent_id: Option<MessageId>,
    /// Its text; not empty.
    pub content: String,
}

/// The tokens of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerUsage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of the answer.
    pub completion_tokens: u64,
    /// The model's server did not count; the numbers are estimates.
    pub estimated: bool,
}

/// How long an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerTiming {
    /// From the request to the first piece, in milliseconds.
    pub first_token_ms: u64,
    /// From the request to the end, in milliseconds.
    pub total_ms: u64,
}

impl ChatEvent {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Delta { .. } => "delta",
            Self::Message { .. } => "message",
            Self::Error { .. } => "error",
            Self::Changed { .. } => "conversation",
            Self::Deleted { .. } => "conversation_deleted",
            Self::StopRequested { .. } => "stop_requested",
        }
    }

    /// The answer that this is an event of; `None` for an event of the conversation itself.
    pub const fn message_id(&self) -> Option<MessageId> {
        match self {
            Self::Started { message_id, .. }
            | Self::Delta { message_id, .. }
            | Self::Message { message_id, .. }
            | Self::Error { message_id, .. }
            | Self::StopRequested { message_id } => Some(*message_id),
            Self::Changed { .. } | Self::Deleted { .. } => None,
        }
    }

    /// The last event of its answer.
    pub const fn ends_answer(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Error { .. })
    }

    pub(crate) fn to_pb(&self) -> Body {
        match self {
            Self::Started { conversation_id, message_id, parent_id, user_message, title } => {
                let parent_parent_id = user_message.as_ref().and_then(|message| message.parent_id);
                Body::AnswerStarted(pb::AnswerStarted {
                    conversation_id: conversation_id.to_string(),
                    message_id: message_id.to_string(),
                    parent_id: parent_id.to_string(),
                    parent_content: user_message.as_ref().map(|message| message.content.clone()).unwrap_or_default(),
                    parent_parent_id: optional(parent_parent_id),
                    title: title.clone().unwrap_or_default(),
                })
            }
            Self::Delta { message_id, content, reasoning_content } => Body::AnswerDelta(pb::AnswerDelta {
                message_id: message_id.to_string(),
                content: content.clone(),
                reasoning_content: reasoning_content.clone(),
            }),
            Self::Message {
                conversation_id,
                message_id,
                content,
                reasoning_content,
                finish_reason,
                model,
                usage,
                timing,
            } => Body::AnswerMessage(pb::AnswerMessage {
                conversation_id: conversation_id.to_string(),
                message_id: message_id.to_string(),
                content: content.clone(),
                reasoning_content: reasoning_content.clone(),
                finish_reason: finish_reason.clone(),
                model: model.clone(),
                usage: Some(pb::AnswerUsage {
                    prompt_tokens: usage.prompt_tokens,
                    completion_tokens: usage.completion_tokens,
                    estimated: usage.estimated,
                }),
                timing: Some(pb::AnswerTiming { first_token_ms: timing.first_token_ms, total_ms: timing.total_ms }),
            }),
            Self::Error { conversation_id, message_id, error_code, error_message } => {
                Body::AnswerError(pb::AnswerError {
                    conversation_id: conversation_id.to_string(),
                    message_id: message_id.to_string(),
                    error_code: error_code.clone(),
                    error_message: error_message.clone(),
                })
            }
            Self::Changed { conversation_id, title, pinned, leaf_message_id } => {
                Body::ConversationChanged(pb::ConversationChanged {
                    conversation_id: conversation_id.to_string(),
                    title: title.clone(),
                    pinned: *pinned,
                    leaf_message_id: optional(*leaf_message_id),
                })
            }
            Self::Deleted { conversation_id } => {
                Body::ConversationDeleted(pb::ConversationDeleted { conversation_id: conversation_id.to_string() })
            }
            Self::StopRequested { message_id } => {
                Body::AnswerStopRequested(pb::AnswerStopRequested { message_id: message_id.to_string() })
            }
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body {
            Body::AnswerStarted(e) => Self::Started {
                conversation_id: e.conversation_id.parse().ok()?,
                message_id: e.message_id.parse().ok()?,
                parent_id: e.parent_id.parse().ok()?,
                user_message: match e.parent_content.as_str() {
                    "" => None,
                    text => {
                        Some(UserMessage { parent_id: parse_optional(&e.parent_parent_id)?, content: text.to_owned() })
                    }
                },
                title: Some(e.title.clone()).filter(|title| !title.is_empty()),
            },
            Body::AnswerDelta(e) => Self::Delta {
                message_id: e.message_id.parse().ok()?,
                content: e.content.clone(),
                reasoning_content: e.reasoning_content.clone(),
            },
            Body::AnswerMessage(e) => {
                let (usage, timing) = (e.usage.unwrap_or_default(), e.timing.unwrap_or_default());
                Self::Message {
                    conversation_id: e.conversation_id.parse().ok()?,
                    message_id: e.message_id.parse().ok()?,
                    content: e.content.clone(),
                    reasoning_content: e.reasoning_content.clone(),
                    finish_reason: e.finish_reason.clone(),
                    model: e.model.clone(),
                    usage: AnswerUsage {
                        prompt_tokens: usage.prompt_tokens,
                        completion_tokens: usage.completion_tokens,
                        estimated: usage.estimated,
                    },
                    timing: AnswerTiming { first_token_ms: timing.first_token_ms, total_ms: timing.total_ms },
                }
            }
            Body::AnswerError(e) => Self::Error {
                conversation_id: e.conversation_id.parse().ok()?,
                message_id: e.message_id.parse().ok()?,
                error_code: e.error_code.clone(),
                error_message: e.error_message.clone(),
            },
            Body::ConversationChanged(e) => Self::Changed {
                conversation_id: e.conversation_id.parse().ok()?,
                title: e.title.clone(),
                pinned: e.pinned,
                leaf_message_id: parse_optional(&e.leaf_message_id)?,
            },
            Body::ConversationDeleted(e) => Self::Deleted { conversation_id: e.conversation_id.parse().ok()? },
            Body::AnswerStopRequested(e) => Self::StopRequested { message_id: e.message_id.parse().ok()? },
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Started { conversation_id, message_id, parent_id, user_message, title } => {
                frame.serialize_entry("conversation_id", conversation_id)?;
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("parent_id", parent_id)?;
                if let Some(UserMessage { parent_id: before, content }) = user_message {
                    let message = json!({ "id": parent_id, "parent_id": before, "role": "user", "content": content });
                    frame.serialize_entry("user_message", &message)?;
                }
                unless_empty(frame, "title", title.as_deref().unwrap_or_default())
            }
            Self::Delta { message_id, content, reasoning_content } => {
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("content", content)?;
                unless_empty(frame, "reasoning_content", reasoning_content)
            }
            Self::Message {
                conversation_id,
                message_id,
                content,
                reasoning_content,
                finish_reason,
                model,
                usage,
                timing,
            } => {
                frame.serialize_entry("conversation_id", conversation_id)?;
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("role", "assistant")?;
                frame.serialize_entry("content", content)?;
                unless_empty(frame, "reasoning_content", reasoning_content)?;
                frame.serialize_entry("finish_reason", finish_reason)?;
                frame.serialize_entry("model", model)?;
                let total = usage.prompt_tokens.saturating_add(usage.completion_tokens);
                let usage = json!({
                    "prompt_tokens": usage.prompt_tokens,
                    "completion_tokens": usage.completion_tokens,
                    "total_tokens": total,
                    "estimated": usage.estimated,
                });
                frame.serialize_entry("usage", &usage)?;
                let timing = json!({ "first_token_ms": timing.first_token_ms, "total_ms": timing.total_ms });
                frame.serialize_entry("timing", &timing)
            }
            Self::Error { conversation_id, message_id, error_code, error_message } => {
                frame.serialize_entry("conversation_id", conversation_id)?;
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("error_code", error_code)?;
                frame.serialize_entry("error_message", error_message)
            }
            Self::Changed { conversation_id, title, pinned, leaf_message_id } => {
                frame.serialize_entry("conversation_id", conversation_id)?;
                frame.serialize_entry("title", title)?;
                frame.serialize_entry("pinned", pinned)?;
                frame.serialize_entry("leaf_message_id", leaf_message_id)
            }
            Self::Deleted { conversation_id } => frame.serialize_entry("conversation_id", conversation_id),
            Self::StopRequested { message_id } => frame.serialize_entry("message_id", message_id),
        }
    }
}

fn unless_empty<M: SerializeMap>(frame: &mut M, name: &'static str, text: &str) -> Result<(), M::Error> {
    if text.is_empty() { Ok(()) } else { frame.serialize_entry(name, text) }
}

fn optional(id: Option<MessageId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// The outer `None`: not an id.
fn parse_optional(text: &str) -> Option<Option<MessageId>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
pub(crate) mod tests;
