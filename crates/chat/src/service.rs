//! The service: its parts and its tasks.

use std::time::Duration;

use anyhow::Context;
use sqlx::migrate::Migrator;
use tonic::service::{Routes, RoutesBuilder};
use turnpike_bus::Bus;
use turnpike_identity::Verifier;
use turnpike_kit::Process;
use turnpike_proto::{
    chat::v1::{
        answer_service_server::AnswerServiceServer, conversation_service_server::ConversationServiceServer,
        model_service_server::ModelServiceServer, room_service_server::RoomServiceServer,
    },
    topic::v1::topic_owner_server::TopicOwnerServer,
};
use turnpike_store::{Migrations, Store, idempotency};

use crate::{
    Config,
    answer_rpc::AnswerRpc,
    answers::{self, Resources},
    conversation_rpc::ConversationRpc,
    insights::Insights,
    ledger::Ledger,
    model_rpc::ModelRpc,
    outbox,
    policy::POLICY,
    removal,
    room_rpc::RoomRpc,
    rooms,
    topic_rpc::TopicRpc,
    upstream::Upstreams,
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

pub(crate) const MIGRATIONS: Migrations = Migrations { sqlite: &SQLITE, postgres: &POSTGRES };

/// Maximum length of a request that is forwarded to a model: images are part of it.
const FORWARDED: usize = 32 << 20;
/// Pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

pub struct Deps {
    pub bus: Bus,
    pub verifier: Verifier,
}

/// Conversations, answers, models and rooms.
pub struct Service {
    routes: Routes,
}

impl Service {
    /// Opens the database and takes over the answers that an earlier run left open.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        process.outbound.permit(&config.database_url)?;
        let store = Store::open(&config.database_url, MIGRATIONS).await.context("TURNPIKE_CHAT_DATABASE_URL")?;
        let asked = store.clone();
        turnpike_kit::probe(process, "chat database", "the database does not answer", move || {
            let store = asked.clone();
            async move { store.answers().await }
        });
        store.serve(process);
        let swept = store.clone();
        turnpike_store::sweep(process, "idempotency keys of chat", SWEEP_EVERY, move |now| {
            let store = swept.clone();
            async move { idempotency::forget(&store, now).await }
        });
        let bell = outbox::publish(process, &store, &deps.bus);
        removal::sweep(process, &store, &bell);
        let room_bell = rooms::publish(process, &store, &deps.bus);
        rooms::sweep(process, &store);
        rooms::expire(process, &store, &room_bell);
        let upstreams = Upstreams::new(&config.models, process)?;
        let rooms = RoomRpc {
            store: store.clone(),
            bus: deps.bus.clone(),
            clock: process.clock.clone(),
            verifier: deps.verifier.clone(),
            bell: room_bell,
            insights: Insights::new(upstreams.clone(), deps.bus.clone(), process.clock.clone(), process.tasks.clone()),
        };
        let models = ModelRpc {
            ledger: Ledger::new(process, &store),
            store: store.clone(),
            upstreams: upstreams.clone(),
            limits: config.limits,
            clock: process.clock.clone(),
        };
        let resources = Resources::new(
            process,
            answers::Parts {
                store: store.clone(),
                bus: deps.bus,
                bell: bell.clone(),
                upstreams,
                models: config.models,
                limits: config.limits,
            },
        );
        answers::listen(process, &resources);
        answers::recover(process, &resources);
        let mut services = RoutesBuilder::default();
        let conversations = ConversationRpc { store: store.clone(), clock: process.clock.clone(), bell };
        services.add_service(ConversationServiceServer::new(conversations));
        services.add_service(TopicOwnerServer::new(TopicRpc { store }));
        services.add_service(RoomServiceServer::new(rooms));
        services.add_service(AnswerServiceServer::new(AnswerRpc { resources }));
        services.add_service(ModelServiceServer::new(models).max_decoding_message_size(FORWARDED));
        Ok(Self { routes: turnpike_rpc::with_interceptors(process, services, POLICY, deps.verifier) })
    }

    /// What clients call.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }
}
