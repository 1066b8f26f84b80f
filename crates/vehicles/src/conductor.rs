//! Conducts open commands, one task each: opens the command's topic, dispatches the command to its connector, records the events
//! of the topic, and ends the command where nobody else does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::Timestamp;
use tracing::{Instrument, debug, info, info_span, warn};
use turnpike_bus::{Bus, Delivery, Follower, From, Status};
use turnpike_event::Event;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, OnExit, Tasks};
use turnpike_rpc::Context;
use turnpike_store::Store;
use turnpike_topic::Topic;

use crate::{
    announce::{Announcer, Declared},
    cancel,
    commands::{Command, Open},
    fleet::Fleet,
    handover::{Handoff, Outcome},
    leases::{self, Dispatch},
    lifecycle::{Effect, State},
    progress::Progress,
    record,
    renewal::{Leases, RENEW},
    retry::Retry,
};

/// What conducting needs.
#[derive(Clone)]
pub struct Conductor {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) fleet: Fleet,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// The leases of the commands that are being conducted.
    pub(crate) leases: Leases,
    /// How far the commands that this instance conducts are recorded.
    pub(crate) progress: Progress,
    /// How many they are.
    pub(crate) conducting: Arc<AtomicUsize>,
}

/// Counts one conducted command until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pause between two attempts to reach a connector.
pub(crate) const RETRY: Duration = Duration::from_millis(250);
/// Pause between two looks whether somebody has asked to cancel a command that no connector is known to have.
const LOOK: Duration = Duration::from_secs(1);
/// Why conducting stops before the command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another instance has taken over.
    TakenOver,
    /// This process stops.
    Stopping,
}

/// How many commands one instance conducts at once.
const AT_ONCE: usize = 10_000;

impl Conductor {
    /// Whether another command can be accepted.
    pub fn can_begin(&self) -> Result<(), Fault> {
        if matches!(*self.bus.status().borrow(), Status::Down { .. }) {
            let fault = Fault::new(Kind::Unavailable, "Commands cannot be followed just now; try again shortly");
            return Err(fault.retry_after(Duration::from_secs(1)));
        }
        if self.conducting.load(Ordering::Relaxed) < AT_ONCE {
            return Ok(());
        }
        Err(Fault::new(Kind::Unavailable, "Too many commands are running").retry_after(Duration::from_secs(1)))
    }

    /// Conducts a command in a task of its own.
    pub fn begin(&self, open: Open) {
        let (here, counted) = (self.clone(), Counted(self.conducting.clone()));
        self.conducting.fetch_add(1, Ordering::Relaxed);
        let entry = self.progress.enter(open.command.id, open.reached);
        let work = async move {
            let _held = (counted, entry);
            here.conduct(Box::new(open)).await;
        };
        // If it dies, its lease ends, and the command is taken over.
        self.tasks.spawn("command", OnExit::Continue, Context::current().scope(work));
    }

    /// Conducts a command until it has ended, is taken over, or this process stops.
    async fn conduct(self, open: Box<Open>) {
        let (id, fence) = (open.command.id, open.fence);
        let span = info_span!(parent: None, "command", command_id = %id, name = open.command.name);
        let store = self.store.clone();
        let stop = Conducting::new(self, *open).run().instrument(span).await;
        if stop == Err(Stop::Stopping) {
            // The next instance need not wait for the lease to end.
            if let Err(error) = leases::release(&store, id, fence).await {
                warn!(%error, command_id = %id, "a lease could not be released");
            }
        }
    }
}

/// One command, conducted.
pub(crate) struct Conducting {
    pub(crate) here: Conductor,
    pub(crate) open: Open,
    /// No other conductor can have handed it over.
    fresh: bool,
    /// The dispatch under way.
    pub(crate) handoff: Option<Handoff>,
    /// Whether the connector has it is not known.
    unanswered: bool,
    /// The connector's incarnation that was still seen when a later one had accepted the command.
    outlived: Option<String>,
    /// The end that this service has declared. The topic says whether it or another one came first.
    pub(crate) declared: Option<Declared>,
    /// The declared end is in the database.
    pub(crate) shown: bool,
}

impl Conducting {
    fn new(here: Conductor, mut open: Open) -> Self {
        let Command { state, completed_at, ref error, .. } = open.command;
        // An earlier conductor has declared this end, and the bus did not take it.
        let declared =
            state.is_end().then(|| Declared { state, error: error.clone(), at: completed_at.unwrap_or(open.run_by) });
        let shown = declared.is_some();
        if shown {
            open.command.state = State::InProgress; // as after `show`
        }
        // A read is submitted as dispatched.
        let fresh = state == State::Dispatched && open.fence == leases::FIRST_FENCE;
        Self { here, open, fresh, handoff: None, unanswered: false, outlived: None, declared, shown }
    }

    async fn run(mut self) -> Result<(), Stop> {
        let mut lease = self.here.leases.hold(self.open.command.id, self.open.fence);
        let clock = self.here.clock.clone();
        let stopping = self.here.tasks.stopping().clone();
        tokio::select! {
            ended = self.conduct() => ended,
            () = async {
                lease.lost().await;
                // The command has ended just now, perhaps; then the other branch is about to return.
                clock.sleep(RENEW).await;
            } => Err(Stop::TakenOver),
            () = stopping.cancelled() => Err(Stop::Stopping),
        }
    }

    async fn conduct(&mut self) -> Result<(), Stop> {
        self.prepare().await?;
        let from = self.open.reached.map_or(From::Start, From::After);
        let mut follower = self.here.bus.follow(Topic::Response(self.open.command.id), from);
        let mut read_again = false;
        // What the follower has given after the events that are being recorded.
        let mut ahead = None;
        loop {
            let due = self.here.clock.sleep_until(self.open.run_by);
            let undecided = self.declared.is_none();
            let (state, error) = tokio::select! {
                biased;
                delivery = next(&mut ahead, &mut follower) => {
                    match delivery {
                        Delivery::Record(record) => {
                            let mut records = vec![record.map(Event::from_bytes)];
                            // Events that have arrived already are recorded by the same write.
                            while records.len() < record::TOGETHER && ahead.is_none() {
                                match follower.next().now_or_never() {
                                    Some(Delivery::Record(record)) => records.push(record.map(Event::from_bytes)),
                                    other => {
                                        ahead = other;
                                        break;
                                    }
                                }
                            }
                            if self.record(&records).await? {
                                return Ok(());
                            }
                        }
                        Delivery::Reset { reason, .. } => {
                            warn!(?reason, "the command's topic was lost; its earlier events are recorded");
                            // A declared end that was lost with it is published again: nobody else will.
                            if let Some(end) = self.declared.clone() {
                                self.announce(end).await?;
                            }
                        }
                        Delivery::CaughtUp { .. } => {}
                        // The final event was recorded before this, and ended the command. If it was not, the recorded offset is
                        // ahead of what was recorded: the whole topic is read again, and what is recorded already is skipped.
                        Delivery::Closed if !read_again => {
                            warn!("the topic is closed and the command is not: the topic is read again from its start");
                            read_again = true;
                            follower = self.here.bus.follow(Topic::Response(self.open.command.id), From::Start);
                        }
                        Delivery::Closed => return Ok(()),
                    }
                    continue;
                }
                outcome = Handoff::outcome(&mut self.handoff), if self.handoff.is_some() => {
                    self.handoff = None;
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
                () = lost(&self.here, &self.open, self.outlived.as_deref()), if undecided => {
                    let message = "The connector was restarted while the command was running".to_owned();
                    (self.open.command.effect.when_lost(), Some(("CONNECTOR_LOST".to_owned(), message)))
                }
                () = cancelled(&self.here, &self.open), if undecided && self.unanswered => (State::Cancelled, None),
                // No error event before it: a late answer could come in between, and it would stand there untrue.
                () = due, if undecided => (self.at_the_deadline().state, None),
            };
            self.declare(Declared { state, error, at: self.here.clock.now() }).await?;
        }
    }

    /// Opens the topic and dispatches the command. A deadline that comes before the topic can be opened ends the command: then,
    /// and after a declared end, nothing is dispatched.
    async fn prepare(&mut self) -> Result<(), Stop> {
        if self.open.reached.is_none() {
            let due = self.here.clock.sleep_until(self.open.run_by);
            let mut opening = Box::pin(self.announcer().open(self.here.clock.now()));
            tokio::select! {
                biased;
                () = &mut opening => {}
                () = due, if self.declared.is_none() => {
                    let end = self.at_the_deadline();
                    info!(state = end.state.as_str(), "the command has ended before its topic could be opened");
                    self.declared = Some(end.clone());
                    self.show(&end).await?;
                    opening.await;
                }
            }
        }
        if let Some(end) = self.declared.clone() {
            return self.announce(end).await;
        }
        match self.dispatch().await? {
            Dispatch::Go => self.handoff = Some(Handoff::begin(&self.here, &self.open, self.fresh)),
            Dispatch::Cancelled => {
                let end = Declared { state: State::Cancelled, error: None, at: self.here.clock.now() };
                self.declare(end).await?;
            }
            Dispatch::TooLate => {} // the deadline is declared next
            Dispatch::NotOurs => return Err(Stop::TakenOver),
        }
        Ok(())
    }

    /// Marks a pending command as dispatched, before anything leaves: from then on it counts as possibly run. One that was
    /// left by another conductor is where that one left it.
    async fn dispatch(&mut self) -> Result<Dispatch, Stop> {
        if self.open.command.state != State::Pending {
            return Ok(Dispatch::Go);
        }
        let mut retry = Retry::default();
        loop {
            if self.here.clock.now() >= self.open.run_by {
                return Ok(Dispatch::TooLate);
            }
            match leases::mark_dispatched(&self.here.store, self.open.command.id, self.open.fence).await {
                Ok(Dispatch::Go) => {
                    self.open.command.state = State::Dispatched;
                    self.fresh = true;
                    return Ok(Dispatch::Go);
                }
                Ok(other) => return Ok(other),
                Err(error) => {
                    retry.pause(&self.here.clock, "a command cannot be marked as dispatched yet", error).await;
                }
            }
        }
    }

    pub(crate) fn announcer(&self) -> Announcer {
        Announcer { bus: self.here.bus.clone(), clock: self.here.clock.clone(), id: self.open.command.id }
    }
}

async fn next(ahead: &mut Option<Delivery>, follower: &mut Follower) -> Delivery {
    match ahead.take() {
        Some(delivery) => delivery,
        None => follower.next().await,
    }
}

/// Waits until the connector turns out to be another incarnation than the one that accepted the command.
async fn lost(here: &Conductor, open: &Open, outlived: Option<&str>) {
    match &open.instance_id {
        Some(known) => here.fleet.lost(&open.connector, known, outlived).await,
        None => std::future::pending().await,
    }
}

/// Waits until somebody asks to cancel a command of which no connector is known to have it. One that must not run twice may
/// be running: then the connector is asked to stop it, and the deadline holds.
async fn cancelled(here: &Conductor, open: &Open) {
    loop {
        here.clock.sleep(LOOK).await;
        match cancel::is_asked(&here.store, open.command.id).await {
            Ok(false) => {}
            Ok(true) if open.command.effect != Effect::Unsafe => return,
            Ok(true) => cancel::deliver(here, open).await,
            Err(error) => debug!(%error, "whether a command is to be cancelled is not known"),
        }
    }
}

pub(crate) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    // Everything here is after 1970: nanoseconds are never negative.
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
