//! A real service with real clients: the real speech model, and a scripted engine for faults.
#![allow(missing_docs, reason = "tests")]

mod accuracy;
mod chat;
mod faults;
mod passing;
mod recordings;
mod sessions;
mod streams;
mod world;
