//! Tests of the whole product, and the rules of the code.

mod api_keys;
mod architecture;
mod chat;
mod chat_client;
mod client;
mod commands;
mod cuts;
mod cycles;
mod deploy;
mod documents;
mod ending;
mod flood;
mod history;
mod loss;
mod openapi;
mod parallel;
mod reading;
mod refusals;
mod resume;
mod revoked;
mod socket;
mod start;
mod time;
mod transcript;
mod unused;
mod variables;
