#![doc = include_str!("../README.md")]

mod api_key;
mod claims;
mod scope;
mod sign;
mod verify;

pub use api_key::ApiKey;
pub use claims::{ApiKeyClaims, Claims, Role};
pub use scope::{Scope, Scopes};
pub use sign::SigningKey;
pub use verify::{InvalidKeySet, KeySet, Refused};

/// The `iss` of every token.
pub const ISSUER: &str = "turnpike";
/// The `aud` of every token.
pub const AUDIENCE: &str = "turnpike";
/// The lifetime of an access token. A revocation that a verifier missed matters for at most this long.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// The media type of RFC 9068, which keeps other JWTs of the same key from passing as access tokens.
const TYPE: &str = "at+jwt";
