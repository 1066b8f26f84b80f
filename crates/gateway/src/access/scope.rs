//! For what an API key may be used. Each family of routes names what it requires; a route that names nothing refuses API keys.

use turnpike_fault::{Fault, Kind};
use turnpike_token::{Claims, Scope};
use turnpike_topic::Topic;

/// The API keys that a route admits. A family adds it to its routes as an `axum::Extension`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiKeys {
    /// All of them: the route shows only the caller's account, or checks the scope itself.
    Any,
    /// Keys of this scope, and of the scope `read` if the request changes nothing.
    Of(Scope),
}

/// Whether the caller may use a route. `None`: the route names no API keys. `reads`: the request changes nothing.
pub(crate) fn admit(claims: &Claims, route: Option<ApiKeys>, reads: bool) -> Result<(), Fault> {
    let Some(key) = &claims.api_key else { return Ok(()) };
    match route {
        None => {
            Err(Fault::new(Kind::Forbidden, "This route does not accept API keys; sign in")
                .code_is("API_KEY_NOT_ALLOWED"))
        }
        Some(ApiKeys::Any) => Ok(()),
        Some(ApiKeys::Of(needed)) if key.scopes.allow(needed, reads) => Ok(()),
        Some(ApiKeys::Of(needed)) => {
            let read = if reads && needed.is_readable() { " or read" } else { "" };
            let detail = format!("The API key needs the scope {}{read}", needed.as_str());
            Err(Fault::new(Kind::Forbidden, detail).code_is("INSUFFICIENT_SCOPE"))
        }
    }
}

/// Whether the caller's API key, if it is one, may be used to follow a topic. Its owner decides about the caller.
pub(crate) fn may_follow(claims: &Claims, topic: Topic) -> Result<(), Fault> {
    let needed = match topic {
        Topic::Response(_) | Topic::Vehicle(_) => Scope::Vehicles,
        Topic::Conversation(_) | Topic::Room(_) => Scope::Chat,
        Topic::Captions(_) => Scope::Captions,
        Topic::User(_) => Scope::Read,
        Topic::Sessions | Topic::Answers | Topic::Gateways => Scope::All,
    };
    admit(claims, Some(ApiKeys::Of(needed)), true)
}
