//! The states of a command and the moves between them. Pure.

use turnpike_event::CommandState;
use turnpike_token::Role;

/// The state of a command; clients see fewer states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Accepted; nothing was sent to a connector.
    Pending,
    /// The connector and the vehicle may have it.
    Dispatched,
    /// The connector has reported that it began.
    InProgress,
    Completed,
    /// It did not complete, and the reason is known.
    Failed,
    /// Refused before it ran.
    Rejected,
    /// Stopped by a cancellation.
    Cancelled,
    /// No complete answer before the deadline.
    TimedOut,
    /// It is not known whether it ran.
    Unknown,
}

/// The effect of running a command twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// No effect: it may be tried again.
    Read,
    /// The same effect as once: it may be tried again if it provably did not run.
    Idempotent,
    /// Possibly harm: it is never sent twice.
    Unsafe,
}

impl Effect {
    /// The role that a command with this effect needs.
    pub const fn role(self) -> Role {
        match self {
            Self::Read | Self::Idempotent => Role::Operator,
            Self::Unsafe => Role::Engineer,
        }
    }
}

impl State {
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

    /// The value in the database.
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

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::Dispatched | Self::InProgress)
    }

    /// The state that clients see: a dispatched command is shown as pending, a rejected one as failed.
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

    /// The state after a status event of the topic; `None` if it stays. An end is never left.
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
    /// a crash it is dispatched again, whether or not it was sent before.
    pub const fn at_submission(self) -> State {
        match self {
            Self::Read => State::Dispatched,
            Self::Idempotent | Self::Unsafe => State::Pending,
        }
    }

    /// The value in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Unsafe => "unsafe",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Read, Self::Idempotent, Self::Unsafe].into_iter().find(|effect| effect.as_str() == word)
    }

    /// The end of a command whose deadline has passed.
    pub const fn at_the_deadline(self, state: State) -> State {
        match (self, state) {
            (Self::Unsafe, State::Dispatched | State::InProgress) => State::Unknown,
            _ => State::TimedOut,
        }
    }

    /// The end of a command whose connector was lost.
    pub const fn when_lost(self) -> State {
        match self {
            Self::Read => State::Failed,
            // that it may run twice does not say whether it ran
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
