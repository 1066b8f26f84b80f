//! The formats of a document.

use std::fmt::Write;

use serde_json::json;

use crate::{
    conversations::Conversation,
    messages::{Message, Role, State},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `{"conversation":{…},"messages":[…]}`, as the gateway shows a conversation; one message a line.
    Json,
    Markdown,
}

impl Format {
    // Writing to a String never fails.

    pub(super) fn head(self, conversation: &Conversation, to: &mut String) {
        let Conversation { id, title, pinned, persona_id, system_prompt, created_at, updated_at, .. } = conversation;
        let _ = match self {
            Self::Json => {
                let conversation = json!({
                    "id": id, "title": title, "pinned": pinned, "persona_id": persona_id, "system_prompt": system_prompt,
                    "created_at": created_at.to_string(), "updated_at": updated_at.to_string(),
                });
                write!(to, "{{\"conversation\":{conversation},\n\"messages\":[")
            }
            Self::Markdown => {
                let prompt = if system_prompt.is_empty() { String::new() } else { quote(system_prompt) };
                write!(to, "# {title}\n\nCreated {created_at}, changed {updated_at}.\n{prompt}")
            }
        };
    }

    pub(super) fn message(self, message: &Message, is_first: bool, to: &mut String) {
        let _ = match self {
            Self::Json => write!(to, "{}\n{}", if is_first { "" } else { "," }, json(message)),
            Self::Markdown => {
                let who = match (message.role, message.model.as_str()) {
                    (Role::User, _) => "User".to_owned(),
                    (Role::Assistant, "") => "Assistant".to_owned(),
                    (Role::Assistant, model) => format!("Assistant ({model})"),
                };
                let reasoning = match message.reasoning_content.as_str() {
                    "" => String::new(),
                    text => quote(text),
                };
                let state = match message.state {
                    State::Complete => String::new(),
                    State::Generating => "\n\n*The answer is being generated.*".to_owned(),
                    State::Stopped => "\n\n*The answer was stopped.*".to_owned(),
                    State::Interrupted | State::Error => format!("\n\n*{}*", message.error_message),
                };
                let Message { content, created_at, .. } = message;
                writeln!(to, "\n## {who}, {created_at}\n{reasoning}\n{content}{state}")
            }
        };
    }

    pub(super) fn end(self, to: &mut String) {
        if self == Self::Json {
            to.push_str("\n]}\n");
        }
    }
}

/// A text as a block quote between empty lines.
fn quote(text: &str) -> String {
    text.lines().fold("\n".to_owned(), |quoted, line| quoted + "> " + line + "\n")
}

fn json(message: &Message) -> serde_json::Value {
    let mut value = json!({
        "id": message.id,
        "conversation_id": message.conversation_id,
        "parent_id": message.parent_id,
        "role": message.role.as_str(),
        "content": message.content,
        "state": message.state.as_str(),
        "version": message.version,
        "versions": message.versions,
        "created_at": message.created_at.to_string(),
    });
    let answer = [
        ("reasoning_content", &message.reasoning_content),
        ("model", &message.model),
        ("finish_reason", &message.finish_reason),
        ("error_code", &message.error_code),
        ("error_message", &message.error_message),
    ];
    for (name, text) in answer {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    }
    if message.role == Role::Assistant {
        value["usage"] = json!({
            "prompt_tokens": message.prompt_tokens,
            "completion_tokens": message.completion_tokens,
            "total_tokens": message.prompt_tokens.saturating_add(message.completion_tokens),
            "estimated": message.estimated,
        });
    }
    value
}
