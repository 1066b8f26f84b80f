//! Stories about the whole.

mod deploy;
mod ending;
mod flood;
mod house;
mod loss;
mod openapi;
mod refusals;
mod road;
mod socket;
mod start;
mod time;
