//! Stories about the whole.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

mod house;
mod loss;
mod refusals;
mod road;
mod socket;
