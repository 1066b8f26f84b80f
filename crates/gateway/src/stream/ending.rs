//! How connections end: the close codes of WebSockets, and why the registry refuses or ends a connection.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, error::ProtocolError};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Refusal;

/// How a WebSocket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The topic is closed: 1000.
    Done,
    /// The gateway stops. The client continues at another gateway, or here after the restart: 1001.
    Stopping,
    /// Not allowed: 1008 with one of the reasons of the contract.
    Refused(&'static str),
    /// A frame was longer than 1 MiB: 1009.
    TooBig,
    /// A text frame was not UTF-8: 1007.
    NotText,
    /// The client violated RFC 6455: 1002.
    NotWebSocket,
    /// A required service is unavailable: 1013.
    TryAgain,
    /// The session ended: 4401.
    SessionEnded,
    /// The access token expired: 4401.
    TokenExpired,
    /// The account was deactivated, which ends its sessions: 4401. (A handshake is refused with 1008.)
    Inactive,
    /// No frame arrived for two and a half heartbeats: 4408.
    NoHeartbeat,
    /// The user has too many sockets: 4429.
    TooMany,
    /// The client sent many more frames than the limit allows: 4429.
    Flood,
    /// The client closed the socket, or the connection is broken.
    Gone,
}

impl Close {
    pub(crate) const fn code(&self) -> u16 {
        match self {
            Self::Done | Self::Gone => 1000,
            Self::Stopping => 1001,
            Self::Refused(_) => 1008,
            Self::TooBig => 1009,
            Self::NotText => 1007,
            Self::NotWebSocket => 1002,
            Self::TryAgain => 1013,
            Self::SessionEnded | Self::TokenExpired | Self::Inactive => 4401,
            Self::NoHeartbeat => 4408,
            Self::TooMany | Self::Flood => 4429,
        }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Done | Self::Gone => "",
            Self::Stopping => "retry_after=1",
            Self::Refused(reason) => reason,
            Self::TooBig => "Frame too large",
            Self::NotText => "Text that is not UTF-8",
            Self::NotWebSocket => "Protocol error",
            Self::TryAgain => "Try again shortly",
            Self::SessionEnded => "Session ended",
            Self::TokenExpired => "Token expired",
            Self::Inactive => "User account is inactive",
            Self::NoHeartbeat => "No heartbeat",
            Self::TooMany => "Too many connections",
            Self::Flood => "Too many frames",
        }
    }

    /// The close for an error while reading.
    pub(crate) fn broken(error: &tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(_) => Self::TooBig,
            tungstenite::Error::Utf8(_) => Self::NotText,
            // a connection that ends without a close frame is a protocol error, too
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Gone,
            tungstenite::Error::Protocol(_) => Self::NotWebSocket,
            _ => Self::Gone,
        }
    }

    /// The close for a fault on a socket that was upgraded.
    pub(crate) fn refused(fault: &Fault) -> Self {
        match (fault.kind(), fault.code()) {
            (Kind::Unauthenticated, "UNAUTHENTICATED") => Self::Refused("Missing authentication token"),
            (Kind::Unauthenticated, "ACCOUNT_INACTIVE") => Self::Refused("User account is inactive"),
            (Kind::Unauthenticated, _) => Self::Refused("Invalid authentication token"),
            (Kind::NotFound, _) => Self::Refused("Not found"),
            (Kind::Unavailable | Kind::Timeout | Kind::Internal, _) => Self::TryAgain,
            _ => Self::Refused("Not allowed"),
        }
    }
}

/// Why the registry refuses or ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    SessionEnded,
    TokenExpired,
    AccountInactive,
    /// The user has reached the limit of connections.
    TooMany,
    /// It is not known whether the session has ended.
    Unavailable,
    /// This gateway is stopping.
    Stopping,
    /// The user may no longer follow the topic.
    Excluded,
    /// An admin closed the connection.
    ClosedByAdmin,
}

impl From<Ending> for Close {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::SessionEnded => Self::SessionEnded,
            Ending::TokenExpired => Self::TokenExpired,
            Ending::AccountInactive => Self::Inactive,
            Ending::TooMany => Self::TooMany,
            Ending::Unavailable => Self::TryAgain,
            Ending::Stopping => Self::Stopping,
            Ending::Excluded => Self::Refused("Not found"),
            Ending::ClosedByAdmin => Self::Refused("Closed by an administrator"),
        }
    }
}

impl From<Ending> for Fault {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::SessionEnded => Refusal::SessionEnded.into(),
            Ending::TokenExpired => Refusal::Expired.into(),
            Ending::AccountInactive => Refusal::Inactive.into(),
            Ending::TooMany => Self::new(Kind::RateLimited, "Too many connections").code_is("TOO_MANY_CONNECTIONS"),
            Ending::Unavailable => Refusal::Unavailable.into(),
            Ending::Excluded => Self::new(Kind::NotFound, "Not found"),
            Ending::ClosedByAdmin => {
                Self::new(Kind::Forbidden, "An administrator closed this connection").code_is("CLOSED_BY_ADMIN")
            }
            Ending::Stopping => Self::new(Kind::Unavailable, "This gateway is stopping")
                .code_is("STOPPING")
                .retry_after(Duration::from_secs(1)),
        }
    }
}

impl From<Refusal> for Ending {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Inactive => Self::AccountInactive,
            Refusal::Expired => Self::TokenExpired,
            Refusal::Unavailable => Self::Unavailable,
            Refusal::Missing | Refusal::Invalid | Refusal::SessionEnded => Self::SessionEnded,
        }
    }
}
