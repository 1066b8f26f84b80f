//! The tasks that watch for the ends of connections: revocations, the timer wheel, the bus, and the stop of the process.

use std::{sync::atomic::Ordering, time::Duration};

use jiff::SignedDuration;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{MissedTickBehavior, interval_at},
};
use turnpike_bus::{Bus, Status};
use turnpike_identity::{Refusal, Revocations, Revoked};
use turnpike_kit::{OnExit, Process, next_tick};

use super::Connections;
use crate::stream::wheel::TICK;

/// The clock was set if it deviates from the time that has passed by this much. It is also how late an expiry can be.
const MAX_DEVIATION: SignedDuration = SignedDuration::from_secs(1);

impl Connections {
    /// Ends connections whose session ends or whose token expires, and all of them when the process stops. Reports to all of them
    /// that the bus has become unavailable. `drain` is the time over which they end when the process stops.
    pub(crate) fn watch(&self, process: &Process, revocations: &Revocations, bus: &Bus, drain: Duration) {
        self.watch_revocations(process, revocations);
        self.turn_the_wheel(process);
        self.watch_bus(process, bus);
        let (connections, stopping) = (self.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("connections stop", OnExit::Continue, async move {
            stopping.cancelled().await;
            connections.drain(drain).await;
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
                        for handle in connections.those(|_| true) {
                            match (connections.0.check)(&handle.caller().claims) {
                                Ok(()) | Err(Refusal::Unavailable) => {}
                                Err(refusal) => handle.end(refusal.into()),
                            }
                        }
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Heartbeats, tokens that expire, clients that do not read, retries: one task for all connections. It runs until the last
    /// connection of a stopping process has ended, because it also shuts down those that do not answer a close frame.
    pub(crate) fn turn_the_wheel(&self, process: &Process) {
        let (connections, clock) = (self.clone(), process.clock.clone());
        process.tasks.spawn("connections timer", OnExit::StopProcess, async move {
            let mut ticks = interval_at(next_tick(TICK), TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let (began, mut set) = (ticks.tick().await, clock.now());
            loop {
                ticks.tick().await;
                let wheel = &connections.0.wheel;
                let time = clock.now();
                // Deadlines are durations, except the expiry of a token. When the clock was set, every expiry is another duration.
                let deviation = time.duration_since(set + began.elapsed());
                if deviation.abs() >= MAX_DEVIATION {
                    set = time - began.elapsed();
                    connections.look_at_all();
                }
                wheel.turn(began.elapsed(), |id| {
                    let Some(handle) = connections.0.table.lock().handles.get(&id).cloned() else { return };
                    let (now, next) = (wheel.now(), handle.look(wheel.now(), time));
                    // Each connection has one look in the future; this one may be an additional look.
                    if handle.scheduled.get().left(now) == 0 {
                        handle.scheduled.set(wheel.schedule(id, next));
                    }
                });
                let table = connections.0.table.lock();
                if table.stopping && table.handles.is_empty() {
                    return;
                }
            }
        });
    }

    fn watch_bus(&self, process: &Process, bus: &Bus) {
        let (connections, mut status, stopping) = (self.clone(), bus.status(), process.tasks.stopping().clone());
        process.tasks.spawn("connections bus", OnExit::Continue, async move {
            loop {
                let outage = matches!(&*status.borrow_and_update(), Status::Down { .. });
                connections.0.bus_outage.store(outage, Ordering::SeqCst);
                for handle in connections.those(|_| true) {
                    handle.report_bus_outage(outage);
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    changed = status.changed() => if changed.is_err() { return },
                }
            }
        });
    }
}
