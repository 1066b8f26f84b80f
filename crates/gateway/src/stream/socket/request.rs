//! The requests of a client on a socket, and how a text frame is parsed.

use serde::Deserialize;
use serde_json::Value;
use turnpike_topic::Topic;

use crate::stream::since::{InvalidSince, Since};

#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Subscribe { topic: Topic, since: Since },
    Unsubscribe { topic: Topic },
    Authenticate { token: String },
    Ping,
}

/// A frame that is not a valid request: a code for programs and a sentence for people.
#[derive(Debug, PartialEq)]
pub(super) struct Invalid {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// A client's frame. The response repeats the `id`, if the client sent one.
pub(super) struct Parsed {
    pub(super) id: Option<Value>,
    pub(super) request: Result<Request, Invalid>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "type")]
    action: Option<String>,
    topic: Option<String>,
    since: Option<String>,
    token: Option<String>,
}

impl Parsed {
    pub(super) fn new(text: &str) -> Self {
        let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
            return Self { id: None, request: invalid("INVALID_JSON", "A frame is a JSON object") };
        };
        // A client's id is a number or a short text. Any other value is not repeated.
        let id = object.remove("id").filter(|id| match id {
            Value::Number(_) => true,
            Value::String(text) => text.len() <= 64,
            _ => false,
        });
        let request = match serde_json::from_value::<Raw>(Value::Object(object)) {
            Ok(raw) => validate(raw),
            Err(_) => invalid("VALIDATION", "action, topic, since and token are texts"),
        };
        Self { id, request }
    }
}

fn validate(raw: Raw) -> Result<Request, Invalid> {
    let topic = || match raw.topic.as_deref() {
        None => invalid("VALIDATION", "topic is missing"),
        Some(text) => text.parse::<Topic>().or_else(|error| invalid("VALIDATION", format!("topic: {error}"))),
    };
    match raw.action.as_deref() {
        Some("subscribe") => {
            let topic = topic()?;
            let since = raw.since.as_deref().unwrap_or("start").parse();
            let since = since.or_else(|error: InvalidSince| invalid("VALIDATION", error.to_string()))?;
            Ok(Request::Subscribe { topic, since })
        }
        Some("unsubscribe") => Ok(Request::Unsubscribe { topic: topic()? }),
        Some("auth") => match raw.token {
            Some(token) => Ok(Request::Authenticate { token }),
            None => invalid("VALIDATION", "token is missing"),
        },
        Some("ping") => Ok(Request::Ping),
        Some(_) => invalid("UNKNOWN_MESSAGE_TYPE", "action is one of subscribe, unsubscribe, auth, ping"),
        None => invalid("UNKNOWN_MESSAGE_TYPE", "action is missing"),
    }
}

fn invalid<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { code, detail: detail.into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use turnpike_topic::Offset;

    use super::*;

    #[test]
    fn action_and_type_are_accepted_alike() {
        let topic = "user:01890000-0000-7000-8000-000000000000";
        let parsed: Topic = topic.parse().expect("a topic");
        for name in ["action", "type"] {
            let frame = json!({ name: "subscribe", "id": 1, "topic": topic, "since": "7-3" }).to_string();
            let since = Since::After(Offset { epoch: 7, n: 3 });
            let Parsed { id, request } = Parsed::new(&frame);
            assert_eq!((id, request), (Some(json!(1)), Ok(Request::Subscribe { topic: parsed, since })));
        }
        let Parsed { id, request } = Parsed::new(r#"{"action":"ping"}"#);
        assert_eq!((id, request), (None, Ok(Request::Ping)));
    }

    #[test]
    fn each_mistake_has_its_code() {
        let code = |frame: &str| Parsed::new(frame).request.expect_err(frame).code;
        assert_eq!(code("{"), "INVALID_JSON");
        assert_eq!(code("[]"), "INVALID_JSON");
        assert_eq!(code("{}"), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"action":"fly"}"#), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"action":"subscribe"}"#), "VALIDATION");
        assert_eq!(code(r#"{"action":"subscribe","topic":"x"}"#), "VALIDATION");
        assert_eq!(code(r#"{"action":7}"#), "VALIDATION");
    }
}
