//! The state that handlers share. The signature of a handler lists the parts that it uses.

use std::{sync::Arc, time::Duration};

use axum::extract::FromRef;
use turnpike_kit::Health;
use turnpike_proto::{
    auth::v1::{api_key_service_client::ApiKeyServiceClient, auth_service_client::AuthServiceClient},
    captions::v1::caption_service_client::CaptionServiceClient,
    chat::v1::{
        answer_service_client::AnswerServiceClient, conversation_service_client::ConversationServiceClient,
        model_service_client::ModelServiceClient, room_service_client::RoomServiceClient,
    },
    vehicle::v1::vehicle_service_client::VehicleServiceClient,
};
use turnpike_rpc::Transport;

use crate::{
    access::{body::Bodies, caller::Identity, client::TrustedProxies, origin::AllowedOrigins},
    stream::{
        connections::Connections, hub::Hub, peers::Peers, rooms::Rooms, socket::context::SocketContext, topics::Topics,
    },
};

/// The parts. A clone costs one atomic operation.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

macro_rules! parts {
    ($($part:ident: $type:ty,)*) => {
        pub(crate) struct Parts {
            $(pub(crate) $part: $type,)*
        }

        $(impl FromRef<App> for $type {
            fn from_ref(app: &App) -> Self {
                app.0.$part.clone()
            }
        })*
    };
}

parts! {
    health: Health,
    identity: Identity,
    proxies: TrustedProxies,
    origins: AllowedOrigins,
    bodies: Arc<Bodies>,
    hub: Hub,
    topics: Topics,
    connections: Connections,
    peers: Peers,
    sockets: SocketContext,
    rooms: Rooms,
    auth: Auth,
    vehicles: Vehicles,
    chat: Chat,
    captions: Captions,
    services: Services,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// The auth service.
#[derive(Clone)]
pub(crate) struct Auth(pub(crate) Transport);

impl Auth {
    pub(crate) fn client(&self) -> AuthServiceClient<Transport> {
        AuthServiceClient::new(self.0.clone())
    }

    pub(crate) fn api_keys(&self) -> ApiKeyServiceClient<Transport> {
        ApiKeyServiceClient::new(self.0.clone())
    }
}

/// The vehicles service.
#[derive(Clone)]
pub(crate) struct Vehicles(pub(crate) Transport);

/// A vehicle may take 5 s to answer a cancellation; the vehicles service then needs time to respond.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(8);

impl Vehicles {
    pub(crate) fn client(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.0.clone())
    }

    pub(crate) fn cancel_client(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.0.clone().deadline(CANCEL_TIMEOUT))
    }
}

/// The chat service.
#[derive(Clone)]
pub(crate) struct Chat(pub(crate) Transport);

/// The longest response of the chat service: a page of long messages.
const MAX_RESPONSE: usize = 16 << 20;
/// The chat service asks the servers of models.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest wait for the head of a response of a language model. The chat service has shorter bounds, which are configured.
pub(crate) const MODEL_TIMEOUT: Duration = Duration::from_secs(86_400);

impl Chat {
    pub(crate) fn conversations(&self) -> ConversationServiceClient<Transport> {
        ConversationServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_RESPONSE)
    }

    pub(crate) fn answers(&self) -> AnswerServiceClient<Transport> {
        AnswerServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_RESPONSE)
    }

    pub(crate) fn rooms(&self) -> RoomServiceClient<Transport> {
        RoomServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_RESPONSE)
    }

    pub(crate) fn models(&self) -> ModelServiceClient<Transport> {
        ModelServiceClient::new(self.0.clone().deadline(LIST_TIMEOUT))
    }

    /// For calls that wait for a language model.
    pub(crate) fn slow_models(&self) -> ModelServiceClient<Transport> {
        ModelServiceClient::new(self.0.clone().deadline(MODEL_TIMEOUT)).max_decoding_message_size(MAX_RESPONSE)
    }
}

/// The captions service.
#[derive(Clone)]
pub(crate) struct Captions(pub(crate) Transport);

/// A session transcribes what has arrived before it ends or is finalized.
const FINALS_TIMEOUT: Duration = Duration::from_secs(25);

impl Captions {
    pub(crate) fn client(&self) -> CaptionServiceClient<Transport> {
        CaptionServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_RESPONSE)
    }

    /// For calls that wait for captions.
    pub(crate) fn slow_client(&self) -> CaptionServiceClient<Transport> {
        CaptionServiceClient::new(self.0.clone().deadline(FINALS_TIMEOUT))
    }
}

/// Every service besides the gateway, for health checks.
#[derive(Clone)]
pub(crate) struct Services(pub(crate) Arc<[(&'static str, Transport)]>);
