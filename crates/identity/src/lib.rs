#![doc = include_str!("../README.md")]

mod caller;
mod refusal;
mod revocations;
mod verified;
mod verifier;

pub use caller::{AccessToken, Caller, caller};
pub use refusal::Refusal;
pub use revocations::{Revocations, Revoked};
pub use verifier::Verifier;
