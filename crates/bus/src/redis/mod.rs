//! The backend over Redis.

mod backend;
mod call;
mod connection;
mod health;
mod history;
mod keys;
mod link;
mod messages;
mod notice;
mod publish;
mod published;
mod verify;

pub(crate) use backend::Redis;
