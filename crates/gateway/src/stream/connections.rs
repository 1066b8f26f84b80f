//! The registry of open connections that follow topics (WebSockets and event streams) or receive what a language model writes: the
//! user of each, how to wake it, and why it must end.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast::error::RecvError};
use turnpike_bus::{Bus, Status};
use turnpike_identity::{Caller, Refusal, Revocations, Revoked};
use turnpike_kit::{OnExit, Process};
use turnpike_token::Claims;
use turnpike_topic::{SessionId, UserId};

use super::ending::Ending;

#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    check: Check,
    /// The limit of connections of one user; 0 is no limit.
    per_user: u32,
    /// The bus has been unavailable for a while.
    bus_outage: AtomicBool,
}

/// Checks that a session has not ended.
type Check = Box<dyn Fn(&Claims) -> Result<(), Refusal> + Send + Sync>;

#[derive(Default)]
struct Table {
    next: u64,
    handles: HashMap<u64, Arc<Handle>>,
    of_user: HashMap<(UserId, Purpose), u32>,
    /// Set together with the ending of every handle: no connection registers afterwards.
    stopping: bool,
}

/// What a connection is for. Each purpose has its own limit for each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    /// It follows topics. It ends when its access token expires.
    Topics,
    /// It receives what a language model writes, which ends by itself: an access token that expires meanwhile does not end it.
    Generation,
}

/// A connection as the rest of the gateway sees it.
pub(crate) struct Handle {
    purpose: Purpose,
    /// Notified when there may be something to do for this connection.
    pub(crate) wake: Arc<Notify>,
    caller: Mutex<Caller>,
    /// Set once: the first reason counts.
    ending: OnceLock<Ending>,
}

/// Removes its connection from the registry when it is dropped.
pub(crate) struct Registration {
    connections: Connections,
    id: u64,
    pub(crate) user_id: UserId,
    pub(crate) handle: Arc<Handle>,
}

/// Streams of one user, on this gateway, that receive what language models write. The chat service limits how many answers it
/// generates; this also bounds clients that do not read.
const GENERATIONS_PER_USER: u32 = 256;

/// How often tokens are checked for expiry.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

impl Connections {
    pub(crate) fn new(per_user: u32, check: impl Fn(&Claims) -> Result<(), Refusal> + Send + Sync + 'static) -> Self {
        let (check, bus_outage) = (Box::new(check), AtomicBool::new(false));
        Self(Arc::new(Inner { table: Mutex::default(), check, per_user, bus_outage }))
    }

    /// Registers a connection of a verified caller.
    ///
    /// The session can end after its verification and before its registration, when the connection is not in the table yet.
    /// The session is therefore checked again after the registration: a session that ends later finds the connection.
    pub(crate) fn register(&self, caller: &Caller) -> Result<Registration, Ending> {
        self.register_for(Purpose::Topics, caller)
    }

    /// Like [`Connections::register`], for a stream of what a language model writes.
    pub(crate) fn register_generation(&self, caller: &Caller) -> Result<Registration, Ending> {
        self.register_for(Purpose::Generation, caller)
    }

    fn register_for(&self, purpose: Purpose, caller: &Caller) -> Result<Registration, Ending> {
        let registration = self.insert(purpose, caller)?;
        (self.0.check)(&caller.claims)?;
        Ok(registration)
    }

    fn insert(&self, purpose: Purpose, caller: &Caller) -> Result<Registration, Ending> {
        let mut table = self.0.table.lock();
        if table.stopping {
            return Err(Ending::Stopping);
        }
        let user_id = caller.claims.user_id;
        let limit = match purpose {
            Purpose::Topics => self.0.per_user,
            Purpose::Generation => GENERATIONS_PER_USER,
        };
        let count = table.of_user.entry((user_id, purpose)).or_default();
        if limit > 0 && *count >= limit {
            return Err(Ending::TooMany);
        }
        *count += 1;
        table.next += 1;
        let id = table.next;
        let handle = Arc::new(Handle {
            purpose,
            wake: Arc::default(),
            caller: Mutex::new(caller.clone()),
            ending: OnceLock::new(),
        });
        table.handles.insert(id, handle.clone());
        metrics::gauge!("turnpike_gateway_sockets").increment(1);
        Ok(Registration { connections: self.clone(), id, user_id, handle })
    }

    /// Ends every connection and refuses new ones.
    fn stop(&self) {
        let mut table = self.0.table.lock();
        table.stopping = true;
        for handle in table.handles.values() {
            handle.end(Ending::Stopping);
        }
    }

    pub(crate) fn bus_outage(&self) -> bool {
        self.0.bus_outage.load(Ordering::Relaxed)
    }

    /// Ends connections whose session ends or whose token expires, and all of them when the process stops. Wakes all of them
    /// when the bus becomes unavailable or available.
    pub(crate) fn watch(&self, process: &Process, revocations: &Revocations, bus: &Bus) {
        self.watch_revocations(process, revocations);
        self.watch_expiry(process);
        self.watch_bus(process, bus);
        let (connections, stopping) = (self.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("connections stop", OnExit::Continue, async move {
            stopping.cancelled().await;
            connections.stop();
        });
    }

    fn watch_revocations(&self, process: &Process, revocations: &Revocations) {
        let (connections, stopping) = (self.clone(), process.tasks.stopping().clone());
        let mut news = revocations.subscribe();
        process.tasks.spawn("connections revocation", OnExit::StopProcess, async move {
            loop {
                let revoked = tokio::select! {
                    () = stopping.cancelled() => return,
                    revoked = news.recv() => revoked,
                };
                match revoked {
                    Ok(Revoked::Session(session, _)) => connections.end_session(session),
                    Ok(Revoked::User(user)) => connections.end_user(user),
                    // Some revocations were missed: every session is checked.
                    Err(RecvError::Lagged(_)) => {
                        connections.each(|handle| match (connections.0.check)(&handle.caller().claims) {
                            Ok(()) | Err(Refusal::Unavailable) => {}
                            Err(refusal) => handle.end(refusal.into()),
                        });
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// One pass over all connections a second costs less than a timer for each.
    fn watch_expiry(&self, process: &Process) {
        let (connections, clock, stopping) = (self.clone(), process.clock.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("connections expiry", OnExit::StopProcess, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.sleep(EXPIRY_INTERVAL) => {}
                }
                let now = clock.now();
                connections.each(|handle| {
                    if handle.purpose == Purpose::Topics && handle.expires_at() <= now {
                        handle.end(Ending::TokenExpired);
                    }
                });
            }
        });
    }

    fn watch_bus(&self, process: &Process, bus: &Bus) {
        let (connections, mut status, stopping) = (self.clone(), bus.status(), process.tasks.stopping().clone());
        process.tasks.spawn("connections bus", OnExit::Continue, async move {
            loop {
                let outage = matches!(&*status.borrow_and_update(), Status::Down { .. });
                connections.0.bus_outage.store(outage, Ordering::Relaxed);
                connections.each(|handle| handle.wake.notify_one());
                tokio::select! {
                    () = stopping.cancelled() => return,
                    changed = status.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    fn end_session(&self, session: SessionId) {
        self.each(|handle| {
            if handle.caller().claims.session_id == session {
                handle.end(Ending::SessionEnded);
            }
        });
    }

    fn end_user(&self, user: UserId) {
        self.each(|handle| {
            if handle.caller().claims.user_id == user {
                handle.end(Ending::AccountInactive);
            }
        });
    }

    fn each(&self, act: impl Fn(&Handle)) {
        for handle in self.0.table.lock().handles.values() {
            act(handle);
        }
    }
}

impl Handle {
    pub(crate) fn caller(&self) -> Caller {
        self.caller.lock().clone()
    }

    fn expires_at(&self) -> Timestamp {
        self.caller.lock().claims.expires_at
    }

    fn end(&self, reason: Ending) {
        let _ = self.ending.set(reason); // an earlier reason stays
        self.wake.notify_one();
    }

    /// Waits until this connection must end. A wake for another reason is passed on when the wait is dropped.
    pub(crate) async fn ended(&self) -> Ending {
        struct PassOn<'a> {
            wake: &'a Notify,
            taken: bool,
        }
        impl Drop for PassOn<'_> {
            fn drop(&mut self) {
                if self.taken {
                    self.wake.notify_one();
                }
            }
        }
        let mut wake = PassOn { wake: &self.wake, taken: false };
        loop {
            if let Some(ending) = self.ending() {
                return ending;
            }
            wake.wake.notified().await;
            wake.taken = true;
        }
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }
}

impl Registration {
    /// Replaces the access token by a newer one of the same user. The session is checked afterwards, as in
    /// [`Connections::register`].
    pub(crate) fn renew(&self, caller: Caller) -> Result<(), Refusal> {
        let claims = caller.claims.clone();
        *self.handle.caller.lock() = caller;
        (self.connections.0.check)(&claims)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.connections.0.table.lock();
        table.handles.remove(&self.id);
        let counted = (self.user_id, self.handle.purpose);
        if let Some(count) = table.of_user.get_mut(&counted) {
            *count -= 1;
            if *count == 0 {
                table.of_user.remove(&counted);
            }
        }
        metrics::gauge!("turnpike_gateway_sockets").decrement(1);
    }
}

#[cfg(test)]
mod tests;
