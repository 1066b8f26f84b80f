//! What a token says.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use turnpike_topic::{SessionId, UserId};
use uuid::Uuid;

/// What somebody may do; each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look.
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

    /// The word for it in tokens, databases and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
        }
    }

    /// What the word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a valid access token says of its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who: `sub`.
    pub user_id: UserId,
    /// In which session: `sid`. Sockets are bound to it, so that a refresh drops none.
    pub session_id: SessionId,
    /// This very token: `jti`.
    pub token_id: Uuid,
    /// With which role, when the token was made.
    pub role: Role,
    /// `iat`, whole seconds.
    pub issued_at: Timestamp,
    /// `exp`, whole seconds.
    pub expires_at: Timestamp,
    /// When the user last proved who they are: `auth_time`, whole seconds.
    pub auth_time: Timestamp,
}

/// The claims set as it stands in the token.
#[derive(Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: UserId,
    pub(crate) sid: SessionId,
    pub(crate) jti: Uuid,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) role: Role,
    pub(crate) auth_time: i64,
}
