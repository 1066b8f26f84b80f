//! Where a command can be, and where it can go from there. Pure.

use turnpike_event::CommandState;

/// Where a command is, finer than clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Accepted; nothing has left this service.
    Pending,
    /// Perhaps at the connector, perhaps at the vehicle.
    Dispatched,
    /// The connector said that it has begun.
    InProgress,
    /// Done.
    Completed,
    /// Not done; it is known why.
    Failed,
    /// Refused before it ran.
    Rejected,
    /// Stopped at somebody's request.
    Cancelled,
    /// No whole answer before the deadline.
    TimedOut,
    /// It may have run, or not.
    Unknown,
}

/// What happens if a command is run twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing: it may be tried again.
    Read,
    /// The same as once: it may be tried again if it provably did not run.
    Idempotent,
    /// Harm, perhaps: it is never sent twice.
    Unsafe,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Dispatched,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::Rejected,
        Self::Cancelled,
        Self::TimedOut,
        Self::Unknown,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dispatched => "dispatched",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }

    /// What the word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Nothing follows.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::Dispatched | Self::InProgress)
    }

    /// What clients are told: a dispatched command is still pending, a rejected one has failed.
    pub const fn shown(self) -> CommandState {
        match self {
            Self::Pending | Self::Dispatched => CommandState::Pending,
            Self::InProgress => CommandState::InProgress,
            Self::Completed => CommandState::Completed,
            Self::Failed | Self::Rejected => CommandState::Failed,
            Self::Cancelled => CommandState::Cancelled,
            Self::TimedOut => CommandState::TimedOut,
            Self::Unknown => CommandState::Unknown,
        }
    }

    /// The states that are shown as `shown`.
    pub fn shown_as(shown: CommandState) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |state| state.shown() == shown)
    }

    /// Where a status event on the topic takes a command from here; `None` leaves it where it is. An end is never left.
    pub fn after(self, said: CommandState) -> Option<Self> {
        if self.is_end() {
            return None;
        }
        match said {
            CommandState::Pending => None,
            CommandState::InProgress => (self != Self::InProgress).then_some(Self::InProgress),
            CommandState::Completed => Some(Self::Completed),
            CommandState::Failed => Some(Self::Failed),
            CommandState::Cancelled => Some(Self::Cancelled),
            CommandState::TimedOut => Some(Self::TimedOut),
            CommandState::Unknown => Some(Self::Unknown),
        }
    }
}

impl Effect {
    /// The state in which a command is stored. A read is stored as dispatched, which saves its caller a second transaction: after
    /// a crash it is handed over again, whether or not it had left this service.
    pub const fn at_submission(self) -> State {
        match self {
            Self::Read => State::Dispatched,
            Self::Idempotent | Self::Unsafe => State::Pending,
        }
    }

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Unsafe => "unsafe",
        }
    }

    /// What the word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Read, Self::Idempotent, Self::Unsafe].into_iter().find(|effect| effect.as_str() == word)
    }

    /// How a command ends whose deadline has passed.
    pub const fn at_the_deadline(self, state: State) -> State {
        match (self, state) {
            (Self::Unsafe, State::Dispatched | State::InProgress) => State::Unknown,
            _ => State::TimedOut,
        }
    }

    /// How a command ends whose connector died with it.
    pub const fn when_lost(self) -> State {
        match self {
            Self::Read => State::Failed,
            // "the same as once" is no answer to whether it was done
            Self::Idempotent | Self::Unsafe => State::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_said_a_command_ends_once_and_never_goes_back(
            said in prop::collection::vec(prop::sample::select(CommandState::ALL), 0..40),
        ) {
            let mut state = State::Pending;
            let mut path = vec![state];
            for word in said {
                if let Some(next) = state.after(word) {
                    prop_assert!(!state.is_end(), "left the end {state:?}");
                    prop_assert_eq!(next.shown(), word);
                    state = next;
                    path.push(state);
                }
            }
            prop_assert!(path.len() <= 3, "pending, in_progress, an end: {path:?}");
            prop_assert_eq!(path.iter().filter(|s| s.is_end()).count(), usize::from(state.is_end()));
        }
    }

    #[test]
    fn words_and_back() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.as_str()), Some(state));
            assert!(State::shown_as(state.shown()).any(|s| s == state));
            assert_eq!(state.is_end(), state.shown().is_end());
        }
    }

    #[test]
    fn what_may_have_run_and_must_not_run_twice_ends_unknown() {
        assert_eq!(Effect::Unsafe.at_the_deadline(State::Dispatched), State::Unknown);
        assert_eq!(Effect::Unsafe.at_the_deadline(State::InProgress), State::Unknown);
        assert_eq!(Effect::Unsafe.at_the_deadline(State::Pending), State::TimedOut, "nothing has left this service");
        assert_eq!(Effect::Read.at_the_deadline(State::InProgress), State::TimedOut);
        assert_eq!(Effect::Read.when_lost(), State::Failed);
        assert_eq!(Effect::Unsafe.when_lost(), State::Unknown);
    }
}
