//! The client: follows topics over one connection, which it opens again whenever it is lost.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};
use turnpike_topic::{Offset, Topic};

use crate::{
    Credential, CredentialError, Error, Since, Update,
    backoff::Backoff,
    connection::{Connection, Failed, Heard},
    credential::usable_for,
    topics::{Step, Topics},
};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pauses between attempts to connect: the first one, and the longest. Half of each is random.
    pub pauses: (Duration, Duration),
    /// Attempts to connect that fail one after another before the client ends; `None`: it never gives up.
    pub attempts: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { pauses: (Duration::from_millis(250), Duration::from_secs(15)), attempts: None }
    }
}

/// The heartbeat of a gateway that has not told its own.
const HEARTBEAT: u64 = 30;
/// The pause before a topic whose owner was not available is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The pause after 4429: too many connections of this user.
const TOO_MANY: Duration = Duration::from_secs(15);

/// Follows topics of a gateway. It works while [`Client::next`] is awaited, and starts no tasks.
pub struct Client<C> {
    base: String,
    credential: C,
    options: Options,
    topics: Topics,
    connection: Option<Connection>,
    /// Frames to send on the present connection.
    outbox: VecDeque<String>,
    updates: VecDeque<Update>,
    backoff: Backoff,
    /// The next attempt to connect.
    connect_at: Instant,
    /// The gateway has refused the last token.
    refused: bool,
    /// The next token for the open connection.
    renew_at: Option<Instant>,
    /// Topics that are asked for again.
    again: VecDeque<(Instant, Topic)>,
    heard_at: Instant,
    heartbeat: Duration,
    /// Nothing was heard for a heartbeat, and a ping was sent.
    pinged: bool,
    /// The client ends after the updates before.
    end: Option<Error>,
}

impl<C: Credential> Client<C> {
    /// A client of the gateway at an address such as `http://127.0.0.1:8080`. It connects when [`Client::next`] is awaited.
    pub fn new(address: &str, credential: C, options: Options) -> Result<Self, Error> {
        let rest = address.trim_end_matches('/').strip_prefix("http://").filter(|rest| !rest.is_empty());
        let base = format!("ws://{}", rest.ok_or_else(|| Error::Address(address.to_owned()))?);
        let now = Instant::now();
        Ok(Self {
            base,
            credential,
            backoff: Backoff::new(options.pauses.0, options.pauses.1),
            options,
            topics: Topics::default(),
            connection: None,
            outbox: VecDeque::new(),
            updates: VecDeque::new(),
            connect_at: now,
            refused: false,
            renew_at: None,
            again: VecDeque::new(),
            heard_at: now,
            heartbeat: Duration::from_secs(HEARTBEAT),
            pinged: false,
            end: None,
        })
    }

    /// Follows a topic, over every connection, until it is closed or [`Client::unfollow`] is called. Does nothing if it is followed
    /// already.
    pub fn follow(&mut self, topic: Topic, from: Since) {
        let request = self.topics.follow(topic, from);
        self.send(request);
    }

    /// Ends following a topic.
    pub fn unfollow(&mut self, topic: Topic) {
        let request = self.topics.unfollow(topic);
        self.send(request);
    }

    /// The offset of the last event of a topic that [`Client::next`] has returned or will return.
    pub fn offset(&self, topic: Topic) -> Option<Offset> {
        self.topics.offset(topic)
    }

    /// Publishes in a room, for example `message` with `content`. The answer is an [`Update::Answer`] with the number that this returns.
    /// A field `idempotency_key` makes a repeated message the same one.
    pub fn publish(&mut self, topic: Topic, event: &str, fields: Map<String, Value>) -> Result<u64, Error> {
        if self.connection.is_none() {
            return Err(Error::NotNow);
        }
        let id = self.topics.ask().ok_or(Error::NotNow)?;
        let mut frame = fields;
        frame.extend([
            ("action".to_owned(), "publish".into()),
            ("id".to_owned(), id.into()),
            ("topic".to_owned(), topic.to_string().into()),
            ("event".to_owned(), event.into()),
        ]);
        self.send([Value::Object(frame)]);
        Ok(id)
    }

    /// The next thing that happens. An error is the end of the client; a later call begins to connect again. Cancel-safe.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(update) = self.updates.pop_front() {
                return Ok(update);
            }
            if let Some(error) = self.end.take() {
                return Err(error);
            }
            if self.connection.is_none() {
                self.connect().await;
            } else {
                self.work().await;
            }
        }
    }

    /// Only requests for an open connection are queued: a new one begins with all topics.
    fn send(&mut self, requests: impl IntoIterator<Item = Value>) {
        if self.connection.is_some() {
            self.outbox.extend(requests.into_iter().map(|request| request.to_string()));
        }
    }

    async fn connect(&mut self) {
        sleep_until(self.connect_at).await;
        let token = match self.credential.token(self.refused).await {
            Ok(token) => token,
            Err(CredentialError::SignedOut(text)) => {
                self.end = Some(Error::SignedOut(text));
                return;
            }
            Err(CredentialError::Unavailable(text)) => return self.fail(text, Duration::ZERO),
        };
        match Connection::open(&self.base, &token).await {
            Ok(connection) => {
                self.connection = Some(connection);
                (self.refused, self.pinged, self.heard_at) = (false, false, Instant::now());
                self.outbox.clear();
                self.again.clear();
                self.renew_at = renewal(&token);
                let requests = self.topics.resume();
                self.send(requests);
                self.updates.push_back(Update::Connected);
            }
            Err(Failed::Unauthorized) => {
                self.refused = true;
                self.fail("the gateway refused the access token".to_owned(), Duration::ZERO);
            }
            Err(Failed::Forbidden(text)) => self.end = Some(Error::Refused(text)),
            Err(Failed::Other(text)) => self.fail(text, Duration::ZERO),
        }
    }

    /// The connection is lost, or could not be opened.
    fn fail(&mut self, reason: String, least: Duration) {
        self.connection = None;
        self.updates.extend(self.topics.disconnect());
        let pause = least + self.backoff.fail(rand::random());
        self.connect_at = Instant::now() + pause;
        if self.options.attempts.is_some_and(|most| self.backoff.failures() >= most) {
            self.backoff.succeed();
            self.end = Some(Error::Unreachable(reason));
        } else {
            self.updates.push_back(Update::Disconnected { reason, pause });
        }
    }

    /// Sends, receives, and does what is due.
    async fn work(&mut self) {
        let now = Instant::now();
        if self.renew_at.is_some_and(|at| at <= now) {
            return self.renew().await;
        }
        while let Some((_, topic)) = self.again.pop_front_if(|(at, _)| *at <= now) {
            let request = self.topics.subscribe(topic);
            self.send(request);
        }
        // Half a heartbeat after a ping, a connection is dead: the gateway pings, too.
        let silent = if self.pinged { self.heartbeat.mul_f32(1.5) } else { self.heartbeat };
        if self.heard_at + silent <= now {
            if self.pinged {
                return self.fail("the gateway is silent".to_owned(), Duration::ZERO);
            }
            self.pinged = true;
            self.send([json!({ "action": "ping" })]);
        }
        let looks = [Some(self.heard_at + silent), self.renew_at, self.again.front().map(|(at, _)| *at)];
        let look = looks.into_iter().flatten().min().unwrap_or(now).max(now + Duration::from_millis(1));
        let Some(connection) = &mut self.connection else { return };
        let heard = tokio::select! {
            heard = connection.turn(&mut self.outbox) => heard,
            () = sleep_until(look) => return,
        };
        match heard {
            Heard::Text(text) => self.take(&text),
            Heard::Other => (self.heard_at, self.pinged) = (Instant::now(), false),
            Heard::Closed { code, reason } => self.closed(code, &reason),
        }
    }

    fn take(&mut self, text: &str) {
        (self.heard_at, self.pinged) = (Instant::now(), false);
        let Ok(frame) = serde_json::from_str(text) else {
            return self.fail("the gateway sent a frame that is not JSON".to_owned(), Duration::ZERO);
        };
        self.backoff.succeed();
        let Step { updates, requests, again, heartbeat } = self.topics.receive(frame);
        self.updates.extend(updates);
        self.send(requests);
        if let Some(topic) = again {
            self.again.push_back((Instant::now() + ASK_AGAIN, topic));
        }
        if let Some(seconds) = heartbeat {
            self.heartbeat = Duration::from_secs(seconds.clamp(1, 3600));
        }
    }

    fn closed(&mut self, code: u16, reason: &str) {
        let text = format!("closed with {code} {reason}");
        match code {
            // The gateway stops. It says after which time to come back.
            1001 => {
                let after = reason.split("retry_after=").nth(1).and_then(|after| after.parse().ok()).unwrap_or(1);
                self.fail(text, Duration::from_secs(after));
            }
            1008 => {
                self.fail(text, Duration::ZERO);
                self.end = Some(Error::Refused(reason.to_owned()));
            }
            4401 => {
                self.refused = true;
                self.fail(text, Duration::ZERO);
            }
            4429 => self.fail(text, TOO_MANY),
            _ => self.fail(text, Duration::ZERO),
        }
    }

    /// A new token on the open connection. If there is none now, the gateway closes with 4401 when the present one expires.
    async fn renew(&mut self) {
        match self.credential.token(true).await {
            Ok(token) => {
                self.renew_at = renewal(&token);
                self.send([json!({ "action": "auth", "token": token.expose_secret() })]);
            }
            Err(_) => self.renew_at = None,
        }
    }
}

/// When a token is replaced. `None`: never.
#[expect(clippy::disallowed_methods, reason = "the expiry of a token is a time of day")]
fn renewal(token: &SecretString) -> Option<Instant> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(Instant::now() + usable_for(token, now)?)
}
