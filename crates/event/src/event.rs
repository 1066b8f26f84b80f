//! What can happen on a topic.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use turnpike_topic::{CommandId, SessionId, UserId, VehicleId};

/// One event, as its producer made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When the producer saw it happen.
    pub at: Timestamp,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A command moved on.
    CommandStatus {
        /// Whose status.
        command_id: CommandId,
        /// Where it is now.
        state: CommandState,
    },
    /// A piece of a vehicle's answer.
    CommandResponse {
        /// To which command.
        command_id: CommandId,
        /// 1, 2, 3… within the command.
        sequence_number: u32,
        /// The last piece of a completed command.
        is_final: bool,
        /// What the vehicle said.
        response: Json,
    },
    /// Why a command could not be done. A final status follows.
    CommandError {
        /// Which command.
        command_id: CommandId,
        /// A stable upper-snake word.
        error_code: String,
        /// A sentence for people.
        error_message: String,
    },
    /// A vehicle came, went or failed.
    VehicleChanged {
        /// Which vehicle.
        vehicle_id: VehicleId,
        /// How it can be reached now.
        connection_status: ConnectionStatus,
    },
    /// A session is over.
    SessionEnded {
        /// Which session.
        session_id: SessionId,
        /// Whose.
        user_id: UserId,
        /// Why.
        reason: EndReason,
    },
    /// An account was switched off or on.
    AccountChanged {
        /// Whose.
        user_id: UserId,
        /// On.
        active: bool,
        /// Number of the change. A later change of the account has a higher number; 0 if the producer does not number them.
        change: u64,
    },
    /// Something that a newer producer says. The bytes are the whole event, as they came.
    Unknown(Bytes),
}

impl Body {
    /// The event's name in frames.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CommandStatus { .. } => "status",
            Self::CommandResponse { .. } => "response",
            Self::CommandError { .. } => "error",
            Self::VehicleChanged { .. } => "vehicle",
            Self::SessionEnded { .. } => "session_ended",
            Self::AccountChanged { .. } => "account",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// An enum whose members have one word each, in frames and in databases.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$member_doc])* $member,)*
        }

        impl $name {
            /// Every member.
            pub const ALL: &[Self] = &[$(Self::$member),*];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $word,)*
                }
            }

            /// What the word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$member),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where a command is, as clients are told.
    CommandState {
        /// Accepted, not yet begun.
        Pending = "pending",
        /// The vehicle works on it.
        InProgress = "in_progress",
        /// Done: the answer is whole.
        Completed = "completed",
        /// Not done; an error event says why.
        Failed = "failed",
        /// Stopped at somebody's request.
        Cancelled = "cancelled",
        /// No whole answer before the deadline.
        TimedOut = "timed_out",
        /// It may have run, or not: nobody can tell.
        Unknown = "unknown",
    }
}

impl CommandState {
    /// Nothing follows.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

words! {
    /// How a vehicle can be reached.
    ConnectionStatus {
        /// It answers.
        Connected = "connected",
        /// It is away.
        Disconnected = "disconnected",
        /// It is there and does not work.
        Error = "error",
    }
}

words! {
    /// Why a session ended.
    EndReason {
        /// The user signed out.
        Logout = "logout",
        /// The user or an admin ended it.
        Revoked = "revoked",
        /// An old refresh token was presented: somebody has a copy.
        ReuseDetected = "reuse_detected",
        /// The password was changed elsewhere.
        PasswordChanged = "password_changed",
        /// The account was switched off or deleted.
        AccountInactive = "account_inactive",
        /// Its time was over.
        Expired = "expired",
    }
}

/// A JSON object, kept as its text: it crosses the system without being taken apart.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

/// Text that is not a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON object")]
pub struct NotAnObject;

impl Json {
    /// Takes the text of a JSON object.
    pub fn parse(text: String) -> Result<Self, NotAnObject> {
        let raw = RawValue::from_string(text).map_err(|_| NotAnObject)?;
        if raw.get().starts_with('{') { Ok(Self(raw)) } else { Err(NotAnObject) }
    }

    /// The text of this object.
    pub fn object(object: &serde_json::Map<String, serde_json::Value>) -> Self {
        // A map with string keys always has a JSON text.
        Self(serde_json::value::to_raw_value(object).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
