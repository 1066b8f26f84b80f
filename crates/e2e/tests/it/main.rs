//! Stories about the whole.

mod client;
mod deploy;
mod house;
mod loss;
mod openapi;
mod parallel;
mod reading;
mod refusals;
mod road;
mod socket;
mod start;
mod time;
