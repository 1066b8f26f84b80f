//! Every open socket and event stream: its user, how to wake it, and why it must end.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast::error::RecvError};
use turnpike_bus::{Bus, Status};
use turnpike_identity::{Caller, Refusal, Revocations, Revoked};
use turnpike_kit::{OnExit, Process};
use turnpike_token::Claims;
use turnpike_topic::{SessionId, UserId};

use super::ending::Ending;

/// The open sockets of this gateway.
#[derive(Clone)]
pub(crate) struct Sockets(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    check: Check,
    /// Of one user; 0 is no limit.
    most: u32,
    /// The bus has been away for a while.
    bus_away: AtomicBool,
}

/// Whether a session goes on.
type Check = Box<dyn Fn(&Claims) -> Result<(), Refusal> + Send + Sync>;

#[derive(Default)]
struct Table {
    next: u64,
    handles: HashMap<u64, Arc<Handle>>,
    of_user: HashMap<UserId, u32>,
    /// Set together with the ending of every handle: no socket registers behind it.
    stopping: bool,
}

/// What others know of a socket.
pub(crate) struct Handle {
    /// Something may have happened for this socket.
    pub(crate) wake: Arc<Notify>,
    caller: Mutex<Caller>,
    /// The first reason stands.
    ending: OnceLock<Ending>,
}

/// A socket's place in the registry, given back when it is dropped.
pub(crate) struct Place {
    sockets: Sockets,
    id: u64,
    pub(crate) user_id: UserId,
    pub(crate) handle: Arc<Handle>,
}

/// How late a socket may learn that its token has expired.
const EXPIRY_LOOK: Duration = Duration::from_secs(1);

impl Sockets {
    /// With a limit of sockets of one user, and with what says whether a session goes on.
    pub(crate) fn new(most: u32, check: impl Fn(&Claims) -> Result<(), Refusal> + Send + Sync + 'static) -> Self {
        let (check, bus_away) = (Box::new(check), AtomicBool::new(false));
        Self(Arc::new(Inner { table: Mutex::default(), check, most, bus_away }))
    }

    /// Registers a socket of a verified caller.
    ///
    /// The session can end between its verification and its registration, when nobody finds the socket in the table yet.
    /// It is therefore checked again afterwards: a session that ends later than this check finds the socket.
    pub(crate) fn enter(&self, caller: &Caller) -> Result<Place, Ending> {
        let place = self.register(caller)?;
        (self.0.check)(&caller.claims)?;
        Ok(place)
    }

    fn register(&self, caller: &Caller) -> Result<Place, Ending> {
        let mut table = self.0.table.lock().expect("no panic while it is held");
        if table.stopping {
            return Err(Ending::Stopping);
        }
        let user_id = caller.claims.user_id;
        let count = table.of_user.entry(user_id).or_default();
        if self.0.most > 0 && *count >= self.0.most {
            return Err(Ending::TooMany);
        }
        *count += 1;
        table.next += 1;
        let id = table.next;
        let handle =
            Arc::new(Handle { wake: Arc::default(), caller: Mutex::new(caller.clone()), ending: OnceLock::new() });
        table.handles.insert(id, handle.clone());
        metrics::gauge!("turnpike_gateway_sockets").increment(1);
        Ok(Place { sockets: self.clone(), id, user_id, handle })
    }

    /// Ends every socket and refuses new ones.
    fn stop(&self) {
        let mut table = self.0.table.lock().expect("no panic while it is held");
        table.stopping = true;
        for handle in table.handles.values() {
            handle.end(Ending::Stopping);
        }
    }

    /// Whether the bus has been away for a while.
    pub(crate) fn bus_away(&self) -> bool {
        self.0.bus_away.load(Ordering::Relaxed)
    }

    /// Ends sockets whose session ends or whose token expires, and all of them when the process stops; wakes all when the
    /// bus becomes unavailable or available.
    pub(crate) fn watch(&self, process: &Process, revocations: &Revocations, bus: &Bus) {
        self.watch_revocations(process, revocations);
        self.watch_expiry(process);
        self.watch_bus(process, bus);
        let (sockets, stopping) = (self.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("sockets stop", OnExit::Continue, async move {
            stopping.cancelled().await;
            sockets.stop();
        });
    }

    fn watch_revocations(&self, process: &Process, revocations: &Revocations) {
        let (sockets, stopping) = (self.clone(), process.tasks.stopping().clone());
        let mut news = revocations.subscribe();
        process.tasks.spawn("sockets revocation", OnExit::StopProcess, async move {
            loop {
                let revoked = tokio::select! {
                    () = stopping.cancelled() => return,
                    revoked = news.recv() => revoked,
                };
                match revoked {
                    Ok(Revoked::Session(session, _)) => sockets.end_session(session),
                    Ok(Revoked::User(user)) => sockets.end_user(user),
                    // Some were missed: look at each.
                    Err(RecvError::Lagged(_)) => {
                        sockets.each(|handle| match (sockets.0.check)(&handle.caller().claims) {
                            Ok(()) | Err(Refusal::Unavailable) => {}
                            Err(refusal) => handle.end(refusal.into()),
                        });
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// One look at all of them a second costs less than a timer for each.
    fn watch_expiry(&self, process: &Process) {
        let (sockets, clock, stopping) = (self.clone(), process.clock.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("sockets expiry", OnExit::StopProcess, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.sleep(EXPIRY_LOOK) => {}
                }
                let now = clock.now();
                sockets.each(|handle| {
                    if handle.expires_at() <= now {
                        handle.end(Ending::TokenExpired);
                    }
                });
            }
        });
    }

    fn watch_bus(&self, process: &Process, bus: &Bus) {
        let (sockets, mut status, stopping) = (self.clone(), bus.status(), process.tasks.stopping().clone());
        process.tasks.spawn("sockets bus", OnExit::Continue, async move {
            loop {
                let away = matches!(&*status.borrow_and_update(), Status::Down { .. });
                sockets.0.bus_away.store(away, Ordering::Relaxed);
                sockets.each(|handle| handle.wake.notify_one());
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
        for handle in self.0.table.lock().expect("no panic while it is held").handles.values() {
            act(handle);
        }
    }
}

impl Handle {
    pub(crate) fn caller(&self) -> Caller {
        self.caller.lock().expect("no panic while it is held").clone()
    }

    fn expires_at(&self) -> Timestamp {
        self.caller.lock().expect("no panic while it is held").claims.expires_at
    }

    fn end(&self, why: Ending) {
        let _ = self.ending.set(why); // fails where an earlier reason stands
        self.wake.notify_one();
    }

    /// Waits until this socket must end. A wake for another reason is passed on when the wait is dropped.
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

    /// Why this socket must end.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }
}

impl Place {
    /// Replaces the access token by a newer one of the same user. Checked again afterwards, as in [`Sockets::enter`].
    pub(crate) fn renew(&self, caller: Caller) -> Result<(), Refusal> {
        let claims = caller.claims.clone();
        *self.handle.caller.lock().expect("no panic while it is held") = caller;
        (self.sockets.0.check)(&claims)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.sockets.0.table.lock().expect("no panic while it is held");
        table.handles.remove(&self.id);
        if let Some(count) = table.of_user.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                table.of_user.remove(&self.user_id);
            }
        }
        metrics::gauge!("turnpike_gateway_sockets").decrement(1);
    }
}

#[cfg(test)]
mod tests;
