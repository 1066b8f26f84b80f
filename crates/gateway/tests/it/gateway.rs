//! The gateway under test, and its callers.

use std::{sync::Arc, time::Duration};

use prost::Message;
use secrecy::SecretBox;
use serde_json::json;
use tokio::net::TcpListener;
use turnpike_bus::{Bus, Limits};
use turnpike_gateway::{Config, Deps, Service};
use turnpike_identity::Revocations;
use turnpike_kit::{Clock, Environment, Process};
use turnpike_proto::{
    auth::v1 as pb,
    event::v1::{Event, event::Body},
};
use turnpike_rpc::Transport;
use turnpike_testkit::{Person, Proxy, Socket, eventually};
use turnpike_token::{ApiKeyClaims, Claims, KeySet, Role, SigningKey};
use turnpike_topic::{Offset, SessionId, Topic, UserId};
use uuid::Uuid;

use crate::{script::Script, services};

pub struct Gateway {
    pub base: String,
    pub bus: Bus,
    pub process: Process,
    /// The auth service, and the connection to it.
    pub auth: Script,
    pub auth_proxy: Proxy,
    /// The vehicles service, and the connection to it.
    pub vehicles: Script,
    pub vehicles_proxy: Proxy,
    /// The chat service, and the connection to it.
    pub chat: Script,
    pub chat_proxy: Proxy,
    key: SigningKey,
}

impl Gateway {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a gateway with these variables, and waits until it is ready.
    pub async fn with(variables: &[(&'static str, &str)]) -> Self {
        let key = SigningKey::from_secret(&SecretBox::new(Box::new([7; 32])));
        let (auth, vehicles, chat) = (Script::default(), Script::default(), Script::default());
        let jwks_json = KeySet::new([key.public()]).to_jwks();
        auth.respond::<pb::GetJwksRequest, _>(pb::GetJwksResponse { jwks_json });
        auth.respond::<pb::ListRevocationsRequest, _>(pb::ListRevocationsResponse { revocations: Vec::new() });
        let auth_proxy = Proxy::to(&services::serve(&auth).await).await;
        let vehicles_proxy = Proxy::to(&services::serve(&vehicles).await).await;
        let chat_proxy = Proxy::to(&services::serve(&chat).await).await;

        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let process =
            Process::new(Environment::new(variables).expect("variables"), Clock::system()).expect("a process");
        let bus = Bus::memory(Limits::default());
        let connect = |proxy: &Proxy| Transport::connect(proxy.url(), &process.outbound).expect("an address");
        let (to_auth, to_vehicles, to_chat) = (connect(&auth_proxy), connect(&vehicles_proxy), connect(&chat_proxy));
        let revocations = Revocations::watch(&process, &bus, to_auth.clone());
        let config = Config::new(&process.env).expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        // No test here has a captions service; tests of e2e have one.
        let captions = Transport::connect("http://127.0.0.1:9", &process.outbound).expect("an address");
        let deps =
            Deps { bus: bus.clone(), auth: to_auth, vehicles: to_vehicles, chat: to_chat, captions, revocations };
        let service = Service::bind(config, &process, deps).await.expect("a gateway");
        service.serve(&process, listener).expect("a gateway");
        let gateway = Self { base, bus, process, auth, auth_proxy, vehicles, vehicles_proxy, chat, chat_proxy, key };
        eventually("the gateway to be ready", 10, async || gateway.process.health.missing().is_empty().then_some(()))
            .await;
        gateway
    }

    /// A caller without credentials.
    pub fn anonymous(&self) -> Person {
        Person::anonymous(&self.base)
    }

    /// A new user of this role, in a session of its own.
    pub fn caller(&self, role: Role) -> Person {
        let user_id = UserId::from(Uuid::now_v7());
        let mut person = self.anonymous().with_token(&self.token(user_id, SessionId::from(Uuid::now_v7()), role));
        person.user = json!({ "id": user_id });
        person
    }

    /// An access token that is valid for 15 minutes.
    pub fn token(&self, user_id: UserId, session_id: SessionId, role: Role) -> String {
        self.token_for(user_id, session_id, role, Duration::from_secs(900))
    }

    pub fn token_for(&self, user_id: UserId, session_id: SessionId, role: Role, lifetime: Duration) -> String {
        let now = Clock::system().now();
        let (issued_at, auth_time) = (now, now);
        let expires_at = now + lifetime;
        let (token_id, username) = (Uuid::now_v7(), username(user_id));
        self.key.sign(&Claims {
            user_id,
            session_id,
            token_id,
            username,
            role,
            issued_at,
            expires_at,
            auth_time,
            api_key: None,
        })
    }

    /// The token that auth gives for an API key.
    pub fn token_of_api_key(
        &self,
        user_id: UserId,
        session_id: SessionId,
        role: Role,
        api_key: ApiKeyClaims,
    ) -> String {
        let now = Clock::system().now();
        let (issued_at, auth_time, expires_at) = (now, now, now + Duration::from_secs(900));
        let (token_id, username, api_key) = (Uuid::now_v7(), username(user_id), Some(api_key));
        self.key.sign(&Claims {
            user_id,
            session_id,
            token_id,
            username,
            role,
            issued_at,
            expires_at,
            auth_time,
            api_key,
        })
    }

    pub fn expired_token(&self) -> String {
        let (user_id, session_id) = (UserId::from(Uuid::now_v7()), SessionId::from(Uuid::now_v7()));
        let issued_at = Clock::system().now() - Duration::from_secs(1000);
        let expires_at = issued_at + Duration::from_secs(900);
        let token_id = Uuid::now_v7();
        let auth_time = issued_at;
        self.key.sign(&Claims {
            user_id,
            session_id,
            token_id,
            username: username(user_id),
            role: Role::User,
            issued_at,
            expires_at,
            auth_time,
            api_key: None,
        })
    }

    /// Opens a WebSocket without a credential but the one in `path` and `headers`; an error is the HTTP status.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        Socket::open_with(&self.base, path, headers).await
    }

    /// Publishes an event; a final one closes its topic.
    pub async fn publish(&self, topic: Topic, body: Body, is_final: bool) -> Offset {
        let event = encode(body);
        let published = match is_final {
            true => self.bus.close(&topic, &event).await,
            false => self.bus.publish(&topic, &event).await,
        };
        published.expect("the bus in memory is always available")
    }
}

/// The last twelve digits of the id distinguish users.
fn username(user_id: UserId) -> Arc<str> {
    format!("user-{}", &user_id.to_string()[24..]).into()
}

/// The bytes of an event, as a topic and an archive have them.
pub fn encode(body: Body) -> Vec<u8> {
    let now = Clock::system().now();
    let at = prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() };
    Event { at: Some(at), body: Some(body) }.encode_to_vec()
}
