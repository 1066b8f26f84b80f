//! The surroundings of a service: a database, a bus, a clock and a connector; and services that can be killed.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use secrecy::SecretBox;
use sqlx::{AnyConnection, Connection, Executor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};
use turnpike_bus::{Bus, Limits, PublishError};
use turnpike_event::{Body, CommandEvent, CommandState, Event, Json, Record};
use turnpike_identity::{AccessToken, Verifier};
use turnpike_kit::{Clock, ClockControl, Environment, Outbound, Process};
use turnpike_rpc::Transport;
use turnpike_testkit::{Database, RedisServer};
use turnpike_token::{Claims, KeySet, Role, SigningKey};
use turnpike_topic::{CommandId, Offset, Topic, UserId};
use turnpike_vehicles::{Config, Deps, Service};
use uuid::Uuid;

use crate::{caller::Caller, script::Script};

pub struct World {
    pub bus: Bus,
    pub clock: Clock,
    pub hand: ClockControl,
    pub script: Script,
    connector: Transport,
    key: SigningKey,
    /// Commands of one user a minute; 0 means no limit.
    limit: u32,
    // Dropped last, after the services.
    database: Database,
}

/// A running service on a runtime of its own, so that it can be killed like a process.
pub struct Instance {
    runtime: Option<Runtime>,
    process: Process,
    transport: Transport,
}

impl World {
    pub fn new(database: Database) -> Self {
        Self::on(database, Bus::memory(Limits::default()))
    }

    pub fn on(database: Database, bus: Bus) -> Self {
        let (clock, hand) = Clock::controlled(Timestamp::from_second(1_763_700_000).expect("in range"));
        let script = Script::new(bus.clone(), clock.clone());
        let connector = script.transport();
        let key = SigningKey::from_secret(&SecretBox::new(Box::new([7; 32])));
        Self { bus, clock, hand, script, connector, key, limit: 0, database }
    }

    /// Another connector than the scripted one.
    pub fn with_connector(self, connector: Transport) -> Self {
        Self { connector, ..self }
    }

    /// With a limit for the commands of one user.
    pub fn with_limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// Starts a service, and waits until it sees the fleet.
    pub async fn start(&self) -> Instance {
        let instance = self.start_alone().await;
        let caller = self.person(Role::User).at(&instance);
        turnpike_testkit::eventually("the fleet", 10, || async {
            let vehicles = caller.vehicles().await;
            // Every connector here begins with three.
            (vehicles.iter().filter(|vehicle| vehicle.connection_status == 1).count() == 3).then_some(())
        })
        .await;
        instance
    }

    /// Starts a service without waiting for the fleet.
    pub async fn start_alone(&self) -> Instance {
        self.start_on(self.connector.clone()).await
    }

    /// Starts a service with its own transport to the connector.
    pub async fn start_on(&self, connector: Transport) -> Instance {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let limit = self.limit.to_string();
        let variables = [
            ("TURNPIKE_VEHICLES_DATABASE_URL", self.database.url()),
            ("TURNPIKE_LIMIT_COMMANDS_PER_MINUTE", limit.as_str()),
        ];
        let env = Environment::new(variables).expect("known names");
        let process = Process::new(env.clone(), self.clock.clone()).expect("a process");
        let deps = Deps {
            bus: self.bus.clone(),
            verifier: Verifier::local(KeySet::new([self.key.public()])),
            connectors: vec![("fleet".to_owned(), connector)],
        };
        let starting = process.clone();
        let handle = runtime.handle().clone();
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
        let address: SocketAddr = started.await.expect("no panic");
        let transport = Transport::connect(&format!("http://{address}"), &Outbound::default()).expect("a URL");
        // Calls that wait for a cancellation end by the clock of the service, not by this deadline.
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
            username: "ada".into(),
            role,
            issued_at: now,
            expires_at: now + Duration::from_secs(30 * 24 * 3600),
            auth_time: now,
            api_key: None,
        };
        Person { user_id, token: AccessToken::new(self.key.sign(&claims)) }
    }

    /// Advances the clock while a future is awaited.
    pub async fn pushing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(5)) => self.hand.advance(Duration::from_millis(25)),
            }
        }
    }

    /// Publishes a status as a connector; an end is the final event.
    pub async fn say(&self, id: CommandId, state: CommandState) -> Result<Offset, PublishError> {
        let event = self.event(Body::Command(CommandEvent::Status { command_id: id, state }));
        match state.is_end() {
            true => self.bus.close(&Topic::Response(id), &event.to_bytes()).await,
            false => self.bus.publish(&Topic::Response(id), &event.to_bytes()).await,
        }
    }

    /// Publishes a response as a connector.
    pub async fn answer(&self, id: CommandId, sequence_number: u32) -> Result<Offset, PublishError> {
        let response = Json::parse(format!(r#"{{"piece":{sequence_number}}}"#)).expect("an object");
        let body = Body::Command(CommandEvent::Response { command_id: id, sequence_number, is_final: false, response });
        self.bus.publish(&Topic::Response(id), &self.event(body).to_bytes()).await
    }

    pub fn event(&self, body: Body) -> Event {
        Event { at: self.clock.now(), body }
    }

    /// Executes SQL, as another instance would.
    pub async fn execute(&self, sql: &'static str) {
        let mut connection = AnyConnection::connect(self.database.url()).await.expect("the database");
        connection.execute(sql).await.expect("good SQL");
    }

    pub fn on_postgres(&self) -> bool {
        self.database.url().starts_with("postgres")
    }

    /// Keeps every service from writing to a command until the connection is dropped.
    pub async fn lock_commands(&self) -> AnyConnection {
        let mut connection = AnyConnection::connect(self.database.url()).await.expect("the database");
        let sql = if self.on_postgres() { "BEGIN; UPDATE commands SET fence = fence" } else { "BEGIN IMMEDIATE" };
        connection.execute(sql).await.expect("good SQL");
        connection
    }

    /// A number from the database.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let mut connection = AnyConnection::connect(self.database.url()).await.expect("the database");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("a number")
    }

    /// The database of its services.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Everything on a command's topic.
    pub async fn topic(&self, id: CommandId) -> Vec<Record> {
        let page = self.bus.read(&Topic::Response(id), None, 1000).await.expect("a bus");
        page.records.into_iter().map(|record| record.map(Event::from_bytes)).collect()
    }
}

/// A user with an access token.
#[derive(Clone)]
pub struct Person {
    pub user_id: UserId,
    pub token: AccessToken,
}

impl Person {
    /// At a service.
    pub fn at(&self, instance: &Instance) -> Caller {
        Caller::new(self.clone(), instance.transport.clone())
    }
}

impl Instance {
    /// Ends it as SIGTERM does.
    pub async fn stop(mut self) {
        let (process, runtime) = (self.process.clone(), self.runtime.take().expect("running"));
        let stopping = runtime.spawn(async move { process.stop(Duration::from_secs(10)).await });
        assert!(stopping.await.expect("no panic"), "every task finished");
        runtime.shutdown_background();
    }

    /// Ends it as SIGKILL does: nothing is released or published.
    pub fn kill(mut self) {
        self.runtime.take().expect("running").shutdown_background();
    }

    /// How many tasks it has.
    pub fn tasks(&self) -> usize {
        self.process.tasks.len()
    }

    /// A task that must not end and has ended.
    pub fn failed(&self) -> Option<&'static str> {
        self.process.tasks.failed()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// From now on every command to this Redis waits, as on a machine that stalls.
pub async fn freeze(redis: &RedisServer) {
    order(redis, "CLIENT PAUSE 600000 ALL").await;
}

/// Whether this Redis refuses every write from now on, as if its memory were full.
pub async fn fill(redis: &RedisServer, full: bool) {
    order(redis, if full { "CONFIG SET maxmemory 1" } else { "CONFIG SET maxmemory 0" }).await;
}

async fn order(redis: &RedisServer, command: &str) {
    let address = redis.url().trim_start_matches("redis://").to_owned();
    let mut stream = TcpStream::connect(address).await.expect("the Redis of the test");
    stream.write_all(format!("{command}\r\n").as_bytes()).await.expect("the Redis of the test");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"+OK\r\n");
}

/// Short texts for the events of a command; the text of a final event ends with a full stop.
pub fn summaries(records: &[Record]) -> Vec<String> {
    let words = |record: &Record| {
        let word = match &record.event.body {
            Body::Command(CommandEvent::Status { state, .. }) => state.as_str().to_owned(),
            Body::Command(CommandEvent::Response { sequence_number, .. }) => format!("response {sequence_number}"),
            Body::Command(CommandEvent::Error { error_code, .. }) => format!("error {error_code}"),
            other => other.name().to_owned(),
        };
        if record.is_final { word + "." } else { word }
    };
    records.iter().map(words).collect()
}
