//! The surroundings of a service: a database, a bus and a clock; and services that can be killed.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretBox;
use tokio::runtime::Runtime;
use turnpike_bus::{Bus, Limits};
use turnpike_chat::{Config, Deps, Service};
use turnpike_event::{ChatEvent, Event};
use turnpike_identity::{AccessToken, Verifier};
use turnpike_kit::{Clock, ClockControl, Environment, Outbound, Process};
use turnpike_rpc::Transport;
use turnpike_testkit::Database;
use turnpike_token::{ApiKeyClaims, Claims, KeySet, Role, Scopes, SigningKey};
use turnpike_topic::{ApiKeyId, ConversationId, Offset, Topic, UserId};
use uuid::Uuid;

pub struct World {
    pub bus: Bus,
    pub clock: Clock,
    pub hand: ClockControl,
    key: SigningKey,
    variables: Vec<(&'static str, String)>,
    // Dropped last, after the services.
    database: Database,
}

/// A running service on a runtime of its own, so that it can be killed like a process.
pub struct Instance {
    runtime: Option<Runtime>,
    process: Process,
    transport: Transport,
}

/// A user with an access token.
#[derive(Clone)]
pub struct Person {
    pub user_id: UserId,
    pub token: AccessToken,
}

impl World {
    pub fn new(database: Database) -> Self {
        Self::on(database, Bus::memory(Limits::default()))
    }

    pub fn on(database: Database, bus: Bus) -> Self {
        let (clock, hand) = Clock::controlled(Timestamp::from_second(1_763_700_000).expect("in range"));
        let key = SigningKey::from_secret(&SecretBox::new(Box::new([7; 32])));
        // Limits are off, and the scripted model does not pause, unless a test sets them.
        let variables = [("TURNPIKE_LIMIT_ANSWERS_PER_USER", "0"), ("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "0")];
        let variables = variables.map(|(name, value)| (name, value.to_owned())).to_vec();
        Self { bus, clock, hand, key, variables, database }
    }

    /// With another value of a variable, for services that start from now on.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_string()));
        self
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Starts a service.
    pub async fn start(&self) -> Instance {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let mut variables = self.variables.clone();
        variables.push(("TURNPIKE_CHAT_DATABASE_URL", self.database.url().to_owned()));
        let env = Environment::new(variables).expect("known names");
        let process = Process::new(env, self.clock.clone()).expect("a process");
        let verifier = Verifier::local(KeySet::new([self.key.public()]));
        let deps = Deps { bus: self.bus.clone(), verifier };
        let (starting, handle) = (process.clone(), runtime.handle().clone());
        let started = tokio::task::spawn_blocking(move || {
            handle.block_on(async move {
                let config = Config::new(&starting.env).expect("valid");
                let service = Service::bind(config, &starting, deps).await.expect("it starts");
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
                let address = listener.local_addr().expect("bound");
                turnpike_rpc::serve(&starting, listener, service.routes());
                address
            })
        });
        let address = started.await.expect("no panic");
        let transport = Transport::connect(&format!("http://{address}"), &Outbound::default()).expect("a URL");
        Instance { runtime: Some(runtime), process, transport: transport.deadline(Duration::from_secs(30)) }
    }

    /// A new user with this role.
    pub fn person(&self, role: Role) -> Person {
        let now = self.clock.now();
        let user_id = UserId::from(Uuid::now_v7());
        let claims = Claims {
            user_id,
            session_id: Uuid::now_v7().into(),
            token_id: Uuid::now_v7(),
            username: format!("user-{}", &user_id.to_string()[24..]).into(),
            role,
            issued_at: now,
            expires_at: now + Duration::from_secs(30 * 24 * 3600),
            auth_time: now,
            api_key: None,
        };
        Person { user_id, token: AccessToken::new(self.key.sign(&claims)) }
    }

    /// The same user by an API key with this many tokens a day; returns the key's id, too.
    pub fn by_key(&self, person: &Person, tokens_per_day: u64) -> (Person, String) {
        let now = self.clock.now();
        let id = ApiKeyId::from(Uuid::now_v7());
        let tokens_per_day = Some(tokens_per_day);
        let api_key =
            ApiKeyClaims { id, scopes: Scopes::from_words("chat"), requests_per_minute: None, tokens_per_day };
        let claims = Claims {
            user_id: person.user_id,
            session_id: Uuid::now_v7().into(),
            token_id: Uuid::now_v7(),
            username: "ada".into(),
            role: Role::User,
            issued_at: now,
            expires_at: now + Duration::from_secs(30 * 24 * 3600),
            auth_time: now,
            api_key: Some(api_key),
        };
        (Person { user_id: person.user_id, token: AccessToken::new(self.key.sign(&claims)) }, id.to_string())
    }

    /// Advances the clock while a future is awaited.
    pub async fn pushing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(5)) => self.hand.advance(Duration::from_millis(50)),
            }
        }
    }

    /// Every chat event on a conversation's topic.
    pub async fn topic(&self, id: ConversationId) -> Vec<(Offset, ChatEvent)> {
        let page = self.bus.read(&Topic::Conversation(id), None, 1000).await.expect("a bus");
        let chat = |record: turnpike_bus::Record| match Event::from_bytes(record.event).body {
            turnpike_event::Body::Chat(event) => (record.offset, event),
            other => panic!("{other:?}"),
        };
        page.records.into_iter().map(chat).collect()
    }
}

impl Instance {
    /// How to call it.
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(mut self) {
        let (process, runtime) = (self.process.clone(), self.runtime.take().expect("running"));
        let stopping = runtime.spawn(async move { process.stop(Duration::from_secs(20)).await });
        assert!(stopping.await.expect("no panic"), "every task finished");
        runtime.shutdown_background();
    }

    /// Ends it as SIGKILL does: nothing is released or published.
    pub fn kill(mut self) {
        self.runtime.take().expect("running").shutdown_background();
    }

    /// How many tasks its runtime has, those of libraries included.
    pub fn runtime_tasks(&self) -> usize {
        self.runtime.as_ref().expect("running").metrics().num_alive_tasks()
    }

    /// How many tasks it has.
    pub fn tasks(&self) -> usize {
        self.process.tasks.len()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
