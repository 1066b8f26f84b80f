//! Sessions that ended before their access tokens expired.

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

/// The sessions that ended, and the accounts that became inactive, within the lifetime of an access token. Events on the topic
/// `sessions` keep the list current; auth's own list is read at the start, after an outage of the bus, and every 15 seconds.
///
/// Until auth has answered once, the ended sessions are not known, and every token is refused as [`Refusal::Unavailable`]. Later,
/// while auth cannot be reached, the known list stays in use. An ended session can be missing from it only if the bus has also
/// lost the event of its end. Its last access token then works until it expires, for at most 15 minutes: without auth no session
/// gets a new token.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    ended: RwLock<Ended>,
    news: broadcast::Sender<Revoked>,
}

#[derive(Default)]
struct Ended {
    /// Auth has answered: sessions and accounts that are not listed here are valid.
    known: bool,
    sessions: HashMap<SessionId, Timestamp>,
    inactive: HashMap<UserId, Timestamp>,
    /// The number and the time of the last known change of an account. An event with a number that is not higher is late.
    changes: HashMap<UserId, (u64, Timestamp)>,
}

/// Access that has just ended. Its open sockets must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// One session.
    Session(SessionId, EndReason),
    /// Every session of a user.
    User(UserId),
}

/// Pause between two requests to auth. The end of a session whose event was lost takes effect after this time at the latest.
const RECHECK: Duration = Duration::from_secs(15);

/// Pause between two requests while auth does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The reasons that readiness names until auth's first answer: before the first request, and after a request failed.
const UNKNOWN: &str = "auth has not answered yet, so the ended sessions are not known; every token is refused";
const NO_ANSWER: &str = "auth does not answer, so the ended sessions are not known; every token is refused";

impl Revocations {
    /// Follows the bus and asks auth, every second until it answers. The process is not ready before auth's first answer.
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
                        // earlier and lost events are in auth's list
                        Delivery::CaughtUp { .. } | Delivery::Reset { .. } => ask_at = tokio::time::Instant::now(),
                        Delivery::Closed => std::future::pending().await, // never: no service closes this topic
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

    /// Refuses a token whose session has ended or whose account is inactive. [`Refusal::Unavailable`] until auth has answered.
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

    /// Receives every revocation from now on. A receiver that lags must check all its sockets.
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
            _ => return, // an event of a newer version of auth
        };
        drop(ended);
        // Fails only without a receiver: in services that have no sockets.
        let _ = self.0.news.send(news);
    }

    /// Reads auth's list. Returns whether auth answered.
    async fn ask(&self, auth: &Transport, now: Timestamp) -> bool {
        self.0.ended.write().forget(now);
        let mut client = pb::auth_service_client::AuthServiceClient::new(auth.clone().deadline(Duration::from_secs(2)));
        let listed = match client.list_revocations(pb::ListRevocationsRequest {}).await {
            Ok(answer) => answer.into_inner().revocations,
            Err(status) => {
                debug!(code = ?status.code(), "auth did not answer the request for ended sessions");
                return false;
            }
        };
        let at = |revocation: &pb::Revocation| revocation.at.and_then(timestamp::from_protobuf).unwrap_or(now);
        let mut news = Vec::new();
        let mut ended = self.0.ended.write();
        let mut inactive = HashMap::new();
        for revocation in &listed {
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
    /// Whether a later change of the account is known. Stores the number of the change if it is not late.
    fn is_late(&mut self, user: UserId, change: u64, at: Timestamp) -> bool {
        if change == 0 {
            return false; // the producer does not number changes
        }
        let late = self.changes.get(&user).is_some_and(|(last, _)| change <= *last);
        if !late {
            self.changes.insert(user, (change, at));
        }
        late
    }

    /// Removes entries that are so old that every access token from before has expired.
    fn forget(&mut self, now: Timestamp) {
        let matters = |at: &Timestamp| now.duration_since(*at).unsigned_abs() <= LIFETIME + RECHECK;
        self.sessions.retain(|_, at| matters(at));
        self.changes.retain(|_, (_, at)| matters(at));
    }
}
