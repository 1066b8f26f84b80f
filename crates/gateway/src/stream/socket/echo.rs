//! A socket that sends every message back. It has the listener, the upgrade and the connections of all other sockets, so that a test
//! suite for WebSocket servers shows what they do (`scripts/autobahn`).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, State},
    response::Response,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use turnpike_identity::{AccessToken, Caller};
use turnpike_kit::{OnExit, Process};
use turnpike_token::{Claims, Role};
use turnpike_topic::{Offset, SessionId, Topic, UserId};

use super::{
    incoming::Incoming,
    upgrade::{Upgrade, Upgraded},
};
use crate::{
    access::{
        client::TrustedProxies,
        slots::{ConnectionSlots, PerAddress},
    },
    http::{listener::accept, problem::Problem},
    stream::{
        conn::{Conn, Shared, TopicFrames},
        connections::{Connections, Origin, Target},
        ending::Close,
        format::Format,
        rfc6455,
    },
};

/// The suite sends messages of 16 MiB, which other sockets refuse.
const MAX_MESSAGE: usize = 16 << 20;
const CONNECTIONS: usize = 1000;

#[derive(Clone)]
struct Echo {
    shared: Arc<Shared>,
    connections: Connections,
    process: Process,
}

impl FromRef<Echo> for TrustedProxies {
    fn from_ref(_: &Echo) -> Self {
        Self([].into())
    }
}

/// Serves echoing sockets at `/` until the process stops.
pub fn serve_echo(process: &Process, listener: TcpListener) {
    let connections = Connections::new(0, process.clock.clone(), |_| Ok(()));
    connections.turn_the_wheel(process);
    let (tasks, wheel) = (process.tasks.clone(), connections.wheel().clone());
    let shared = Arc::new(Shared { tasks: tasks.clone(), wheel, heartbeat: Duration::from_secs(30) });
    let router = Router::new().route("/", get(open)).with_state(Echo { shared, connections, process: process.clone() });
    let slots = ConnectionSlots::new(CONNECTIONS, PerAddress::Unset, Vec::new());
    tasks.clone().spawn("echo", OnExit::StopProcess, accept(listener, router, slots, tasks));
}

async fn open(State(echo): State<Echo>, upgrade: Result<Upgrade, Problem>) -> Result<Response, Problem> {
    let tasks = echo.shared.tasks.clone();
    Ok(upgrade?.start(&tasks.clone(), move |upgraded| {
        tasks.spawn("socket", OnExit::Continue, echo.run(upgraded));
    }))
}

impl Echo {
    async fn run(self, Upgraded { stream, slot, early, .. }: Upgraded) {
        let Ok(registration) = self.connections.register(&nobody(&self.process), Origin::unknown()) else { return };
        let conn = Conn::new(registration.id, &self.shared, (stream, Format::Json), &NoTopics);
        registration.attach(Target::Socket(conn.clone()));
        let mut incoming = Incoming::new(conn.clone(), early, MAX_MESSAGE);
        while let Some(message) = incoming.next().await {
            match message {
                Message::Text(text) => conn.queue(&rfc6455::text(text)),
                Message::Binary(bytes) => conn.queue(&rfc6455::binary(bytes)),
                _ => {}
            }
        }
        incoming.drain().await;
        conn.gone();
        drop((registration, slot));
    }
}

/// A caller whose session does not end.
fn nobody(process: &Process) -> Caller {
    let now = process.clock.now();
    let claims = Claims {
        user_id: UserId::new(now),
        session_id: SessionId::new(now),
        token_id: SessionId::new(now).into(),
        username: "ada".into(),
        role: Role::User,
        issued_at: now,
        expires_at: now + Duration::from_secs(86_400),
        auth_time: now,
        api_key: None,
    };
    Caller { claims, token: AccessToken::new("") }
}

struct NoTopics;

impl TopicFrames for NoTopics {
    fn caught_up(&self, _: Topic, _: Option<Offset>) -> Option<String> {
        None
    }

    fn topic_closed(&self, _: Topic) -> Result<String, Close> {
        Err(Close::Done)
    }
}
