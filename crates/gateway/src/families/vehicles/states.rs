//! The states of vehicles and commands as clients see them.

use serde::{Deserialize, Serialize};
use turnpike_event::CommandState;
use turnpike_proto::vehicle::v1 as vehicle;
use utoipa::ToSchema;

/// Whether a vehicle can be reached.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Connection {
    Connected,
    Disconnected,
    Error,
}

impl From<Connection> for vehicle::ConnectionStatus {
    fn from(connection: Connection) -> Self {
        match connection {
            Connection::Connected => Self::Connected,
            Connection::Disconnected => Self::Disconnected,
            Connection::Error => Self::Error,
        }
    }
}

impl From<vehicle::ConnectionStatus> for Connection {
    fn from(status: vehicle::ConnectionStatus) -> Self {
        match status {
            vehicle::ConnectionStatus::Connected => Self::Connected,
            vehicle::ConnectionStatus::Disconnected => Self::Disconnected,
            vehicle::ConnectionStatus::Error | vehicle::ConnectionStatus::Unspecified => Self::Error,
        }
    }
}

/// The state of a command as clients see it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Pending,
    InProgress,
    Completed,
    Failed,
    Cancelled,
    TimedOut,
    Unknown,
}

impl From<vehicle::CommandState> for Status {
    fn from(state: vehicle::CommandState) -> Self {
        use vehicle::CommandState as State;
        match state {
            State::Pending | State::Dispatched => Self::Pending,
            State::InProgress => Self::InProgress,
            State::Completed => Self::Completed,
            State::Failed | State::Rejected => Self::Failed,
            State::Cancelled => Self::Cancelled,
            State::TimedOut => Self::TimedOut,
            State::Unknown | State::Unspecified => Self::Unknown,
        }
    }
}

impl Status {
    /// The name of the state in requests to the vehicles service.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => CommandState::Pending,
            Self::InProgress => CommandState::InProgress,
            Self::Completed => CommandState::Completed,
            Self::Failed => CommandState::Failed,
            Self::Cancelled => CommandState::Cancelled,
            Self::TimedOut => CommandState::TimedOut,
            Self::Unknown => CommandState::Unknown,
        }
        .as_str()
    }
}

#[cfg(test)]
mod tests {
    use turnpike_event::ConnectionStatus;

    use super::*;

    fn json(name: &str) -> String {
        format!("\"{name}\"")
    }

    #[test]
    fn states_have_the_names_that_events_use() {
        for state in CommandState::ALL {
            let status: Status = serde_json::from_str(&json(state.as_str())).expect("a known name");
            assert_eq!(status.name(), state.as_str());
        }
        for status in [Connection::Connected, Connection::Disconnected, Connection::Error] {
            let name = serde_json::to_value(status).expect("a name");
            assert!(ConnectionStatus::from_word(name.as_str().expect("text")).is_some());
        }
    }
}
