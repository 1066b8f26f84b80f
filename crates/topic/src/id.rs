//! One type of id for each type of thing, so that the compiler refuses a wrong one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed id")]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id whose time part is `now` (UUIDv7, RFC 9562): ids sort by their creation time, to the millisecond.
            pub fn new(now: jiff::Timestamp) -> Self {
                let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
                let at = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, (millis % 1000) as u32 * 1_000_000);
                Self(Uuid::new_v7(at))
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts only the hyphenated lower-case form, so that an id has one spelling.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let id = Uuid::try_parse(text).map_err(|_| InvalidId)?;
                let mut buffer = Uuid::encode_buffer();
                if id.hyphenated().encode_lower(&mut buffer) == text { Ok(Self(id)) } else { Err(InvalidId) }
            }
        }
    )*};
}

ids! {
    /// A person or program with an account.
    UserId,
    /// One signed-in session of a user.
    SessionId,
    /// An API key of a user.
    ApiKeyId,
    /// A vehicle in the registry.
    VehicleId,
    /// One command to one vehicle.
    CommandId,
    /// A conversation with a language model.
    ConversationId,
    /// A message of a conversation. The id of an answer is also the id of its generation.
    MessageId,
    /// Instructions for a language model that have a name.
    PersonaId,
    /// A room of people.
    RoomId,
    /// One live caption session.
    CaptionsSessionId,
    /// One run of a gateway.
    GatewayId,
    /// One open connection of a client at a gateway.
    ConnectionId,
}
