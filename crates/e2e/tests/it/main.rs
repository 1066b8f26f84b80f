//! Stories about the whole.

mod house;
mod loss;
mod refusals;
mod road;
mod socket;
