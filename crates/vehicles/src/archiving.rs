//! Archiving the events of a command's topic, and what happens when an event cannot be archived.

use tracing::error;
use turnpike_event::{Body, CommandEvent, Record};
use turnpike_kit::Retry;

use crate::{
    archive, ending,
    lifecycle::State,
    publisher::Declared,
    supervised::{Stop, Supervised},
};

/// The error of a command whose archive is incomplete because the database refuses one of its events.
const NOT_RECORDED: &str = "EVENT_NOT_RECORDED";

impl Supervised {
    /// Archives events of the topic, at most [`archive::TOGETHER`]. Returns whether one of them ended the command. While the
    /// database is away this waits, and still ends the command at its deadline.
    pub(crate) async fn archive(&mut self, records: &[Record]) -> Result<bool, Stop> {
        let mut retry = Retry::default();
        loop {
            let mut state = self.open.command.state;
            let moving = records.iter().map(|record| {
                let moved = self.moved_by(record, state);
                state = moved.unwrap_or(state);
                (record, moved)
            });
            let moving: Vec<_> = moving.collect();
            match archive::append(&self.resources.store, &self.open, &moving).await {
                Ok(true) => {
                    if let Some((last, _)) = moving.last() {
                        self.open.reached = Some(last.offset);
                        self.resources.progress.reached(self.open.command.id, last.offset);
                    }
                    return Ok(self.moved((state != self.open.command.state).then_some(state)));
                }
                Ok(false) => return Err(Stop::TakenOver),
                Err(error) if turnpike_store::is_unavailable(&error) => {
                    retry.pause(&self.resources.clock, "an event of the command cannot be archived yet", error).await;
                }
                // One of them is refused for good; the others are not.
                Err(_) if records.len() > 1 => return self.archive_one_by_one(records).await,
                Err(error) => {
                    let Some((record, moved)) = moving.first() else { return Ok(false) };
                    return self.not_archived(record, *moved, &error).await;
                }
            }
            let is_final = records.last().is_some_and(|record| record.is_final);
            if self.declared.is_none() && !is_final && self.resources.clock.now() >= self.open.run_by {
                let end = self.at_the_deadline();
                self.declare(end).await?;
            }
        }
    }

    async fn archive_one_by_one(&mut self, records: &[Record]) -> Result<bool, Stop> {
        for record in records.chunks(1) {
            if Box::pin(self.archive(record)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The state to which an event moves the command; `None`: the state stays.
    fn moved_by(&self, record: &Record, state: State) -> Option<State> {
        let said = match &record.event.body {
            Body::Command(CommandEvent::Status { state, .. }) => Some(*state),
            _ => None,
        };
        match said.and_then(|said| state.after(said)) {
            // A status that names an end and leaves the topic open is ignored.
            Some(state) if state.is_end() && !record.is_final => None,
            // Only this service knows that a failed command was refused before it ran.
            Some(State::Failed) if self.declared.as_ref().is_some_and(|end| end.state == State::Rejected) => {
                Some(State::Rejected)
            }
            Some(state) if state.is_end() => Some(state),
            // Nothing follows a final event: it is an end, also if this version does not know its state.
            _ if record.is_final => Some(State::Unknown),
            moved => moved,
        }
    }

    /// Returns whether the command has ended.
    fn moved(&mut self, moved: Option<State>) -> bool {
        let Some(state) = moved else { return false };
        self.open.command.state = state;
        if state.is_end() {
            let took = self.resources.clock.now().duration_since(self.open.command.submitted_at).as_secs_f64();
            let labels = [("command", self.open.command.name.clone()), ("end", state.as_str().to_owned())];
            metrics::counter!("turnpike_commands_ended_total", &labels).increment(1);
            metrics::histogram!("turnpike_command_seconds").record(took);
        }
        state.is_end()
    }

    /// The database refuses an event permanently: another attempt would fail in the same way. The command ends, and its error
    /// says that its archive is incomplete.
    async fn not_archived(&mut self, record: &Record, moved: Option<State>, why: &sqlx::Error) -> Result<bool, Stop> {
        error!(error = %why, offset = %record.offset, "an event of the command cannot be archived; the command ends");
        let explanation = (NOT_RECORDED.to_owned(), "An event of the command could not be recorded".to_owned());
        if !record.is_final {
            if self.declared.is_none() {
                let state = self.open.command.effect.when_lost();
                self.declare(Declared { state, error: Some(explanation), at: self.resources.clock.now() }).await?;
            }
            return Ok(false);
        }
        let state = moved.unwrap_or(State::Unknown);
        let mut retry = Retry::default();
        loop {
            match ending::end(&self.resources.store, &self.open, state, &explanation, record.event.at).await {
                Ok(true) => return Ok(self.moved(Some(state))),
                Ok(false) => return Err(Stop::TakenOver),
                Err(error) if turnpike_store::is_unavailable(&error) => {
                    retry.pause(&self.resources.clock, "the command's end cannot be stored yet", error).await;
                }
                Err(error) => {
                    error!(%error, "the command's end cannot be stored; its lease ends and it is taken over");
                    return Err(Stop::TakenOver);
                }
            }
        }
    }
}
