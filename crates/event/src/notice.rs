//! Notices of a room: events that are sent to those who follow `room:{room_id}` now. They are not stored and have no offset.

use serde::ser::SerializeMap;
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::UserId;

use crate::named_enum::named_enum;

/// A notice of a room.
#[derive(Clone, Debug, PartialEq)]
pub enum RoomNotice {
    /// The user types, or has stopped.
    Typing {
        /// The user.
        user_id: UserId,
        /// The user's name.
        username: String,
        /// Whether the user types.
        is_typing: bool,
    },
    /// What the others should know about a user.
    System {
        /// The user.
        about: UserId,
        /// A sentence for people.
        content: String,
        /// How important it is.
        level: Level,
    },
    /// What an analysis has found, for this user.
    HealthInsight {
        /// The user.
        user_id: UserId,
        /// A text for the user.
        insight: String,
        /// From 0 to 1.
        confidence: f64,
        /// What it is about.
        category: String,
        /// What the user can do; can be empty.
        recommendations: Vec<String>,
        /// The source of the text: `model`, or `statistics`.
        source: String,
    },
    /// How far the analysis that this user requested is.
    Analysis {
        /// The user.
        user_id: UserId,
        /// The stage.
        status: AnalysisStatus,
        /// From 0 to 100.
        progress: u32,
        /// A sentence for people.
        details: String,
    },
    /// The analysis that this user requested failed.
    AnalysisError {
        /// The user.
        user_id: UserId,
        /// A stable upper-snake word.
        code: String,
        /// A sentence for people.
        message: String,
    },
}

/// The connections of a room that get a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Those of this user.
    Only(UserId),
    /// Those of all other users.
    Except(UserId),
}

named_enum! {
    /// How important a notice is.
    Level {
        /// For information.
        Info = "info",
        /// Something may be wrong.
        Warning = "warning",
        /// Something is wrong.
        Error = "error",
    }
}

named_enum! {
    /// The stage of an analysis.
    AnalysisStatus {
        /// It was accepted.
        Started = "started",
        /// It is running.
        Processing = "processing",
        /// It has ended with a result.
        Completed = "completed",
        /// It has ended without a result.
        Failed = "failed",
    }
}

impl RoomNotice {
    /// The receivers.
    pub const fn audience(&self) -> Audience {
        match self {
            Self::Typing { user_id, .. } => Audience::Except(*user_id),
            Self::System { about, .. } => Audience::Except(*about),
            Self::HealthInsight { user_id, .. }
            | Self::Analysis { user_id, .. }
            | Self::AnalysisError { user_id, .. } => Audience::Only(*user_id),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Typing { .. } => "typing",
            Self::System { .. } => "system",
            Self::HealthInsight { .. } => "health_insight",
            Self::Analysis { .. } => "analysis_update",
            Self::AnalysisError { .. } => "error",
        }
    }

    pub(crate) fn to_pb(&self) -> Body {
        match self.clone() {
            Self::Typing { user_id, username, is_typing } => {
                Body::RoomTyping(pb::RoomTyping { user_id: user_id.to_string(), username, is_typing })
            }
            Self::System { about, content, level } => {
                Body::RoomSystem(pb::RoomSystem { about: about.to_string(), content, level: level.to_string() })
            }
            Self::HealthInsight { user_id, insight, confidence, category, recommendations, source } => {
                let user_id = user_id.to_string();
                Body::HealthInsight(pb::HealthInsight {
                    user_id,
                    insight,
                    confidence,
                    category,
                    recommendations,
                    source,
                })
            }
            Self::Analysis { user_id, status, progress, details } => Body::AnalysisUpdate(pb::AnalysisUpdate {
                user_id: user_id.to_string(),
                status: status.to_string(),
                progress,
                details,
            }),
            Self::AnalysisError { user_id, code, message } => {
                Body::AnalysisError(pb::AnalysisError { user_id: user_id.to_string(), code, message })
            }
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body.clone() {
            Body::RoomTyping(e) => {
                Self::Typing { user_id: e.user_id.parse().ok()?, username: e.username, is_typing: e.is_typing }
            }
            Body::RoomSystem(e) => {
                Self::System { about: e.about.parse().ok()?, content: e.content, level: Level::from_word(&e.level)? }
            }
            Body::HealthInsight(e) => Self::HealthInsight {
                user_id: e.user_id.parse().ok()?,
                insight: e.insight,
                confidence: e.confidence,
                category: e.category,
                recommendations: e.recommendations,
                source: e.source,
            },
            Body::AnalysisUpdate(e) => Self::Analysis {
                user_id: e.user_id.parse().ok()?,
                status: AnalysisStatus::from_word(&e.status)?,
                progress: e.progress,
                details: e.details,
            },
            Body::AnalysisError(e) => {
                Self::AnalysisError { user_id: e.user_id.parse().ok()?, code: e.code, message: e.message }
            }
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Typing { user_id, username, is_typing } => {
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("username", username)?;
                frame.serialize_entry("is_typing", is_typing)
            }
            Self::System { content, level, .. } => {
                frame.serialize_entry("content", content)?;
                frame.serialize_entry("level", level.as_str())
            }
            Self::HealthInsight { user_id, insight, confidence, category, recommendations, source } => {
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("insight", insight)?;
                frame.serialize_entry("confidence", confidence)?;
                frame.serialize_entry("category", category)?;
                if !recommendations.is_empty() {
                    frame.serialize_entry("recommendations", recommendations)?;
                }
                frame.serialize_entry("source", source)
            }
            Self::Analysis { user_id, status, progress, details } => {
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("status", status.as_str())?;
                frame.serialize_entry("progress", progress)?;
                frame.serialize_entry("details", details)
            }
            Self::AnalysisError { code, message, .. } => {
                frame.serialize_entry("code", code)?;
                frame.serialize_entry("detail", message)?;
                frame.serialize_entry("message", message)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use uuid::Uuid;

    use super::*;

    fn user() -> impl Strategy<Value = UserId> {
        any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
    }

    pub(crate) fn any_notice() -> impl Strategy<Value = RoomNotice> {
        let text = || any::<String>();
        prop_oneof![
            (user(), text(), any::<bool>()).prop_map(|(user_id, username, is_typing)| RoomNotice::Typing {
                user_id,
                username,
                is_typing
            }),
            (user(), text(), select(Level::ALL)).prop_map(|(about, content, level)| RoomNotice::System {
                about,
                content,
                level
            }),
            (user(), text(), 0.0..1.0_f64, text(), vec(text(), 0..3), text()).prop_map(
                |(user_id, insight, confidence, category, recommendations, source)| RoomNotice::HealthInsight {
                    user_id,
                    insight,
                    confidence,
                    category,
                    recommendations,
                    source
                }
            ),
            (user(), select(AnalysisStatus::ALL), any::<u32>(), text()).prop_map(
                |(user_id, status, progress, details)| RoomNotice::Analysis { user_id, status, progress, details }
            ),
            (user(), text(), text()).prop_map(|(user_id, code, message)| RoomNotice::AnalysisError {
                user_id,
                code,
                message
            }),
        ]
    }
}
