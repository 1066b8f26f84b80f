//! The gateways of a deployment answer for one another's connections.
//!
//! A request is one notice on the internal topic `gateways`, which every gateway follows, and each of the others answers with one.
//! The bus says how many processes it has sent the request to, so that a wait ends with the last answer, and the gateways that do
//! not answer in time are known. Nothing is sent while nobody asks.

mod roster;
mod serve;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use tracing::warn;
use turnpike_bus::Bus;
use turnpike_event::{Asked, Body, Event, GatewayNotice, OpenConnection};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::Clock;
use turnpike_topic::{ConnectionId, GatewayId, Topic, UserId};

use self::roster::Roster;
use super::connections::{Connections, Query};

/// The gateways of this deployment, this one included.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    id: GatewayId,
    /// Known when the gateway serves.
    name: OnceLock<String>,
    bus: Bus,
    clock: Clock,
    connections: Connections,
    roster: Mutex<Roster>,
    next_request: AtomicU64,
    /// Requests of this gateway that wait for answers.
    waiting: Mutex<HashMap<u64, mpsc::Sender<GatewayNotice>>>,
    permits: Semaphore,
}

/// How long the other gateways have to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Requests of this gateway that wait at the same time.
const AT_ONCE: usize = 8;
/// Answers that wait to be read.
const ANSWERS: usize = 256;

/// The connections of some gateways.
pub(crate) struct Listed {
    /// Newest first, each with the name of its gateway.
    pub(crate) connections: Vec<(String, OpenConnection)>,
    /// The gateways that were asked, this one included.
    pub(crate) asked: usize,
    /// The names of those that have not answered.
    pub(crate) missing: Vec<String>,
}

/// Whether a connection was found, and closed.
pub(crate) enum Closed {
    Here,
    NotFound,
    /// These gateways have not answered, and none of the others has it.
    Unknown(Vec<String>),
}

/// The answers to one request.
struct Answers {
    notices: Vec<GatewayNotice>,
    asked: usize,
    missing: Vec<String>,
}

impl Peers {
    pub(crate) fn new(bus: Bus, clock: Clock, connections: Connections) -> Self {
        let id = GatewayId::new(clock.now());
        Self(Arc::new(Inner {
            id,
            name: OnceLock::new(),
            bus,
            clock,
            connections,
            roster: Mutex::default(),
            next_request: AtomicU64::new(0),
            waiting: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
        }))
    }

    /// A page of the open connections of all gateways, newest first.
    pub(crate) async fn list(
        &self,
        user_id: Option<UserId>,
        before: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Listed, Fault> {
        let answers = self.ask(|asked| GatewayNotice::List { asked, user_id, before, limit }, |_| false).await?;
        let here = self.page(user_id, before, limit).into_iter().map(|one| (self.name(), one));
        let there = answers.notices.into_iter().flat_map(|notice| match notice {
            GatewayNotice::Listed { name, connections, .. } => {
                connections.into_iter().map(|one| (name.clone(), one)).collect()
            }
            _ => Vec::new(),
        });
        let mut connections: Vec<_> = here.chain(there).collect();
        connections.sort_unstable_by_key(|(_, one)| std::cmp::Reverse(one.id));
        connections.truncate(limit as usize);
        Ok(Listed { connections, asked: answers.asked, missing: answers.missing })
    }

    /// Closes a connection of any gateway.
    pub(crate) async fn close(&self, connection_id: ConnectionId) -> Result<Closed, Fault> {
        if self.0.connections.close(connection_id) {
            return Ok(Closed::Here);
        }
        let found = |notice: &GatewayNotice| matches!(notice, GatewayNotice::Closed { found: true, .. });
        let answers = self.ask(|asked| GatewayNotice::Close { asked, connection_id }, found).await?;
        Ok(match answers.notices.iter().any(found) {
            true => Closed::Here,
            false if answers.missing.is_empty() => Closed::NotFound,
            false => Closed::Unknown(answers.missing),
        })
    }

    fn page(&self, user_id: Option<UserId>, before: Option<ConnectionId>, limit: u32) -> Vec<OpenConnection> {
        self.0.connections.page(Query { user_id, before, limit: limit as usize }, self.0.clock.now())
    }

    fn name(&self) -> String {
        self.0.name.get().cloned().unwrap_or_default()
    }

    /// Asks all other gateways. `is_enough` ends the wait early.
    async fn ask(
        &self,
        request: impl FnOnce(Asked) -> GatewayNotice,
        is_enough: impl Fn(&GatewayNotice) -> bool,
    ) -> Result<Answers, Fault> {
        let busy = || Fault::new(Kind::Unavailable, "Too many requests to the other gateways wait for answers");
        let _permit = self.0.permits.try_acquire().map_err(|_| busy().retry_after(PATIENCE))?;
        let (waiting, mut answers) = Waiting::begin(self);
        let until = Instant::now() + PATIENCE;
        let sent = timeout_at(until, self.send(request(Asked { by: self.0.id, request: waiting.request }))).await;
        // This gateway is among the receivers, and does not answer itself.
        let others = sent.ok().flatten().map(|receivers| receivers.saturating_sub(1));
        let (mut notices, mut answered) = (Vec::new(), BTreeSet::new());
        while others.is_some_and(|others| answered.len() < others) {
            let Ok(Some(notice)) = timeout_at(until, answers.recv()).await else { break };
            // After an outage, a notice can arrive twice.
            if let Some((id, name)) = sender(&notice)
                && answered.insert(id)
            {
                self.0.roster.lock().saw(id, name);
                notices.push(notice);
            }
            if notices.last().is_some_and(&is_enough) {
                let asked = others.unwrap_or_default() + 1;
                return Ok(Answers { notices, asked, missing: Vec::new() });
            }
        }
        let missing = self.0.roster.lock().missing(others, &answered);
        if !missing.is_empty() {
            warn!(?missing, "gateways did not answer for their connections");
        }
        Ok(Answers { notices, asked: answered.len() + missing.len() + 1, missing })
    }

    /// Returns the number of gateways that have received the notice. `None`: the bus is not available.
    async fn send(&self, notice: GatewayNotice) -> Option<usize> {
        let event = Event { at: self.0.clock.now(), body: Body::Gateway(notice) };
        self.0.bus.notify(&Topic::Gateways, &event.to_bytes()).await.ok()
    }
}

/// The gateway that has sent an answer, and its name.
fn sender(notice: &GatewayNotice) -> Option<(GatewayId, &str)> {
    match notice {
        GatewayNotice::Listed { gateway_id, name, .. } | GatewayNotice::Closed { gateway_id, name, .. } => {
            Some((*gateway_id, name))
        }
        _ => None,
    }
}

/// A request that waits for answers, until this is dropped.
struct Waiting {
    peers: Peers,
    request: u64,
}

impl Waiting {
    fn begin(peers: &Peers) -> (Self, mpsc::Receiver<GatewayNotice>) {
        let request = peers.0.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(ANSWERS);
        peers.0.waiting.lock().insert(request, sender);
        (Self { peers: peers.clone(), request }, receiver)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.peers.0.waiting.lock().remove(&self.request);
    }
}
