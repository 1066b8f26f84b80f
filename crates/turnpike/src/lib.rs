#![doc = include_str!("../README.md")]

mod serve;

pub use serve::{Started, start};
pub use turnpike_auth::FirstAdmin;
