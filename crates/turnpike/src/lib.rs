#![doc = include_str!("../README.md")]

pub mod one_time;
pub mod private_file;
mod serve;

pub use serve::{Started, start};
pub use turnpike_auth::FirstAdmin;
