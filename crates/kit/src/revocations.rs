//! Sessions that ended before their tokens did.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::broadcast;
use tracing::debug;
use turnpike_bus::{Bus, Delivery, From};
use turnpike_event::{Body, EndReason, SessionId, Topic, UserId};
use turnpike_proto::auth::v1 as pb;
use turnpike_token::{Claims, LIFETIME};

use crate::{Death, Process, Refusal, Transport};

/// What ended within the life of an access token: told by events as it happens, and by auth's own record at the start, after
/// a loss of the bus, and every now and then.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    ended: RwLock<Ended>,
    news: broadcast::Sender<Revoked>,
}

#[derive(Default)]
struct Ended {
    sessions: HashMap<SessionId, Timestamp>,
    inactive: HashMap<UserId, Timestamp>,
}

/// Somebody's access has just ended; open sockets are to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// One session.
    Session(SessionId, EndReason),
    /// Everything of a user.
    User(UserId),
}

/// How often auth is asked without occasion: what a broken bus did not tell is late by no more than this.
const RECHECK: Duration = Duration::from_secs(15);

/// While auth does not answer.
const RETRY: Duration = Duration::from_secs(1);

impl Revocations {
    /// Follows the bus and asks auth. The process is not ready before auth's first answer; that it is away later is for
    /// those to say who need it then.
    pub fn watch(process: &Process, bus: &Bus, auth: Transport) -> Self {
        let revocations = Self(Arc::new(Inner { ended: RwLock::default(), news: broadcast::Sender::new(4096) }));
        let (watched, process_) = (revocations.clone(), process.clone());
        let mut follower = bus.follow(Topic::Sessions, From::Live);
        let component = process.health.component("auth");
        process.tasks.spawn("revocations", Death::Fatal, async move {
            let (mut ask_at, mut reached) = (tokio::time::Instant::now(), false);
            loop {
                tokio::select! {
                    () = process_.tasks.stopping().cancelled() => return,
                    delivery = follower.next() => match delivery {
                        Delivery::Record(record) => watched.apply(&record.event.body, record.event.at),
                        // what came before, or was lost, only auth can tell
                        Delivery::CaughtUp { .. } | Delivery::Reset { .. } => ask_at = tokio::time::Instant::now(),
                        Delivery::Closed => std::future::pending().await, // never: nobody closes this topic
                    },
                    () = tokio::time::sleep_until(ask_at) => {
                        let answered = watched.ask(&auth, process_.clock.now()).await;
                        match answered {
                            true => {
                                reached = true;
                                component.up();
                            }
                            false if !reached => component.down("auth has not answered yet"),
                            false => {}
                        }
                        ask_at = tokio::time::Instant::now() + if answered { RECHECK } else { RETRY };
                    }
                }
            }
        });
        revocations
    }

    /// Whether the bearer's session goes on.
    pub fn check(&self, claims: &Claims) -> Result<(), Refusal> {
        let ended = self.0.ended.read().expect("no panic while it is held");
        if ended.inactive.contains_key(&claims.user_id) {
            Err(Refusal::Inactive)
        } else if ended.sessions.contains_key(&claims.session_id) {
            Err(Refusal::SessionEnded)
        } else {
            Ok(())
        }
    }

    /// What ends from now on. Whoever lags behind must check everything it has open.
    pub fn subscribe(&self) -> broadcast::Receiver<Revoked> {
        self.0.news.subscribe()
    }

    fn apply(&self, body: &Body, at: Timestamp) {
        let mut ended = self.0.ended.write().expect("no panic while it is held");
        let news = match *body {
            Body::SessionEnded { session_id, reason, .. } => {
                ended.sessions.insert(session_id, at);
                Revoked::Session(session_id, reason)
            }
            Body::AccountChanged { user_id, active: false } => {
                ended.inactive.insert(user_id, at);
                Revoked::User(user_id)
            }
            Body::AccountChanged { user_id, active: true } => {
                ended.inactive.remove(&user_id);
                return;
            }
            _ => return, // a newer auth says more than this build knows
        };
        drop(ended);
        // Fails only where nobody has a socket open.
        let _ = self.0.news.send(news);
    }

    /// Takes over auth's record; says whether auth answered.
    async fn ask(&self, auth: &Transport, now: Timestamp) -> bool {
        let mut client = pb::auth_service_client::AuthServiceClient::new(auth.clone().deadline(Duration::from_secs(2)));
        let record = match client.list_revocations(pb::ListRevocationsRequest {}).await {
            Ok(answer) => answer.into_inner().revocations,
            Err(status) => {
                debug!(code = ?status.code(), "auth did not say which sessions ended");
                return false;
            }
        };
        let at = |revocation: &pb::Revocation| {
            revocation.at.as_ref().and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()).unwrap_or(now)
        };
        let mut news = Vec::new();
        let mut ended = self.0.ended.write().expect("no panic while it is held");
        let mut inactive = HashMap::new();
        for revocation in &record {
            if let Ok(session) = revocation.session_id.parse() {
                if ended.sessions.insert(session, at(revocation)).is_none() {
                    news.push(Revoked::Session(session, EndReason::Revoked));
                }
            } else if let Ok(user) = revocation.inactive_user_id.parse() {
                inactive.insert(user, at(revocation));
                if !ended.inactive.contains_key(&user) {
                    news.push(Revoked::User(user));
                }
            }
        }
        ended.inactive = inactive;
        // Later than this no token of theirs is valid.
        ended.sessions.retain(|_, at| now.duration_since(*at).unsigned_abs() <= LIFETIME + RECHECK);
        drop(ended);
        for revoked in news {
            let _ = self.0.news.send(revoked);
        }
        true
    }
}
