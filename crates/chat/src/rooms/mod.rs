//! Rooms of people. Every change of a room is one transaction, which also stores the events that report it; `outbox` publishes them.

mod creation;
mod editing;
mod edits;
mod members;
mod mentions;
mod messages;
mod outbox;
mod posting;
mod presence;
mod present;
mod reading;
mod refusal;
mod removal;
mod room;

pub(crate) use creation::{New, create};
pub(crate) use editing::{Changes, delete, update};
pub(crate) use edits::{Edit, edit};
pub(crate) use members::{By, Member, list as list_members, put, remove};
pub(crate) use messages::{Message, page};
pub(crate) use outbox::publish;
pub(crate) use posting::{Post, post};
pub(crate) use presence::{Entry, Report, Reported, expire, report};
pub(crate) use present::{PresentUser, list as list_present, stats, total};
pub(crate) use reading::mark_read;
pub(crate) use refusal::Refused;
pub(crate) use removal::sweep;
pub(crate) use room::{Role, Room, Visibility, get, list};
