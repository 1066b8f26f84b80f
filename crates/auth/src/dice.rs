//! Randomness for credentials, from the system's source.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::TryRng;
use sha2::{Digest, Sha256};

/// 32 random bytes as text.
pub fn token() -> String {
    let mut bytes = [0; 32];
    // Without the system's randomness there is no credential to give: nothing sensible can go on.
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the system has randomness");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// What is kept of a token that is only ever compared.
pub fn hash(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}
