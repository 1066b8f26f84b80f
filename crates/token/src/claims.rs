//! The claims of an access token.

use std::{fmt, num::NonZeroU32, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use turnpike_topic::{ApiKeyId, SessionId, UserId};
use uuid::Uuid;

use crate::Scopes;

/// What a user may do; each role includes the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May read.
    User,
    /// May send commands.
    Operator,
    /// May send unsafe commands.
    Engineer,
    /// May do anything, also to accounts.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Self; 4] = [Self::User, Self::Operator, Self::Engineer, Self::Admin];

    /// The name of the role in tokens, databases and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The claims of a valid access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`.
    pub user_id: UserId,
    /// `sid`. Sockets belong to the session, so that a new token closes none.
    pub session_id: SessionId,
    /// `jti`.
    pub token_id: Uuid,
    /// `username`. It never changes.
    pub username: Arc<str>,
    /// The user's role when the token was signed.
    pub role: Role,
    /// `iat`, whole seconds.
    pub issued_at: Timestamp,
    /// `exp`, whole seconds.
    pub expires_at: Timestamp,
    /// When the user last signed in: `auth_time`, whole seconds.
    pub auth_time: Timestamp,
    /// The API key that the token was exchanged for; `None` if its user signed in.
    pub api_key: Option<ApiKeyClaims>,
}

/// The claim `api_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKeyClaims {
    /// `id`.
    pub id: ApiKeyId,
    /// `scope`. The gateway enforces it.
    pub scopes: Scopes,
    /// `requests_per_minute`. The gateway enforces it.
    pub requests_per_minute: Option<NonZeroU32>,
    /// `tokens_per_day`: tokens of language models. The service that calls the models enforces it.
    pub tokens_per_day: Option<u64>,
}

/// The claims as JSON in the token.
#[derive(Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: UserId,
    pub(crate) sid: SessionId,
    pub(crate) jti: Uuid,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    /// Tokens of earlier versions have none.
    #[serde(default)]
    pub(crate) username: String,
    pub(crate) role: Role,
    pub(crate) auth_time: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<ApiKeyPayload>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ApiKeyPayload {
    id: ApiKeyId,
    scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_per_day: Option<u64>,
}

impl From<ApiKeyClaims> for ApiKeyPayload {
    fn from(key: ApiKeyClaims) -> Self {
        let ApiKeyClaims { id, scopes, requests_per_minute, tokens_per_day } = key;
        Self { id, scope: scopes.to_string(), requests_per_minute, tokens_per_day }
    }
}

impl From<ApiKeyPayload> for ApiKeyClaims {
    fn from(key: ApiKeyPayload) -> Self {
        let ApiKeyPayload { id, scope, requests_per_minute, tokens_per_day } = key;
        Self { id, scopes: Scopes::from_words(&scope), requests_per_minute, tokens_per_day }
    }
}
