//! Stories about the whole.

mod deploy;
mod ending;
mod flood;
mod house;
mod loss;
mod openapi;
mod reading;
mod refusals;
mod revoked;
mod road;
mod socket;
mod start;
mod time;
