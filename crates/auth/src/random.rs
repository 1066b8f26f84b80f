//! Random values for credentials, from the operating system.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::TryRng;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// 32 random bytes.
pub fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Without random values no credential can be issued, so the process cannot continue.
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system has random values");
    bytes
}

/// 32 random bytes as text.
pub fn token() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes())
}

/// The hash of a token, for tokens that are only compared.
pub fn hash(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

/// The id of an access token.
pub fn token_id() -> Uuid {
    Uuid::now_v7()
}
