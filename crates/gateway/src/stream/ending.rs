//! How sockets end: the close codes, and why the registry refuses or ends a socket.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, error::ProtocolError};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Refusal;

/// How a socket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The topic is closed: 1000.
    Done,
    /// The gateway stops; another one, or this one soon, goes on: 1001.
    Stopping,
    /// Not allowed: 1008 with one of the reasons of the contract.
    Refused(&'static str),
    /// A frame beyond all measure: 1009.
    TooBig,
    /// Text that is not UTF-8: 1007.
    NotText,
    /// Not WebSocket as it is written (RFC 6455): 1002.
    NotWebSocket,
    /// Something that is needed is away: 1013.
    TryAgain,
    /// The session ended: 4401.
    SessionEnded,
    /// The access token expired: 4401.
    TokenExpired,
    /// The account of an open socket was deactivated, which ends its sessions: 4401. (A handshake is refused with 1008.)
    Inactive,
    /// No frame arrived for two and a half heartbeats: 4408.
    NoHeartbeat,
    /// The user has too many sockets: 4429.
    TooMany,
    /// The client sent many more frames than the limit allows: 4429.
    Flood,
    /// The other side is gone, or has said goodbye.
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

    /// What a connection that could not be read is told, if it can be told anything.
    pub(crate) fn broken(error: axum::Error) -> Self {
        match error.into_inner().downcast_ref() {
            Some(tungstenite::Error::Capacity(_)) => Self::TooBig,
            Some(tungstenite::Error::Utf8(_)) => Self::NotText,
            // a client that went without a word has broken the protocol, too
            Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Self::Gone,
            Some(tungstenite::Error::Protocol(_)) => Self::NotWebSocket,
            _ => Self::Gone,
        }
    }

    /// How a fault is told on a socket that is open already.
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

/// Why a socket is refused at registration, or ended later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    SessionEnded,
    TokenExpired,
    AccountInactive,
    /// The user has as many sockets as the limit allows.
    TooMany,
    /// Whether the session goes on is not known.
    Unavailable,
    /// This gateway stops.
    Stopping,
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
