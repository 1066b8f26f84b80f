//! Why a request about a room is refused. A refusal leaves nothing written.

use turnpike_fault::{Fault, Kind};
use turnpike_store::idempotency;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such room, or the caller may not see it.
    NoRoom,
    NoMessage,
    NoMember,
    /// The role that is needed.
    NotAllowed(&'static str),
    /// The room would have no owner.
    LastOwner,
    TooManyMembers,
    TooManyRooms,
    /// The idempotency key was used for another request.
    KeyReused,
    /// What was created with this key was deleted.
    Deleted,
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoRoom => Self::new(Kind::NotFound, "There is no such room"),
            Refused::NoMessage => Self::new(Kind::NotFound, "There is no such message"),
            Refused::NoMember => Self::new(Kind::NotFound, "There is no such member"),
            Refused::NotAllowed(needed) => Self::new(Kind::Forbidden, needed),
            Refused::LastOwner => {
                Self::new(Kind::Conflict, "The room needs an owner: make another member its owner, or delete the room")
                    .code_is("LAST_OWNER")
            }
            Refused::TooManyMembers => {
                Self::new(Kind::Conflict, "The room has as many members as it may have").code_is("TOO_MANY_MEMBERS")
            }
            Refused::TooManyRooms => Self::new(Kind::Conflict, "You have created as many rooms as one user may have")
                .code_is("TOO_MANY_ROOMS"),
            Refused::KeyReused => idempotency::reused(),
            Refused::Deleted => Self::new(Kind::NotFound, "What was created with this Idempotency-Key was deleted"),
        }
    }
}
