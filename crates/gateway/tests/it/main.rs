//! A real gateway on a port of its own, and scripted gRPC services behind it.
#![expect(clippy::disallowed_methods, reason = "the scripted services are no tasks of the gateway")]

mod admin;
mod answers;
mod api_keys;
mod auth;
mod chat;
mod connections;
mod console;
mod credentials;
mod formats;
mod gateway;
mod openai;
mod outages;
mod presence;
mod rooms;
mod script;
mod services;
mod sockets;
mod topics;
mod vehicles;
