//! Stories about the whole.

mod deploy;
mod house;
mod loss;
mod refusals;
mod road;
mod socket;
mod time;
