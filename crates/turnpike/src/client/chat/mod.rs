//! `chat`: asks a language model and prints its answer as it arrives.

mod answer;
mod events;
mod input;

use std::{io::Write, pin::pin};

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use self::{
    answer::{Answer, Question},
    input::Input,
};
use super::api::Api;
use crate::cli;

/// Asks the prompt, or each line that is typed. Returns whether the answer to the prompt ended by itself; whoever types has seen it.
#[expect(clippy::print_stderr, reason = "a command that prints")]
pub(crate) async fn ask(mut api: Api, chat: cli::Chat) -> anyhow::Result<bool> {
    let mut input = Input::new(chat.prompt)?;
    let mut conversation = chat.conversation;
    let mut complete = true;
    let typed = matches!(input, Input::Lines { .. });
    while let Some(content) = input.next().await? {
        let id = match &conversation {
            Some(id) => id.clone(),
            None => {
                let new = api.call(Method::POST, "/api/chat/conversations", Some(&json!({}))).await?;
                let id = new["id"].as_str().context("the gateway's answer has no conversation id")?.to_owned();
                eprintln!("conversation {id}");
                conversation.insert(id).clone()
            }
        };
        let question = Question { conversation: id, content, model: chat.model.clone() };
        complete = answered(api.clone(), question).await? || typed;
    }
    Ok(complete)
}

/// Prints the answer to one question. The first Ctrl C stops the answer at the server, the second one ends the program.
async fn answered(mut api: Api, question: Question) -> anyhow::Result<bool> {
    let path = format!("/api/chat/conversations/{}/stop", question.conversation);
    let answer = Answer::new(api.clone(), question);
    let mut printing = pin!(answer.print());
    tokio::select! {
        complete = &mut printing => return complete,
        pressed = tokio::signal::ctrl_c() => pressed.context("Ctrl C cannot be awaited")?,
    }
    // The answer arrives meanwhile, up to its end.
    let stop = async {
        api.call(Method::POST, &path, None).await.context("the answer could not be stopped")?;
        anyhow::Ok(())
    };
    let rest = async { tokio::try_join!(stop, &mut printing) };
    tokio::select! {
        ended = rest => ended.map(|((), _)| false),
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| false).context("Ctrl C cannot be awaited"),
    }
}

/// `list`, `show` and `search`.
pub(crate) async fn show(mut api: Api, action: cli::ChatAction) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match action {
        cli::ChatAction::List { .. } => {
            let list = api.call(Method::GET, "/api/chat/conversations?limit=100", None).await?;
            for conversation in list.as_array().into_iter().flatten() {
                let [id, at, title] = ["id", "updated_at", "title"].map(|field| text(&conversation[field]));
                writeln!(out, "{id}  {}  {}", at.get(..16).unwrap_or(&at), lines(&title))?;
            }
        }
        cli::ChatAction::Show { id, .. } => {
            let path = format!("/api/chat/conversations/{}", segment(&id));
            let found = api.call(Method::GET, &path, None).await?;
            writeln!(out, "{}", text(&found["conversation"]["title"]))?;
            for message in found["messages"].as_array().into_iter().flatten() {
                writeln!(out, "\n{}: {}", text(&message["role"]), text(&message["content"]))?;
            }
        }
        cli::ChatAction::Search { words, .. } => {
            let path = format!("/api/chat/search?q={}", segment(&words));
            let found = api.call(Method::GET, &path, None).await?;
            for result in found["results"].as_array().into_iter().flatten() {
                let [id, title] = ["conversation_id", "conversation_title"].map(|field| text(&result[field]));
                writeln!(out, "{id}  {}\n    {}", lines(&title), lines(&text(&result["message_snippet"])))?;
            }
        }
    }
    Ok(())
}

/// Text as a part of a path or a query.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_in_an_address() {
        assert_eq!(segment("a b/ü?&"), "a%20b%2F%C3%BC%3F%26");
    }
}
