//! Stories about the whole.

mod deploy;
mod house;
mod loss;
mod openapi;
mod refusals;
mod resume;
mod road;
mod socket;
mod start;
mod time;
