//! Every open socket: whose it is, how to wake it, and when it must go.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast::error::RecvError};
use turnpike_bus::{Bus, Status};
use turnpike_event::{SessionId, UserId};
use turnpike_kit::{Caller, Death, Process, Refusal, Revocations, Revoked};

use super::Close;

/// The open sockets of this gateway.
#[derive(Clone)]
pub(crate) struct Sockets(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    /// Of one user; 0 is no limit.
    most: u32,
    /// The bus has been away for a while.
    bus_away: AtomicBool,
}

#[derive(Default)]
struct Table {
    next: u64,
    handles: HashMap<u64, Arc<Handle>>,
    of_user: HashMap<UserId, u32>,
}

/// What others know of a socket.
pub(crate) struct Handle {
    /// Something may have happened for this socket.
    pub(crate) wake: Arc<Notify>,
    caller: Mutex<Caller>,
    ending: AtomicU8,
}

/// A socket's place in the registry, given back when it is dropped.
pub(crate) struct Place {
    sockets: Sockets,
    id: u64,
    user_id: UserId,
    pub(crate) handle: Arc<Handle>,
}

/// How late a socket may learn that its token has expired.
const EXPIRY_LOOK: Duration = Duration::from_secs(1);

/// [`Handle::ending`]: nothing, or why.
const OPEN: u8 = 0;
const SESSION_ENDED: u8 = 1;
const STOPPING: u8 = 2;
const INACTIVE: u8 = 3;

impl Sockets {
    pub(crate) fn new(most: u32) -> Self {
        Self(Arc::new(Inner { table: Mutex::default(), most, bus_away: AtomicBool::new(false) }))
    }

    /// A place for a socket; `None` if the user has too many.
    pub(crate) fn enter(&self, caller: &Caller) -> Option<Place> {
        let mut table = self.0.table.lock().expect("no panic while it is held");
        let user_id = caller.claims.user_id;
        let count = table.of_user.entry(user_id).or_default();
        if self.0.most > 0 && *count >= self.0.most {
            return None;
        }
        *count += 1;
        table.next += 1;
        let id = table.next;
        let handle =
            Arc::new(Handle { wake: Arc::default(), caller: Mutex::new(caller.clone()), ending: AtomicU8::new(OPEN) });
        table.handles.insert(id, handle.clone());
        metrics::gauge!("turnpike_gateway_sockets").increment(1);
        Some(Place { sockets: self.clone(), id, user_id, handle })
    }

    /// Whether the bus has been away for a while.
    pub(crate) fn bus_away(&self) -> bool {
        self.0.bus_away.load(Ordering::Relaxed)
    }

    /// Ends sockets whose session ends or whose token expires, and all of them when the process stops; tells all when the bus
    /// goes.
    pub(crate) fn watch(&self, process: &Process, revocations: &Revocations, bus: &Bus) {
        self.watch_revocations(process, revocations);
        self.watch_expiry(process);
        self.watch_bus(process, bus);
        let (sockets, stopping) = (self.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("sockets stop", Death::Ends, async move {
            stopping.cancelled().await;
            sockets.each(|handle| handle.end(STOPPING));
        });
    }

    fn watch_revocations(&self, process: &Process, revocations: &Revocations) {
        let (sockets, stopping, revocations) = (self.clone(), process.tasks.stopping().clone(), revocations.clone());
        process.tasks.spawn("sockets revocation", Death::Fatal, async move {
            let mut news = revocations.subscribe();
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
                        sockets.each(|handle| match revocations.check(&handle.caller().claims) {
                            Ok(()) => {}
                            Err(Refusal::Inactive) => handle.end(INACTIVE),
                            Err(_) => handle.end(SESSION_ENDED),
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
        process.tasks.spawn("sockets expiry", Death::Fatal, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.sleep(EXPIRY_LOOK) => {}
                }
                let now = clock.now();
                sockets.each(|handle| {
                    if handle.expires_at() <= now {
                        handle.end(SESSION_ENDED);
                    }
                });
            }
        });
    }

    fn watch_bus(&self, process: &Process, bus: &Bus) {
        let (sockets, mut status, stopping) = (self.clone(), bus.status(), process.tasks.stopping().clone());
        process.tasks.spawn("sockets bus", Death::Ends, async move {
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
                handle.end(SESSION_ENDED);
            }
        });
    }

    fn end_user(&self, user: UserId) {
        self.each(|handle| {
            if handle.caller().claims.user_id == user {
                handle.end(INACTIVE);
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

    /// The same user with another token.
    pub(crate) fn renew(&self, caller: Caller) {
        *self.caller.lock().expect("no panic while it is held") = caller;
    }

    fn end(&self, why: u8) {
        // The first reason stands.
        let _ = self.ending.compare_exchange(OPEN, why, Ordering::Relaxed, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Why this socket must go.
    pub(crate) fn ending(&self) -> Option<Close> {
        match self.ending.load(Ordering::Relaxed) {
            OPEN => None,
            STOPPING => Some(Close::Stopping),
            INACTIVE => Some(Close::Inactive),
            _ => Some(Close::SessionEnded),
        }
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
