//! Stories about the whole.

mod client;
mod deploy;
mod ending;
mod flood;
mod house;
mod loss;
mod openapi;
mod parallel;
mod reading;
mod refusals;
mod resume;
mod revoked;
mod road;
mod socket;
mod start;
mod time;
mod transcript;
