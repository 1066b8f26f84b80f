//! `captions`: sends audio to a caption session, prints what is heard, and writes the subtitles.

mod link;
mod replay;
mod screen;
mod source;

use std::{fs, path::Path};

use anyhow::Context;
use reqwest::Method;
use serde_json::json;

use self::{link::Link, screen::Screen};
use super::api::Api;
use crate::cli;

pub(crate) use source::Source;

/// Returns whether all of the audio was transcribed.
#[expect(clippy::print_stderr, reason = "a command that prints")]
pub(crate) async fn print(mut api: Api, source: Source, args: cli::Captions) -> anyhow::Result<bool> {
    let mut body = json!({ "audio": { "encoding": "pcm_s16le", "sample_rate": source.rate } });
    for (name, value) in [("language", &args.language), ("engine", &args.engine)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let opened = api.call(Method::POST, "/api/captions/sessions", Some(&body)).await?;
    let id = opened["session_id"].as_str().context("the gateway's answer has no session id")?.to_owned();
    eprintln!("session {id}");
    let screen = Screen::new(source.total.map(|total| (total, source.rate)));
    let ended = Link::new(api.clone(), &id, source, screen).run().await?;
    for (file, name) in [(&args.vtt, "captions.vtt"), (&args.srt, "captions.srt"), (&args.json, "captions.json")] {
        if let Some(file) = file {
            let text = api.text(&format!("/api/captions/sessions/{id}/{name}")).await?;
            write(file, &text).with_context(|| format!("{} cannot be written", file.display()))?;
        }
    }
    if let Some(reason) = &ended.failure {
        eprintln!("turnpike: the session has ended early: {reason}");
    }
    Ok(ended.failure.is_none() && !ended.interrupted)
}

/// Writes a file. A reader sees the old file or the whole new one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)
}
