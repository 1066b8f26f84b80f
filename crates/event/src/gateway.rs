//! What gateways ask one another about open connections: notices on the internal topic `gateways`, which no client may follow.

use jiff::Timestamp;
use serde::ser::SerializeMap;
use turnpike_proto::{
    event::v1::{self as pb, event::Body},
    timestamp,
};
use turnpike_topic::{ApiKeyId, ConnectionId, GatewayId, SessionId, UserId};

/// From one gateway to all of them.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayNotice {
    /// The gateway serves.
    Here {
        /// The gateway.
        gateway_id: GatewayId,
        /// For people: the host and the port.
        name: String,
        /// The gateway has just started: the others send this notice, too.
        asks: bool,
    },
    /// The gateway stops.
    Gone {
        /// The gateway.
        gateway_id: GatewayId,
    },
    /// Every other gateway answers with [`GatewayNotice::Listed`].
    List {
        /// Who asks.
        asked: Asked,
        /// Only connections of this user.
        user_id: Option<UserId>,
        /// Only connections with smaller ids.
        before: Option<ConnectionId>,
        /// The length of the list.
        limit: u32,
    },
    /// Connections of one gateway, newest first.
    Listed {
        /// The gateway that answers.
        gateway_id: GatewayId,
        /// Its name.
        name: String,
        /// Who has asked.
        asked: Asked,
        /// The connections.
        connections: Vec<OpenConnection>,
    },
    /// The gateway that has the connection closes it. Every other gateway answers with [`GatewayNotice::Closed`].
    Close {
        /// Who asks.
        asked: Asked,
        /// The connection.
        connection_id: ConnectionId,
    },
    /// Whether a gateway had the connection.
    Closed {
        /// The gateway that answers.
        gateway_id: GatewayId,
        /// Its name.
        name: String,
        /// Who has asked.
        asked: Asked,
        /// It had the connection, and closes it.
        found: bool,
    },
}

/// A request of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The gateway that asks.
    pub by: GatewayId,
    /// The number of its request.
    pub request: u64,
}

/// An open socket or stream of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenConnection {
    /// The connection. Ids sort by the time at which connections were opened.
    pub id: ConnectionId,
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub username: String,
    /// The user's session.
    pub session_id: SessionId,
    /// The API key, if it was opened with one.
    pub api_key_id: Option<ApiKeyId>,
    /// The route on which it was opened.
    pub route: String,
    /// The address of the client.
    pub address: String,
    /// The user agent of the client.
    pub user_agent: String,
    /// When it was opened.
    pub since: Timestamp,
    /// When the client sent something that was no pong.
    pub last_active: Timestamp,
    /// When the client answered a ping or sent a heartbeat.
    pub last_heartbeat: Option<Timestamp>,
    /// Some of its topics.
    pub topics: Vec<String>,
    /// The number of its topics.
    pub topics_total: u32,
    /// Bytes that were sent to the client.
    pub bytes_sent: u64,
    /// Bytes that the client has sent.
    pub bytes_received: u64,
    /// Events that the client has not got yet; `None`: not known.
    pub lag: Option<u64>,
}

impl GatewayNotice {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Here { .. } => "gateway_here",
            Self::Gone { .. } => "gateway_gone",
            Self::List { .. } => "connections_requested",
            Self::Listed { .. } => "connections_listed",
            Self::Close { .. } => "connection_close_requested",
            Self::Closed { .. } => "connection_close_answered",
        }
    }

    pub(crate) fn to_pb(&self) -> Body {
        match self.clone() {
            Self::Here { gateway_id, name, asks } => {
                Body::GatewayHere(pb::GatewayHere { gateway_id: gateway_id.to_string(), name, asks })
            }
            Self::Gone { gateway_id } => Body::GatewayGone(pb::GatewayGone { gateway_id: gateway_id.to_string() }),
            Self::List { asked, user_id, before, limit } => Body::ConnectionsRequested(pb::ConnectionsRequested {
                gateway_id: asked.by.to_string(),
                request: asked.request,
                user_id: text(user_id),
                before: text(before),
                limit,
            }),
            Self::Listed { gateway_id, name, asked, connections } => Body::ConnectionsListed(pb::ConnectionsListed {
                gateway_id: gateway_id.to_string(),
                name,
                asked_by: asked.by.to_string(),
                request: asked.request,
                connections: connections.into_iter().map(OpenConnection::into_pb).collect(),
            }),
            Self::Close { asked, connection_id } => Body::ConnectionCloseRequested(pb::ConnectionCloseRequested {
                gateway_id: asked.by.to_string(),
                request: asked.request,
                connection_id: connection_id.to_string(),
            }),
            Self::Closed { gateway_id, name, asked, found } => {
                Body::ConnectionCloseAnswered(pb::ConnectionCloseAnswered {
                    gateway_id: gateway_id.to_string(),
                    name,
                    asked_by: asked.by.to_string(),
                    request: asked.request,
                    found,
                })
            }
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        let asked = |by: &str, request| Some(Asked { by: by.parse().ok()?, request });
        Some(match body {
            Body::GatewayHere(e) => {
                Self::Here { gateway_id: e.gateway_id.parse().ok()?, name: e.name.clone(), asks: e.asks }
            }
            Body::GatewayGone(e) => Self::Gone { gateway_id: e.gateway_id.parse().ok()? },
            Body::ConnectionsRequested(e) => Self::List {
                asked: asked(&e.gateway_id, e.request)?,
                user_id: optional(&e.user_id)?,
                before: optional(&e.before)?,
                limit: e.limit,
            },
            Body::ConnectionsListed(e) => Self::Listed {
                gateway_id: e.gateway_id.parse().ok()?,
                name: e.name.clone(),
                asked: asked(&e.asked_by, e.request)?,
                connections: e.connections.iter().map(OpenConnection::from_pb).collect::<Option<_>>()?,
            },
            Body::ConnectionCloseRequested(e) => {
                Self::Close { asked: asked(&e.gateway_id, e.request)?, connection_id: e.connection_id.parse().ok()? }
            }
            Body::ConnectionCloseAnswered(e) => Self::Closed {
                gateway_id: e.gateway_id.parse().ok()?,
                name: e.name.clone(),
                asked: asked(&e.asked_by, e.request)?,
                found: e.found,
            },
            _ => return None,
        })
    }

    /// No client gets a frame of a notice between gateways; its name is all that logs need.
    pub(crate) fn fields<M: SerializeMap>(&self, _frame: &mut M) -> Result<(), M::Error> {
        Ok(())
    }
}

impl OpenConnection {
    fn into_pb(self) -> pb::OpenConnection {
        pb::OpenConnection {
            id: self.id.to_string(),
            user_id: self.user_id.to_string(),
            username: self.username,
            session_id: self.session_id.to_string(),
            api_key_id: text(self.api_key_id),
            route: self.route,
            address: self.address,
            user_agent: self.user_agent,
            since: Some(timestamp::to_protobuf(self.since)),
            last_active: Some(timestamp::to_protobuf(self.last_active)),
            last_heartbeat: self.last_heartbeat.map(timestamp::to_protobuf),
            topics: self.topics,
            topics_total: self.topics_total,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            lag: self.lag,
        }
    }

    fn from_pb(e: &pb::OpenConnection) -> Option<Self> {
        let last_heartbeat = match e.last_heartbeat {
            Some(at) => Some(timestamp::from_protobuf(at)?),
            None => None,
        };
        Some(Self {
            id: e.id.parse().ok()?,
            user_id: e.user_id.parse().ok()?,
            username: e.username.clone(),
            session_id: e.session_id.parse().ok()?,
            api_key_id: optional(&e.api_key_id)?,
            route: e.route.clone(),
            address: e.address.clone(),
            user_agent: e.user_agent.clone(),
            since: timestamp::from_protobuf(e.since?)?,
            last_active: timestamp::from_protobuf(e.last_active?)?,
            last_heartbeat,
            topics: e.topics.clone(),
            topics_total: e.topics_total,
            bytes_sent: e.bytes_sent,
            bytes_received: e.bytes_received,
            lag: e.lag,
        })
    }
}

fn text<T: ToString>(id: Option<T>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// An id that may be absent. `None`: it is not well-formed.
fn optional<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
    match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, option, prelude::*};
    use uuid::Uuid;

    use super::*;

    fn id<T: From<Uuid> + std::fmt::Debug>() -> impl Strategy<Value = T> {
        any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
    }

    fn asked() -> impl Strategy<Value = Asked> {
        (id(), any::<u64>()).prop_map(|(by, request)| Asked { by, request })
    }

    fn connection() -> impl Strategy<Value = OpenConnection> {
        let at = || (0..4_000_000_000_i64).prop_map(|s| Timestamp::from_second(s).expect("in range"));
        let who = (id(), id(), any::<String>(), id(), option::of(id()));
        let from = (any::<String>(), any::<String>(), any::<String>());
        let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), option::of(any::<u64>()));
        (who, from, (at(), at(), option::of(at())), vec(any::<String>(), 0..3), numbers).prop_map(
            |(who, from, (since, last_active, last_heartbeat), topics, numbers)| {
                let (id, user_id, username, session_id, api_key_id) = who;
                let (route, address, user_agent) = from;
                let (topics_total, bytes_sent, bytes_received, lag) = numbers;
                OpenConnection {
                    id,
                    user_id,
                    username,
                    session_id,
                    api_key_id,
                    route,
                    address,
                    user_agent,
                    since,
                    last_active,
                    last_heartbeat,
                    topics,
                    topics_total,
                    bytes_sent,
                    bytes_received,
                    lag,
                }
            },
        )
    }

    pub(crate) fn any_notice() -> impl Strategy<Value = GatewayNotice> {
        let text = || any::<String>();
        prop_oneof![
            (id(), text(), any::<bool>()).prop_map(|(gateway_id, name, asks)| GatewayNotice::Here {
                gateway_id,
                name,
                asks
            }),
            id().prop_map(|gateway_id| GatewayNotice::Gone { gateway_id }),
            (asked(), option::of(id()), option::of(id()), any::<u32>())
                .prop_map(|(asked, user_id, before, limit)| { GatewayNotice::List { asked, user_id, before, limit } }),
            (id(), text(), asked(), vec(connection(), 0..3)).prop_map(|(gateway_id, name, asked, connections)| {
                GatewayNotice::Listed { gateway_id, name, asked, connections }
            }),
            (asked(), id()).prop_map(|(asked, connection_id)| GatewayNotice::Close { asked, connection_id }),
            (id(), text(), asked(), any::<bool>()).prop_map(|(gateway_id, name, asked, found)| {
                GatewayNotice::Closed { gateway_id, name, asked, found }
            }),
        ]
    }
}
