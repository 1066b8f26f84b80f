//! One open command under supervision: its topic is opened, it is dispatched to its connector, the events of its topic are
//! archived, and an end is declared if no connector publishes one.

use std::time::Duration;

use futures_util::FutureExt;
use tracing::{debug, info, warn};
use turnpike_bus::{Delivery, Follower, From};
use turnpike_event::Event;
use turnpike_kit::Retry;
use turnpike_topic::Topic;

use crate::{
    archive, cancel,
    commands::{Command, Open},
    dispatch::{Dispatching, Outcome},
    leases::{self, Marked},
    lifecycle::{Effect, State},
    publisher::{Declared, Publisher},
    renewal::RENEW,
    resources::Resources,
};

/// Pause between two checks for a cancellation of a command that no connector is known to have accepted.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Why supervision stops before the command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another instance has taken over.
    TakenOver,
    /// This process stops.
    Stopping,
}

/// One open command.
pub(crate) struct Supervised {
    pub(crate) resources: Resources,
    pub(crate) open: Open,
    /// No other instance can have dispatched the command.
    fresh: bool,
    pub(crate) dispatching: Option<Dispatching>,
    /// It is not known whether a connector has the command.
    unanswered: bool,
    /// The earlier incarnation of the connector, if the connector's stream still reported it when a newer one had accepted the
    /// command.
    outlived: Option<String>,
    /// The end that this service has declared. The topic's final event shows whether it or another end was published first.
    pub(crate) declared: Option<Declared>,
    /// The declared end is stored in the database.
    pub(crate) end_stored: bool,
}

impl Supervised {
    pub(crate) fn new(resources: Resources, mut open: Open) -> Self {
        let Command { state, completed_at, ref error, .. } = open.command;
        // An earlier supervisor declared and stored this end, and the topic is not known to be closed with it.
        let declared =
            state.is_end().then(|| Declared { state, error: error.clone(), at: completed_at.unwrap_or(open.run_by) });
        let end_stored = declared.is_some();
        if end_stored {
            open.command.state = State::InProgress; // as after `store_end`
        }
        // A read is submitted as dispatched.
        let fresh = state == State::Dispatched && open.fence == leases::FIRST_FENCE;
        Self { resources, open, fresh, dispatching: None, unanswered: false, outlived: None, declared, end_stored }
    }

    pub(crate) async fn run(mut self) -> Result<(), Stop> {
        let mut lease = self.resources.leases.hold(self.open.command.id, self.open.fence);
        let clock = self.resources.clock.clone();
        let stopping = self.resources.tasks.stopping().clone();
        tokio::select! {
            ended = self.supervise() => ended,
            () = async {
                lease.lost().await;
                // The command may have ended just now; then the other branch is about to return.
                clock.sleep(RENEW).await;
            } => Err(Stop::TakenOver),
            () = stopping.cancelled() => Err(Stop::Stopping),
        }
    }

    async fn supervise(&mut self) -> Result<(), Stop> {
        self.prepare().await?;
        let from = self.open.reached.map_or(From::Start, From::After);
        let mut follower = self.resources.bus.follow(Topic::Response(self.open.command.id), from);
        let mut read_again = false;
        // The next delivery of the follower, if it is not one of the events that are being archived.
        let mut ahead = None;
        loop {
            let due = self.resources.clock.sleep_until(self.open.run_by);
            let undecided = self.declared.is_none();
            let (state, error) = tokio::select! {
                biased;
                delivery = next(&mut ahead, &mut follower) => {
                    match delivery {
                        Delivery::Record(record) => {
                            let mut records = vec![record.map(Event::from_bytes)];
                            // Events that have arrived already are archived by the same write.
                            while records.len() < archive::TOGETHER && ahead.is_none() {
                                match follower.next().now_or_never() {
                                    Some(Delivery::Record(record)) => records.push(record.map(Event::from_bytes)),
                                    other => {
                                        ahead = other;
                                        break;
                                    }
                                }
                            }
                            if self.archive(&records).await? {
                                return Ok(());
                            }
                        }
                        Delivery::Reset { reason, .. } => {
                            warn!(?reason, "the command's topic was lost; its earlier events are archived");
                            // A declared end that was lost with the topic is published again: only this service publishes it.
                            if let Some(end) = self.declared.clone() {
                                self.publish_end(end).await?;
                            }
                        }
                        Delivery::CaughtUp { .. } => {}
                        // The final event should have been archived before this and have ended the command. If not, the stored
                        // offset is ahead of the archive: the topic is read again, and events that are archived are skipped.
                        Delivery::Closed if !read_again => {
                            warn!("the topic is closed and the command is not: the topic is read again from its start");
                            read_again = true;
                            follower = self.resources.bus.follow(Topic::Response(self.open.command.id), From::Start);
                        }
                        Delivery::Closed => return Ok(()),
                    }
                    continue;
                }
                outcome = Dispatching::outcome(&mut self.dispatching), if self.dispatching.is_some() => {
                    self.dispatching = None;
                    match outcome {
                        Outcome::Accepted { instance_id, outlived } => {
                            self.open.instance_id = Some(instance_id);
                            self.outlived = outlived;
                            continue;
                        }
                        Outcome::Unknown => {
                            self.unanswered = true;
                            continue;
                        }
                        Outcome::Refused { state, code, message } => (state, Some((code, message))),
                        Outcome::Cancelled => (State::Cancelled, None),
                    }
                }
                () = lost(&self.resources, &self.open, self.outlived.as_deref()), if undecided => {
                    let message = "The connector was restarted while the command was running".to_owned();
                    (self.open.command.effect.when_lost(), Some(("CONNECTOR_LOST".to_owned(), message)))
                }
                () = cancelled(&self.resources, &self.open), if undecided && self.unanswered => (State::Cancelled, None),
                // No error event is published before the final event: a late answer could be published between the two, and the
                // error would then be wrong.
                () = due, if undecided => (self.at_the_deadline().state, None),
            };
            self.declare(Declared { state, error, at: self.resources.clock.now() }).await?;
        }
    }

    /// Opens the topic and dispatches the command. A deadline that comes before the topic can be opened ends the command: then,
    /// and after a declared end, nothing is dispatched.
    async fn prepare(&mut self) -> Result<(), Stop> {
        if self.open.reached.is_none() {
            let due = self.resources.clock.sleep_until(self.open.run_by);
            let mut opening = Box::pin(self.publisher().open(self.resources.clock.now()));
            tokio::select! {
                biased;
                () = &mut opening => {}
                () = due, if self.declared.is_none() => {
                    let end = self.at_the_deadline();
                    info!(state = end.state.as_str(), "the command has ended before its topic could be opened");
                    self.declared = Some(end.clone());
                    self.store_end(&end).await?;
                    opening.await;
                }
            }
        }
        if let Some(end) = self.declared.clone() {
            return self.publish_end(end).await;
        }
        match self.mark_dispatched().await? {
            Marked::Dispatched => {
                self.dispatching = Some(Dispatching::begin(&self.resources, &self.open, self.fresh));
            }
            Marked::Cancelled => {
                let end = Declared { state: State::Cancelled, error: None, at: self.resources.clock.now() };
                self.declare(end).await?;
            }
            Marked::TooLate => {} // the deadline is declared next
            Marked::NotOurs => return Err(Stop::TakenOver),
        }
        Ok(())
    }

    /// Marks a pending command as dispatched before it is sent: from then on it counts as possibly run. A command that was taken
    /// over keeps its state.
    async fn mark_dispatched(&mut self) -> Result<Marked, Stop> {
        if self.open.command.state != State::Pending {
            return Ok(Marked::Dispatched);
        }
        let mut retry = Retry::default();
        loop {
            if self.resources.clock.now() >= self.open.run_by {
                return Ok(Marked::TooLate);
            }
            match leases::mark_dispatched(&self.resources.store, self.open.command.id, self.open.fence).await {
                Ok(Marked::Dispatched) => {
                    self.open.command.state = State::Dispatched;
                    self.fresh = true;
                    return Ok(Marked::Dispatched);
                }
                Ok(other) => return Ok(other),
                Err(error) => {
                    retry.pause(&self.resources.clock, "a command cannot be marked as dispatched yet", error).await;
                }
            }
        }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let Resources { bus, clock, .. } = &self.resources;
        Publisher { bus: bus.clone(), clock: clock.clone(), id: self.open.command.id }
    }
}

async fn next(ahead: &mut Option<Delivery>, follower: &mut Follower) -> Delivery {
    match ahead.take() {
        Some(delivery) => delivery,
        None => follower.next().await,
    }
}

/// Waits until the connector is another incarnation than the one that accepted the command: it was restarted.
async fn lost(resources: &Resources, open: &Open, outlived: Option<&str>) {
    match &open.instance_id {
        Some(known) => resources.fleet.lost(&open.connector, known, outlived).await,
        None => std::future::pending().await,
    }
}

/// Waits for a cancellation of a command that no connector is known to have accepted. An unsafe command may be running: this asks
/// the connector to stop it and does not return, so the command ends by its final event or at its deadline.
async fn cancelled(resources: &Resources, open: &Open) {
    loop {
        resources.clock.sleep(CHECK_EVERY).await;
        match cancel::is_asked(&resources.store, open.command.id).await {
            Ok(false) => {}
            Ok(true) if open.command.effect != Effect::Unsafe => return,
            Ok(true) => cancel::deliver(&resources.fleet, open).await,
            Err(error) => debug!(%error, "the cancellation of a command could not be checked for"),
        }
    }
}
