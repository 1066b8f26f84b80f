//! The resources that every socket uses.

use std::{sync::Arc, time::Duration};

use turnpike_kit::Tasks;
use turnpike_proto::chat::v1::room_service_client::RoomServiceClient;
use turnpike_rpc::Transport;

use crate::{
    access::{caller::Identity, messages::PerMinute},
    config::Limits,
    stream::{conn::Shared, connections::Connections, rooms::Rooms, topics::Topics},
};

#[derive(Clone)]
pub(crate) struct SocketContext(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) connections: Connections,
    pub(crate) topics: Topics,
    pub(crate) messages: PerMinute,
    pub(crate) rooms: Rooms,
    pub(crate) chat: RoomServiceClient<Transport>,
    pub(crate) tasks: Tasks,
    pub(crate) limits: Limits,
    pub(crate) heartbeat: Duration,
    /// The parts that the connections themselves need.
    pub(crate) shared: Arc<Shared>,
}

impl SocketContext {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for SocketContext {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
