//! What makes a command end: one task per open command, which opens its topic, hands it to the connector, records what
//! happens and declares what does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tracing::{Instrument, info, info_span, warn};
use turnpike_bus::{Bus, Delivery, From, PublishError, Status, UNTIL_DROPPED};
use turnpike_event::{Body, CommandState, Event, Record, Topic};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, Context, Death, Tasks};
use turnpike_store::Store;

use crate::{
    commands::Open,
    fleet::Fleet,
    handover::{HandedOver, Leaving},
    leases::{self, Dispatch},
    lifecycle::State,
    record,
};

/// What conducting needs.
#[derive(Clone)]
pub struct Conductor {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) fleet: Fleet,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// How many commands are being conducted.
    pub(crate) conducting: Arc<AtomicUsize>,
}

/// One of them; dropped however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Between attempts at something that is away.
pub(crate) const RETRY: Duration = Duration::from_millis(250);
/// A lease is renewed well before it ends.
const RENEW: Duration = Duration::from_millis(1500);

/// Why conducting stops before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The command has ended.
    Ended,
    /// Another instance has taken over.
    TakenOver,
    /// This process stops.
    Stopping,
}

/// An end that this service has declared: the state, and the error that explains it.
type Declared = (State, Option<(String, String)>);

/// How many commands one instance conducts at once.
const AT_ONCE: usize = 10_000;

impl Conductor {
    /// Whether another command fits, and could be told.
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
        let (here, count) = (self.clone(), self.conducting.clone());
        count.fetch_add(1, Ordering::Relaxed);
        let work = async move {
            let _counted = Counted(count);
            here.conduct(Box::new(open)).await;
        };
        // If it dies, its lease ends, and the command is taken over.
        self.tasks.spawn("command", Death::Ends, Context::current().scope(work));
    }

    /// Conducts a command until it has ended, is taken over, or this process stops.
    async fn conduct(self, open: Box<Open>) {
        let (id, fence) = (open.command.id, open.fence);
        let span = info_span!(parent: None, "command", command_id = %id, name = open.command.name);
        let store = self.store.clone();
        let stop = Conducting { here: self, open: *open, fresh: false, outlived: None }.run().instrument(span).await;
        if stop == Stop::Stopping {
            // The next instance need not wait for the lease to end.
            if let Err(error) = leases::release(&store, id, fence).await {
                warn!(%error, command_id = %id, "a lease could not be released");
            }
        }
    }
}

struct Conducting {
    here: Conductor,
    open: Open,
    /// Nothing of it has left yet: no other conductor had it in its hands.
    fresh: bool,
    /// The connector's life that was still seen when a later one had accepted the command.
    outlived: Option<String>,
}

impl Conducting {
    async fn run(mut self) -> Stop {
        let renewing = Arc::new(self.here.clone());
        let (id, fence) = (self.open.command.id, self.open.fence);
        let stopping = self.here.tasks.stopping().clone();
        tokio::select! {
            stop = self.conduct() => stop,
            () = keep_lease(renewing, id, fence) => Stop::TakenOver,
            () = stopping.cancelled() => Stop::Stopping,
        }
    }

    async fn conduct(&mut self) -> Stop {
        if let Err(stop) = self.open_topic().await {
            return stop;
        }
        // Once an end is declared, the topic says which end it is: ours, or one that came first.
        let (may_leave, mut declared) = match self.dispatch().await {
            Ok(Dispatch::Go) => (true, None),
            Ok(Dispatch::Cancelled) => (false, Some((State::Cancelled, None))),
            Ok(Dispatch::TooLate) => (false, None),
            Ok(Dispatch::NotOurs) => return Stop::TakenOver,
            Err(stop) => return stop,
        };
        if let Some(end) = &declared {
            self.declare(end).await;
        }
        let from = self.open.reached.map_or(From::Start, From::After);
        let mut follower = self.here.bus.follow(self.topic(), from);
        let mut read_again = false;
        let mut leaving = may_leave.then(|| Leaving::begin(&self.here, &self.open, self.fresh));
        loop {
            let due = self.here.clock.sleep_until(self.open.run_by);
            let lost = self.connector_lost();
            let end: Declared = tokio::select! {
                biased;
                delivery = follower.next() => {
                    match delivery {
                        Delivery::Record(record) => match self.record(&record, declared.as_ref()).await {
                            Ok(()) if self.open.command.state.is_end() => return Stop::Ended,
                            Ok(()) => {}
                            Err(stop) => return stop,
                        },
                        Delivery::Reset { reason, .. } => {
                            warn!(?reason, "the command's topic was lost; what came before it is in the record");
                            // A declared end that was lost with it is said again: nobody else will.
                            if let Some(end) = &declared {
                                self.declare(end).await;
                            }
                        }
                        Delivery::CaughtUp { .. } => {}
                        // The final event was recorded before this, and ended the command. If it was not, the recorded offset is
                        // ahead of what was recorded: the whole topic is read again, and what is recorded already is skipped.
                        Delivery::Closed if !read_again => {
                            warn!("the topic is closed and the command is not: reading the topic again from its start");
                            read_again = true;
                            follower = self.here.bus.follow(self.topic(), From::Start);
                        }
                        Delivery::Closed => return Stop::Ended,
                    }
                    continue;
                }
                outcome = Leaving::outcome(&mut leaving), if leaving.is_some() => {
                    leaving = None;
                    match outcome {
                        HandedOver::Accepted { instance_id, outlived } => {
                            self.open.instance_id = Some(instance_id);
                            self.outlived = outlived;
                            continue;
                        }
                        HandedOver::NobodyKnows => continue,
                        HandedOver::Refused { state, code, message } => (state, Some((code, message))),
                    }
                }
                () = lost, if declared.is_none() => {
                    let message = "The connector was restarted while the command was running".to_owned();
                    (self.open.command.effect.when_lost(), Some(("CONNECTOR_LOST".to_owned(), message)))
                }
                // No error event before it: a late answer could come in between, and it would stand there untrue.
                () = due, if declared.is_none() => {
                    (self.open.command.effect.at_the_deadline(self.open.command.state), None)
                }
            };
            // Nothing leaves after an end was declared: it would run, and nobody would know.
            leaving = None;
            self.declare(&end).await;
            declared = Some(end);
        }
    }

    /// Marks a pending command as dispatched, before anything leaves: from then on it counts as possibly run. One that was
    /// left by another conductor is where that one left it.
    async fn dispatch(&mut self) -> Result<Dispatch, Stop> {
        if self.open.command.state != State::Pending {
            return Ok(Dispatch::Go);
        }
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
                Err(error) => warn!(%error, "a command could not be marked as dispatched yet"),
            }
            self.here.clock.sleep(RETRY).await;
        }
    }

    fn topic(&self) -> Topic {
        Topic::Response(self.open.command.id)
    }

    /// The first event of every topic is `pending`, and only the conductor writes it.
    async fn open_topic(&mut self) -> Result<(), Stop> {
        if self.open.reached.is_some() {
            return Ok(());
        }
        let event = self.event(Body::CommandStatus { command_id: self.open.command.id, state: CommandState::Pending });
        loop {
            // An earlier conductor may have opened it and died before it could say so.
            match self.here.bus.read(&self.topic(), None, 1).await {
                Ok(page) if page.state.is_some() => return Ok(()),
                Ok(_) => match self.here.bus.publish_within(UNTIL_DROPPED, &self.topic(), &event).await {
                    Ok(_) | Err(PublishError::Closed { .. }) => return Ok(()),
                    Err(error) => warn!(%error, "the command's topic could not be opened"),
                },
                Err(error) => warn!(%error, "the command's topic could not be read"),
            }
            self.here.clock.sleep(RETRY).await;
        }
    }

    async fn connector_lost(&self) {
        match &self.open.instance_id {
            Some(known) => self.here.fleet.lost(&self.open.connector, known, self.outlived.as_deref()).await,
            None => std::future::pending().await,
        }
    }

    /// Ends the topic. The first final event wins: if another came first, the follower brings it.
    async fn declare(&self, (state, error): &Declared) {
        info!(state = state.as_str(), error = ?error.as_ref().map(|(code, _)| code), "declared");
        let command_id = self.open.command.id;
        let bodies = error
            .clone()
            .map(|(error_code, error_message)| Body::CommandError { command_id, error_code, error_message })
            .into_iter()
            .chain([Body::CommandStatus { command_id, state: state.shown() }]);
        for body in bodies {
            let is_final = matches!(body, Body::CommandStatus { .. });
            let event = self.event(body);
            loop {
                // The bus waits for its Redis: a second call would be a second event.
                let appended = match is_final {
                    true => self.here.bus.close_within(UNTIL_DROPPED, &self.topic(), &event).await,
                    false => self.here.bus.publish_within(UNTIL_DROPPED, &self.topic(), &event).await,
                };
                match appended {
                    Ok(_) => break,
                    Err(PublishError::Closed { .. }) => return,
                    Err(error) => warn!(%error, "the end of a command could not be told yet"),
                }
                self.here.clock.sleep(RETRY).await;
            }
        }
    }

    /// Writes an event of the topic into the record; waits for a database that is away.
    async fn record(&mut self, record: &Record, declared: Option<&Declared>) -> Result<(), Stop> {
        let said = match &record.event.body {
            Body::CommandStatus { state, .. } => Some(*state),
            _ => None,
        };
        let mut moved = said.and_then(|said| self.open.command.state.after(said));
        match moved {
            // A status that claims an end and leaves the topic open is not believed.
            Some(state) if state.is_end() && !record.is_final => moved = None,
            // Only this service knows that a failed command was refused before it ran.
            Some(State::Failed) if declared.is_some_and(|(state, _)| *state == State::Rejected) => {
                moved = Some(State::Rejected);
            }
            Some(state) if state.is_end() => {}
            // Nothing follows a final event: it is an end, whatever a newer connector calls it.
            _ if record.is_final => moved = Some(State::Unknown),
            _ => {}
        }
        loop {
            match record::append(&self.here.store, &self.open, record, moved).await {
                Ok(true) => break,
                Ok(false) => return Err(Stop::TakenOver),
                Err(error) => warn!(%error, "an event could not be recorded yet"),
            }
            self.here.clock.sleep(RETRY).await;
        }
        self.open.reached = Some(record.offset);
        let Some(state) = moved else { return Ok(()) };
        self.open.command.state = state;
        if state.is_end() {
            let took = self.here.clock.now().duration_since(self.open.command.submitted_at).as_secs_f64();
            let labels = [("command", self.open.command.name.clone()), ("end", state.as_str().to_owned())];
            metrics::counter!("turnpike_commands_ended_total", &labels).increment(1);
            metrics::histogram!("turnpike_command_seconds").record(took);
        }
        Ok(())
    }

    fn event(&self, body: Body) -> Event {
        Event { at: self.here.clock.now(), traceparent: Some(Context::current().traceparent()), body }
    }
}

/// Ends when the lease is lost.
async fn keep_lease(here: Arc<Conductor>, id: turnpike_event::CommandId, fence: i64) {
    loop {
        here.clock.sleep(RENEW).await;
        match leases::renew(&here.store, id, fence, here.clock.now()).await {
            Ok(true) => {}
            Ok(false) => {
                // Ended just now, perhaps; then the other branch is about to say so.
                here.clock.sleep(RENEW).await;
                return;
            }
            // Another instance can't take over either, and writes are fenced.
            Err(error) => warn!(%error, "a lease could not be renewed"),
        }
    }
}

pub(crate) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    // Everything here is after 1970: nanoseconds are never negative.
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
