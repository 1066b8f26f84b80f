#![doc = include_str!("../README.md")]

mod claims;
mod sign;
mod verify;

pub use claims::{Claims, Role};
pub use sign::SigningKey;
pub use verify::{InvalidKeySet, KeySet, Refused};

/// The `iss` of every token.
pub const ISSUER: &str = "turnpike";
/// The `aud` of every token.
pub const AUDIENCE: &str = "turnpike";
/// How long an access token lives: a revocation that a verifier missed matters for so long at most.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// The media type of RFC 9068, which keeps other JWTs of the same key from passing as access tokens.
const TYPE: &str = "at+jwt";
