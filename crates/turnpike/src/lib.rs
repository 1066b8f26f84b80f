#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this package and tests of this workspace use this library")]

pub mod one_time;
pub mod private_file;
mod serve;

pub use serve::{Started, start};
pub use turnpike_auth::FirstAdmin;
