//! Routes and their JSON types, one folder for each family of topics and resources.

pub(crate) mod admin;
pub(crate) mod auth;
pub(crate) mod captions;
pub(crate) mod chat;
pub(crate) mod openai;
pub(crate) mod rooms;
pub(crate) mod vehicles;
