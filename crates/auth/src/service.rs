//! The service: its parts and its tasks.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use sqlx::migrate::Migrator;
use tonic::service::{Routes, RoutesBuilder};
use turnpike_bus::Bus;
use turnpike_identity::Verifier;
use turnpike_kit::{Clock, Process};
use turnpike_proto::{
    auth::v1::{api_key_service_server::ApiKeyServiceServer, auth_service_server::AuthServiceServer},
    topic::v1::topic_owner_server::TopicOwnerServer,
};
use turnpike_store::{Migrations, Reads, Store};
use turnpike_token::{KeySet, SigningKey};

use crate::{
    Config,
    api_key_rpc::ApiKeyRpc,
    bootstrap::{self, FirstAdmin},
    limits::{self, Logins},
    one_time::{self, OneTimeCode},
    outbox,
    password::Hasher,
    retention,
    rpc::{self, Rpc},
    secret::ServerSecret,
    tokens::Tokens,
    topic_rpc::TopicRpc,
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// What the service uses.
pub struct Deps {
    /// The bus that it publishes the ends of sessions and the changes of accounts on.
    pub bus: Bus,
}

/// Users, sessions and tokens.
pub struct Service {
    routes: Routes,
    first_admin: Option<FirstAdmin>,
    store: Store,
    clock: Clock,
}

impl Service {
    /// Opens the database, and creates the first admin if there is none.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        process.outbound.permit(&config.database_url)?;
        let secret = ServerSecret::obtain(config.secret.as_ref(), Path::new(&config.data_dir))?;
        let store = Store::open(&config.database_url, Migrations { sqlite: &SQLITE, postgres: &POSTGRES })
            .await
            .context("TURNPIKE_AUTH_DATABASE_URL")?;
        let asked = store.clone();
        turnpike_kit::probe(process, "auth database", "the database does not answer", move || {
            let store = asked.clone();
            async move { store.answers().await }
        });
        store.serve(process);
        let hasher = Hasher::new().await?;
        hasher.serve(process);
        let first_admin = bootstrap::first_admin(&store, &hasher, &config, process.clock.now()).await?;
        // The key has a number, so that a later key can be in the set at the same time.
        let key = SigningKey::from_secret(&secret.derive(&[b"signing key", b"1"]));
        let keys = KeySet::new([key.public()]);
        let bell = outbox::publish(process, &store, &deps.bus);
        limits::sweep(process, &store);
        retention::start(process, &store);
        let rpc = Rpc {
            hasher,
            limits: Logins::new(&store, &secret, config.logins_per_minute),
            clock: process.clock.clone(),
            jwks: keys.to_jwks(),
            sessions: Reads::new(&store, &process.tasks),
            store: store.clone(),
            tokens: Tokens { key, secret },
            bell,
        };
        let mut services = RoutesBuilder::default();
        let rpc = Arc::new(rpc);
        services.add_service(ApiKeyServiceServer::new(ApiKeyRpc(rpc.clone())));
        services.add_service(AuthServiceServer::from_arc(rpc));
        services.add_service(TopicOwnerServer::new(TopicRpc));
        let routes = turnpike_rpc::with_interceptors(process, services, rpc::POLICY, Verifier::local(keys));
        Ok(Self { routes, first_admin, store, clock: process.clock.clone() })
    }

    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// The admin that was created at this start. A generated password is shown once, where the process was started.
    pub fn first_admin(&self) -> Option<&FirstAdmin> {
        self.first_admin.as_ref()
    }

    /// Issues a code that signs in the account `admin` once, without a password; it replaces the one issued before. `None` if
    /// that account is not an active admin. Nothing else issues codes, so a service on its own accepts none.
    pub async fn one_time_code(&self) -> anyhow::Result<Option<OneTimeCode>> {
        one_time::issue(&self.store, self.clock.now()).await.context("a one-time sign-in code")
    }

    /// Issues a second code, for a link that a person opens within 15 minutes. It leaves the code issued before as it is.
    pub async fn one_time_link_code(&self) -> anyhow::Result<Option<OneTimeCode>> {
        one_time::issue_link(&self.store, self.clock.now()).await.context("a one-time sign-in link")
    }
}
