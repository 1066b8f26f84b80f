//! Sessions that ended before their tokens did.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::broadcast;
use tracing::debug;
use turnpike_bus::{Bus, Delivery, From};
use turnpike_event::{AccountEvent, Body, EndReason, Event};
use turnpike_kit::{OnExit, Process};
use turnpike_proto::{auth::v1 as pb, timestamp};
use turnpike_rpc::Transport;
use turnpike_token::{Claims, LIFETIME};
use turnpike_topic::{SessionId, Topic, UserId};

use crate::Refusal;

/// The sessions that ended, and the accounts that became inactive, within the life of an access token. Events on the topic
/// `sessions` keep the list current; auth's own list is read at the start, after an outage of the bus, and every 15 seconds.
///
/// Until auth has answered once, nobody can tell which sessions ended, and every token is refused as
/// [`Refusal::Unavailable`]. Later, while auth cannot be reached, the known list stays in use. It can lack a session only if the
/// event of its end was lost with the bus as well, and then for at most the life of the session's last access token (15 minutes):
/// without auth nobody gets a new one.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    ended: RwLock<Ended>,
    news: broadcast::Sender<Revoked>,
}

#[derive(Default)]
struct Ended {
    /// Auth has answered: who is not listed here goes on.
    known: bool,
    sessions: HashMap<SessionId, Timestamp>,
    inactive: HashMap<UserId, Timestamp>,
    /// The number of the last change of an account, and when it happened: an event with a lower number is late.
    changes: HashMap<UserId, (u64, Timestamp)>,
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

/// What readiness says until auth's first answer, before and after it was asked in vain.
const UNKNOWN: &str = "auth has not answered yet, so the ended sessions are not known; every token is refused";
const NO_ANSWER: &str = "auth does not answer, so the ended sessions are not known; every token is refused";

impl Revocations {
    /// Follows the bus and asks auth, again each second until it answers. The process is not ready before auth's first answer.
    /// A later outage of auth is reported by the calls that need it.
    pub fn watch(process: &Process, bus: &Bus, auth: Transport) -> Self {
        let revocations = Self(Arc::new(Inner { ended: RwLock::default(), news: broadcast::Sender::new(4096) }));
        let (watched, process_) = (revocations.clone(), process.clone());
        let mut follower = bus.follow(Topic::Sessions, From::Live);
        let component = process.health.waiting_component("auth", UNKNOWN);
        let mut known = false;
        process.tasks.spawn("revocations", OnExit::StopProcess, async move {
            let mut ask_at = tokio::time::Instant::now();
            loop {
                tokio::select! {
                    () = process_.tasks.stopping().cancelled() => return,
                    delivery = follower.next() => match delivery {
                        Delivery::Record(record) => watched.apply(&Event::from_bytes(record.event)),
                        // what came before, or was lost, only auth can tell
                        Delivery::CaughtUp { .. } | Delivery::Reset { .. } => ask_at = tokio::time::Instant::now(),
                        Delivery::Closed => std::future::pending().await, // never: nobody closes this topic
                    },
                    () = tokio::time::sleep_until(ask_at) => {
                        let answered = watched.ask(&auth, process_.clock.now()).await;
                        known |= answered;
                        match known {
                            true => component.up(),
                            false => component.down(NO_ANSWER),
                        }
                        ask_at = tokio::time::Instant::now() + if answered { RECHECK } else { RETRY };
                    }
                }
            }
        });
        revocations
    }

    /// Whether the bearer's session goes on. [`Refusal::Unavailable`] until auth has answered.
    pub fn check(&self, claims: &Claims) -> Result<(), Refusal> {
        let ended = self.0.ended.read();
        if ended.inactive.contains_key(&claims.user_id) {
            Err(Refusal::Inactive)
        } else if ended.sessions.contains_key(&claims.session_id) {
            Err(Refusal::SessionEnded)
        } else if ended.known {
            Ok(())
        } else {
            Err(Refusal::Unavailable)
        }
    }

    /// What ends from now on. Whoever lags behind must check everything it has open.
    pub fn subscribe(&self) -> broadcast::Receiver<Revoked> {
        self.0.news.subscribe()
    }

    fn apply(&self, event: &Event) {
        let at = event.at;
        let mut ended = self.0.ended.write();
        let news = match event.body {
            Body::Account(AccountEvent::SessionEnded { session_id, reason, .. }) => {
                ended.sessions.insert(session_id, at);
                Revoked::Session(session_id, reason)
            }
            Body::Account(AccountEvent::Changed { user_id, active, change }) => {
                if ended.is_late(user_id, change, at) {
                    return;
                }
                if active {
                    ended.inactive.remove(&user_id);
                    return;
                }
                ended.inactive.insert(user_id, at);
                Revoked::User(user_id)
            }
            _ => return, // a newer auth says more than this build knows
        };
        drop(ended);
        // Fails only where nobody has a socket open.
        let _ = self.0.news.send(news);
    }

    /// Takes over auth's list; returns whether auth answered.
    async fn ask(&self, auth: &Transport, now: Timestamp) -> bool {
        self.0.ended.write().forget(now);
        let mut client = pb::auth_service_client::AuthServiceClient::new(auth.clone().deadline(Duration::from_secs(2)));
        let record = match client.list_revocations(pb::ListRevocationsRequest {}).await {
            Ok(answer) => answer.into_inner().revocations,
            Err(status) => {
                debug!(code = ?status.code(), "auth did not say which sessions ended");
                return false;
            }
        };
        let at = |revocation: &pb::Revocation| revocation.at.and_then(timestamp::from_protobuf).unwrap_or(now);
        let mut news = Vec::new();
        let mut ended = self.0.ended.write();
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
        ended.known = true;
        drop(ended);
        for revoked in news {
            let _ = self.0.news.send(revoked);
        }
        true
    }
}

impl Ended {
    /// Whether a later change of the account is known already. Notes the change if it is not late.
    fn is_late(&mut self, user: UserId, change: u64, at: Timestamp) -> bool {
        if change == 0 {
            return false; // from a producer that does not number them
        }
        let late = self.changes.get(&user).is_some_and(|(last, _)| change <= *last);
        if !late {
            self.changes.insert(user, (change, at));
        }
        late
    }

    /// Forgets what is so old that no token of it is valid any more.
    fn forget(&mut self, now: Timestamp) {
        let matters = |at: &Timestamp| now.duration_since(*at).unsigned_abs() <= LIFETIME + RECHECK;
        self.sessions.retain(|_, at| matters(at));
        self.changes.retain(|_, (_, at)| matters(at));
    }
}
