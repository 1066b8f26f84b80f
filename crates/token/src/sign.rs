//! Signing tokens.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};

use crate::{AUDIENCE, Claims, ISSUER, TYPE, claims::Payload};

/// PKCS#8 around an Ed25519 secret (RFC 8410, section 7): the bytes before the secret never differ.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key that signs tokens.
pub struct SigningKey {
    key: EncodingKey,
    public: [u8; 32],
    id: String,
}

impl SigningKey {
    /// From the 32 bytes of an Ed25519 secret (RFC 8032), which must come from a cryptographic source.
    pub fn from_secret(secret: &SecretBox<[u8; 32]>) -> Self {
        let public = ed25519_dalek::SigningKey::from_bytes(secret.expose_secret()).verifying_key().to_bytes();
        let mut pkcs8 = [0; 48];
        pkcs8[..16].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[16..].copy_from_slice(secret.expose_secret());
        Self { key: EncodingKey::from_ed_der(&pkcs8), id: thumbprint(&public), public }
    }

    /// The key's id: `kid` in a token's header and in the key set.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    #[cfg(test)]
    pub(crate) fn key(&self) -> EncodingKey {
        self.key.clone()
    }

    /// Signs a token with these claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header { typ: Some(TYPE.to_owned()), kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        let payload = Payload {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claims.user_id,
            sid: claims.session_id,
            jti: claims.token_id,
            iat: claims.issued_at.as_second(),
            exp: claims.expires_at.as_second(),
            username: claims.username.to_string(),
            role: claims.role,
            auth_time: claims.auth_time.as_second(),
            api_key: claims.api_key.map(Into::into),
        };
        jsonwebtoken::encode(&header, &payload, &self.key).expect("a key made above signs anything that is JSON")
    }
}

/// RFC 7638 over the members that RFC 8037 requires of an Ed25519 key, in the order it prescribes.
pub(crate) fn thumbprint(public: &[u8; 32]) -> String {
    let x = BASE64_URL_SAFE_NO_PAD.encode(public);
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}
