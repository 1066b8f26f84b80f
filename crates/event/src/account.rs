//! Events of accounts and their sessions, on the internal topic `sessions`.

use serde::ser::SerializeMap;
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::{SessionId, UserId};

use crate::named_enum::named_enum;

/// An event of an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AccountEvent {
    /// A session ended.
    SessionEnded {
        /// The session.
        session_id: SessionId,
        /// The user of the session.
        user_id: UserId,
        /// The reason.
        reason: EndReason,
    },
    /// An account was activated or deactivated.
    Changed {
        /// The user of the account.
        user_id: UserId,
        /// The account is active from now on.
        active: bool,
        /// Number of the change. A later change of the account has a higher number; 0 if the producer does not number them.
        change: u64,
    },
}

named_enum! {
    /// The reason why a session ended.
    EndReason {
        /// The user signed out.
        Logout = "logout",
        /// The user or an admin ended the session.
        Revoked = "revoked",
        /// An old refresh token was presented: it may have been stolen.
        ReuseDetected = "reuse_detected",
        /// The password was changed in another session.
        PasswordChanged = "password_changed",
        /// The account was deactivated or deleted.
        AccountInactive = "account_inactive",
        /// The session reached its maximum age.
        Expired = "expired",
    }
}

impl AccountEvent {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::SessionEnded { .. } => "session_ended",
            Self::Changed { .. } => "account",
        }
    }

    pub(crate) fn to_pb(self) -> Body {
        match self {
            Self::SessionEnded { session_id, user_id, reason } => Body::SessionEnded(pb::SessionEnded {
                session_id: session_id.to_string(),
                user_id: user_id.to_string(),
                reason: reason.as_str().to_owned(),
            }),
            Self::Changed { user_id, active, change } => {
                Body::AccountChanged(pb::AccountChanged { user_id: user_id.to_string(), active, change })
            }
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body {
            Body::SessionEnded(e) => Self::SessionEnded {
                session_id: e.session_id.parse().ok()?,
                user_id: e.user_id.parse().ok()?,
                reason: EndReason::from_word(&e.reason)?,
            },
            Body::AccountChanged(e) => {
                Self::Changed { user_id: e.user_id.parse().ok()?, active: e.active, change: e.change }
            }
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        match self {
            Self::SessionEnded { session_id, user_id, reason } => {
                frame.serialize_entry("session_id", session_id)?;
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("reason", reason.as_str())
            }
            Self::Changed { user_id, active, change: _ } => {
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("active", active)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pinned::assert_pinned;

    pub(crate) fn any_event() -> impl Strategy<Value = AccountEvent> {
        let user_id = any::<u128>().prop_map(|id| UserId::from(uuid::Uuid::from_u128(id)));
        let session_id = any::<u128>().prop_map(|id| SessionId::from(uuid::Uuid::from_u128(id)));
        prop_oneof![
            (session_id, user_id.clone(), prop::sample::select(EndReason::ALL))
                .prop_map(|(session_id, user_id, reason)| AccountEvent::SessionEnded { session_id, user_id, reason }),
            (user_id, any::<bool>(), any::<u64>()).prop_map(|(user_id, active, change)| AccountEvent::Changed {
                user_id,
                active,
                change
            }),
        ]
    }

    #[test]
    fn bytes_and_frames_are_pinned() {
        let (session_id, user_id) = (SessionId::from(uuid::Uuid::from_u128(1)), UserId::from(uuid::Uuid::from_u128(2)));
        assert_pinned(
            crate::Body::Account(AccountEvent::SessionEnded { session_id, user_id, reason: EndReason::ReuseDetected }),
            concat!(
                "a2065c0a2430303030303030302d303030302d303030302d303030302d303030303030303030303031122430303030303030",
                "302d303030302d303030302d303030302d3030303030303030303030321a0e72657573655f6465746563746564",
            ),
            r#""session_id":"00000000-0000-0000-0000-000000000001","user_id":"00000000-0000-0000-0000-000000000002","reason":"reuse_detected""#,
        );
        assert_pinned(
            crate::Body::Account(AccountEvent::Changed { user_id, active: true, change: 7 }),
            "aa062a0a2430303030303030302d303030302d303030302d303030302d30303030303030303030303210011807",
            r#""user_id":"00000000-0000-0000-0000-000000000002","active":true"#,
        );
    }
}
