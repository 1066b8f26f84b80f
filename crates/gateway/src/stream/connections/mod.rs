//! The registry of open connections that follow topics (WebSockets and event streams) or receive what a language model writes: the
//! user of each, how to reach it, and why it must end.

mod drain;
mod handle;
mod list;
mod origin;
mod renewal;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use turnpike_identity::{Caller, Refusal};
use turnpike_kit::Clock;
use turnpike_token::Claims;
use turnpike_topic::{SessionId, UserId};

pub(crate) use self::{
    handle::{Handle, Target},
    list::Query,
    origin::{Origin, StreamTo},
};
use super::{ending::Ending, wheel::Wheel};

#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    clock: Clock,
    check: Check,
    /// The limit of connections of one user; 0 is no limit.
    per_user: u32,
    /// The bus has been unavailable for a while.
    bus_outage: AtomicBool,
    wheel: Arc<Wheel>,
    drained: CancellationToken,
}

/// Checks that a session has not ended.
type Check = Box<dyn Fn(&Claims) -> Result<(), Refusal> + Send + Sync>;

#[derive(Default)]
struct Table {
    next: u64,
    handles: HashMap<u64, Arc<Handle>>,
    of_user: HashMap<(UserId, Purpose), u32>,
    /// No connection registers any more.
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

/// Streams of one user, on this gateway, that receive what language models write. The chat service limits how many answers it
/// generates; this also bounds clients that do not read.
const GENERATIONS_PER_USER: u32 = 256;

/// Removes its connection from the registry when it is dropped.
pub(crate) struct Registration {
    connections: Connections,
    pub(crate) id: u64,
    pub(crate) handle: Arc<Handle>,
}

impl Connections {
    pub(crate) fn new(
        per_user: u32,
        clock: Clock,
        check: impl Fn(&Claims) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        let (check, bus_outage, wheel) = (Box::new(check), AtomicBool::new(false), Arc::new(Wheel::new()));
        Self(Arc::new(Inner {
            table: Mutex::default(),
            clock,
            check,
            per_user,
            bus_outage,
            wheel,
            drained: CancellationToken::new(),
        }))
    }

    /// Cancelled when the process stops and every connection was ended. What serves connections runs until then.
    pub(crate) fn drained(&self) -> &CancellationToken {
        &self.0.drained
    }

    /// The timer wheel that looks at every registered connection.
    pub(crate) fn wheel(&self) -> &Arc<Wheel> {
        &self.0.wheel
    }

    /// Registers a connection of a verified caller.
    ///
    /// The session can end after its verification and before its registration, when the connection is not in the table yet.
    /// The session is therefore checked again after the registration: a session that ends later finds the connection.
    pub(crate) fn register(&self, caller: &Caller, origin: Origin) -> Result<Registration, Ending> {
        self.register_for(Purpose::Topics, caller, origin)
    }

    /// Like [`Connections::register`], for a stream of what a language model writes.
    pub(crate) fn register_generation(&self, caller: &Caller, origin: Origin) -> Result<Registration, Ending> {
        let registration = self.register_for(Purpose::Generation, caller, origin)?;
        registration.attach(Target::Stream(Arc::default()));
        Ok(registration)
    }

    fn register_for(&self, purpose: Purpose, caller: &Caller, origin: Origin) -> Result<Registration, Ending> {
        let registration = self.insert(purpose, caller, origin)?;
        (self.0.check)(&caller.claims)?;
        Ok(registration)
    }

    fn insert(&self, purpose: Purpose, caller: &Caller, origin: Origin) -> Result<Registration, Ending> {
        let since = self.0.clock.now();
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
        let handle = Arc::new(Handle::new(purpose, caller.clone(), origin, since, self.0.wheel.now()));
        table.handles.insert(id, handle.clone());
        self.0.look_soon(id, &handle);
        metrics::gauge!("turnpike_gateway_sockets").increment(1);
        Ok(Registration { connections: self.clone(), id, handle })
    }

    fn end_session(&self, session: SessionId) {
        for handle in self.those(|claims| claims.session_id == session) {
            handle.end(Ending::SessionEnded);
        }
    }

    fn end_user(&self, user: UserId) {
        for handle in self.those(|claims| claims.user_id == user) {
            handle.end(Ending::AccountInactive);
        }
    }

    fn look_at_all(&self) {
        for (id, handle) in &self.0.table.lock().handles {
            self.0.look_soon(*id, handle);
        }
    }

    /// The connections with these claims. They are collected first: nothing is written to a connection under the lock.
    fn those(&self, which: impl Fn(&Claims) -> bool) -> Vec<Arc<Handle>> {
        let table = self.0.table.lock();
        table.handles.values().filter(|handle| which(&handle.caller.lock().claims)).cloned().collect()
    }
}

impl Inner {
    /// Makes the timer wheel look at a connection in its next turn.
    fn look_soon(&self, id: u64, handle: &Handle) {
        handle.scheduled.set(self.wheel.schedule(id, self.wheel.now()));
    }
}

impl Registration {
    pub(crate) fn user_id(&self) -> UserId {
        self.handle.user_id
    }

    /// The connection is open, and can be ended from now on.
    pub(crate) fn attach(&self, target: Target) {
        self.handle.attach(target);
        self.connections.0.look_soon(self.id, &self.handle);
        self.handle.report_bus_outage(self.connections.0.bus_outage.load(Ordering::SeqCst));
    }

    /// Replaces the access token by a newer one of the same user. The session is checked afterwards, as in
    /// [`Connections::register`].
    pub(crate) fn renew(&self, caller: Caller) -> Result<(), Refusal> {
        let claims = caller.claims.clone();
        *self.handle.caller.lock() = caller;
        self.connections.0.look_soon(self.id, &self.handle); // the new token may expire earlier
        (self.connections.0.check)(&claims)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.connections.0.table.lock();
        table.handles.remove(&self.id);
        let counted = (self.user_id(), self.handle.purpose);
        if let Some(count) = table.of_user.get_mut(&counted) {
            *count -= 1;
            if *count == 0 {
                table.of_user.remove(&counted);
            }
        }
        metrics::gauge!("turnpike_gateway_sockets").decrement(1);
    }
}
