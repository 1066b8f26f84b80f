//! The conversations of all users, one a line (NDJSON). Documents are passed on in the parts in which they arrive, so that the size
//! of the export costs no memory.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::json;
use tracing::warn;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::UserId;
use utoipa::IntoParams;

use super::export::Format;
use crate::{
    access::caller::Admin,
    app::Chat,
    http::{
        Answer,
        extract::{Query, invalid, time},
        problem::ProblemBody,
    },
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportAll {
    /// Only conversations of this user.
    #[param(format = Uuid)]
    user_id: Option<String>,
    /// `json` if absent.
    #[param(inline)]
    format: Option<Format>,
    /// Changed at or after this time (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// Changed before this time.
    #[param(format = DateTime)]
    until: Option<String>,
}

/// Export the conversations of all users, one a line.
///
/// Each line is `{"conversation_id","user_id","document"}`; `document` is an object (`json`) or a text (`markdown`). The last line
/// is `{"complete":true}`: an export without it was interrupted.
#[utoipa::path(get, path = "/api/admin/conversations/export", tag = "admin", params(ExportAll),
    responses((status = 200, description = "One JSON object a line", content_type = "application/x-ndjson"),
        (status = 403, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn export_conversations(
    State(chat): State<Chat>,
    Admin(caller): Admin,
    Query(query): Query<ExportAll>,
) -> Answer<Response> {
    let format = query.format.unwrap_or_default();
    let user_id = match query.user_id {
        None => String::new(),
        Some(id) => {
            let id: Result<UserId, _> = id.parse();
            id.map_err(|_| invalid("The query is not valid", "user_id", "must be the id of a user"))?.to_string()
        }
    };
    let message = pb::ExportAllRequest {
        user_id,
        format: pb::ExportFormat::from(format).into(),
        since: time("since", query.since)?,
        until: time("until", query.until)?,
    };
    let parts = chat.conversations().export_all(caller.token.request(message)).await?.into_inner();
    let lines = stream::unfold((parts, Some(Lines::new(format))), async |(mut parts, lines)| {
        let mut lines = lines?;
        let (bytes, lines) = match parts.message().await {
            Ok(Some(part)) => (lines.take(&part), Some(lines)),
            Ok(None) => (lines.end(), None),
            Err(status) => {
                warn!(code = ?status.code(), "an export of all conversations was interrupted");
                return None;
            }
        };
        Some((Ok::<_, Infallible>(bytes), (parts, lines)))
    });
    let mut response = Response::new(Body::from_stream(lines.boxed()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Turns the parts of documents into lines.
struct Lines {
    format: Format,
    /// The conversation of the line that is not complete.
    conversation_id: Option<String>,
}

impl Lines {
    fn new(format: Format) -> Self {
        Self { format, conversation_id: None }
    }

    fn take(&mut self, part: &pb::ExportPart) -> Bytes {
        let mut bytes = Vec::with_capacity(part.data.len() + 128);
        if self.conversation_id.as_ref() != Some(&part.conversation_id) {
            self.finish(&mut bytes);
            let (conversation_id, user_id) = (json!(part.conversation_id), json!(part.user_id));
            let start = format!("{{\"conversation_id\":{conversation_id},\"user_id\":{user_id},\"document\":");
            bytes.extend_from_slice(start.as_bytes());
            if matches!(self.format, Format::Markdown) {
                bytes.push(b'"');
            }
            self.conversation_id = Some(part.conversation_id.clone());
        }
        match self.format {
            // A line break in JSON is always between two values, never within a text.
            Format::Json => {
                bytes.extend(part.data.iter().map(|byte| if *byte < 0x20 { b' ' } else { *byte }));
            }
            Format::Markdown => part.data.iter().for_each(|byte| escape(*byte, &mut bytes)),
        }
        bytes.into()
    }

    fn end(&mut self) -> Bytes {
        let mut bytes = Vec::new();
        self.finish(&mut bytes);
        bytes.extend_from_slice(b"{\"complete\":true}\n");
        bytes.into()
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) {
        if self.conversation_id.take().is_some() {
            bytes.extend_from_slice(match self.format {
                Format::Json => b"}\n",
                Format::Markdown => b"\"}\n",
            });
        }
    }
}

/// Writes a byte of a JSON string. The bytes of characters beyond ASCII stay as they are, so a part may end within one.
fn escape(byte: u8, bytes: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => bytes.extend([b'\\', byte]),
        b'\n' => bytes.extend(b"\\n"),
        0..0x20 => bytes.extend(format!("\\u{byte:04x}").as_bytes()),
        _ => bytes.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The lines of two documents, of which the first arrives in parts of one byte.
    fn lines(format: Format, first: &str, second: &str) -> Vec<Value> {
        let part = |id: &str, data: &[u8]| pb::ExportPart {
            conversation_id: id.to_owned(),
            user_id: "u".to_owned(),
            data: Bytes::copy_from_slice(data),
        };
        let mut lines = Lines::new(format);
        let mut bytes = Vec::new();
        for byte in first.as_bytes() {
            bytes.extend(lines.take(&part("a", &[*byte])));
        }
        bytes.extend(lines.take(&part("b", second.as_bytes())));
        bytes.extend(lines.end());
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
    }

    #[test]
    fn each_document_is_one_line_however_it_is_cut() {
        let text = "# Größe 🛣\n\n\"a\\b\"\t\u{1}\r\n";
        let [a, b, end] = lines(Format::Markdown, text, "x").try_into().expect("three lines");
        assert_eq!(a, json!({ "conversation_id": "a", "user_id": "u", "document": text }));
        assert_eq!((&b["document"], end), (&json!("x"), json!({ "complete": true })));
        let pretty = "{\n  \"title\": \"ü\\n\"\n}\n";
        let [a, b, _] = lines(Format::Json, pretty, "{}").try_into().expect("three lines");
        assert_eq!((&a["document"], &b["document"]), (&json!({ "title": "ü\n" }), &json!({})));
    }
}
