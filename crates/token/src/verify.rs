//! Verifying tokens.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;

use crate::{AUDIENCE, Claims, ISSUER, TYPE, claims::Payload, sign::thumbprint};

/// A longer text is refused without being parsed.
const MAX_TOKEN_BYTES: usize = 4096;

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Malformed, for another audience, or the signature does not match.
    #[error("not a valid access token")]
    Invalid,
    /// Signed with a key that is not in the set: a newer set may have it.
    #[error("signed with an unknown key")]
    UnknownKey {
        /// The key's id as the token claims it; at most 64 characters, and as untrusted as the token.
        kid: String,
    },
    /// The token has expired.
    #[error("the access token has expired")]
    Expired,
}

/// Text that is not a key set.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON Web Key Set")]
pub struct InvalidKeySet;

/// The public keys whose tokens are accepted.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: BTreeMap<String, ([u8; 32], DecodingKey)>,
}

impl KeySet {
    /// A set of raw Ed25519 public keys.
    pub fn new(public: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let entry = |key: [u8; 32]| (thumbprint(&key), (key, DecodingKey::from_ed_der(&key)));
        Self { keys: public.into_iter().map(entry).collect() }
    }

    /// Reads a key set; keys of other kinds in it are ignored, as RFC 7517 (section 5) requires.
    pub fn from_jwks(json: &str) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<serde_json::Value>,
        }
        #[derive(Deserialize)]
        struct Jwk {
            kty: String,
            crv: String,
            x: String,
        }
        let jwks: Jwks = serde_json::from_str(json).map_err(|_| InvalidKeySet)?;
        let keys = jwks.keys.into_iter().filter_map(|key| {
            let key: Jwk = serde_json::from_value(key).ok()?;
            let ours = key.kty == "OKP" && key.crv == "Ed25519";
            ours.then(|| BASE64_URL_SAFE_NO_PAD.decode(key.x).ok()?.try_into().ok())?
        });
        Ok(Self::new(keys))
    }

    /// The key set as JSON.
    pub fn to_jwks(&self) -> String {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(kid, (public, _))| {
                serde_json::json!({
                    "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                    "kid": kid, "x": BASE64_URL_SAFE_NO_PAD.encode(public),
                })
            })
            .collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// Whether the set has no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Verifies a token at the time `now`. There is no leeway: the signer and the verifiers run in one deployment, and clients
    /// renew a token well before it expires.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Invalid)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(TYPE) {
            return Err(Refused::Invalid);
        }
        let kid = header.kid.filter(|kid| kid.len() <= 64).ok_or(Refused::Invalid)?;
        let Some((_, key)) = self.keys.get(&kid) else {
            return Err(Refused::UnknownKey { kid });
        };
        let payload = jsonwebtoken::decode::<Payload>(token, key, &validation()).map_err(|error| {
            debug_assert!(!matches!(error.kind(), ErrorKind::ExpiredSignature), "expiry is judged below, against now");
            Refused::Invalid
        })?;
        let claims = claims(payload.claims).ok_or(Refused::Invalid)?;
        if claims.expires_at <= now { Err(Refused::Expired) } else { Ok(claims) }
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false; // the library would read the clock itself
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation
}

fn claims(payload: Payload) -> Option<Claims> {
    Some(Claims {
        user_id: payload.sub,
        session_id: payload.sid,
        token_id: payload.jti,
        username: payload.username.into(),
        role: payload.role,
        issued_at: Timestamp::from_second(payload.iat).ok()?,
        expires_at: Timestamp::from_second(payload.exp).ok()?,
        auth_time: Timestamp::from_second(payload.auth_time).ok()?,
        api_key: payload.api_key.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use jsonwebtoken::{EncodingKey, Header};
    use secrecy::SecretBox;
    use turnpike_topic::{ApiKeyId, SessionId, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::{ApiKeyClaims, Role, Scopes, SigningKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_secret(&SecretBox::new(Box::new([seed; 32])))
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_763_700_000).expect("in range")
    }

    fn some_claims() -> Claims {
        Claims {
            user_id: UserId::new(now()),
            session_id: SessionId::new(now()),
            token_id: Uuid::from_u128(7),
            username: "ada".into(),
            role: Role::Operator,
            issued_at: now(),
            expires_at: now() + Duration::from_secs(900),
            auth_time: now(),
            api_key: None,
        }
    }

    #[test]
    fn the_verified_claims_are_the_signed_claims() {
        let (key, claims) = (key(1), some_claims());
        let published = KeySet::new([key.public()]).to_jwks();
        let set = KeySet::from_jwks(&published).expect("our own set");
        assert_eq!(set.verify(&key.sign(&claims), now()), Ok(claims));
    }

    #[test]
    fn a_token_of_an_api_key_names_the_key_and_its_limits() {
        let (key, mut claims) = (key(1), some_claims());
        let set = KeySet::new([key.public()]);
        for (requests_per_minute, tokens_per_day) in [(None, None), (NonZeroU32::new(7), Some(1_000_000))] {
            let scopes = Scopes::from_words("read chat");
            let id = ApiKeyId::new(now());
            claims.api_key = Some(ApiKeyClaims { id, scopes, requests_per_minute, tokens_per_day });
            assert_eq!(set.verify(&key.sign(&claims), now()), Ok(claims.clone()));
        }
    }

    #[test]
    fn a_token_is_valid_until_the_second_of_its_expiry() {
        let (key, claims) = (key(1), some_claims());
        let (set, token) = (KeySet::new([key.public()]), key.sign(&claims));
        let end = claims.expires_at;
        assert!(set.verify(&token, end - Duration::from_nanos(1)).is_ok());
        assert_eq!(set.verify(&token, end), Err(Refused::Expired));
    }

    #[test]
    fn a_foreign_signature_is_refused() {
        let (ours, theirs) = (key(1), key(2));
        let set = KeySet::new([ours.public()]);
        let token = theirs.sign(&some_claims());
        assert_eq!(set.verify(&token, now()), Err(Refused::UnknownKey { kid: theirs.id().to_owned() }));

        // also one that claims the id of a known key
        let header = Header { typ: Some(TYPE.into()), kid: Some(ours.id().into()), ..Header::new(Algorithm::EdDSA) };
        let payload = token.split('.').nth(1).expect("three parts");
        let header = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).expect("JSON"));
        let forged = format!("{header}.{payload}.{}", token.split('.').nth(2).expect("three parts"));
        assert_eq!(set.verify(&forged, now()), Err(Refused::Invalid));
    }

    #[test]
    fn other_algorithms_types_issuers_and_audiences_are_refused() {
        let key = key(1);
        let set = KeySet::new([key.public()]);
        let hmac = EncodingKey::from_secret(&key.public());
        let payload = |iss: &str, aud: &str| {
            serde_json::json!({"iss": iss, "aud": aud, "sub": Uuid::nil(), "sid": Uuid::nil(), "jti": Uuid::nil(),
                "iat": 0, "exp": 9_999_999_999_i64, "role": "admin", "auth_time": 0})
        };
        let header = |alg, typ: &str| Header { typ: Some(typ.into()), kid: Some(key.id().into()), ..Header::new(alg) };

        // a known attack: the public key as an HMAC secret
        let token =
            jsonwebtoken::encode(&header(Algorithm::HS256, TYPE), &payload(ISSUER, AUDIENCE), &hmac).expect("made");
        assert_eq!(set.verify(&token, now()), Err(Refused::Invalid));
        for (typ, iss, aud) in [("JWT", ISSUER, AUDIENCE), (TYPE, "else", AUDIENCE), (TYPE, ISSUER, "else")] {
            let token =
                jsonwebtoken::encode(&header(Algorithm::EdDSA, typ), &payload(iss, aud), &key.key()).expect("made");
            assert_eq!(set.verify(&token, now()), Err(Refused::Invalid), "{typ} {iss} {aud}");
        }
        let good = jsonwebtoken::encode(&header(Algorithm::EdDSA, TYPE), &payload(ISSUER, AUDIENCE), &key.key())
            .expect("made");
        assert!(set.verify(&good, now()).is_ok(), "the shape is right, so each refusal above has its own reason");
    }

    proptest::proptest! {
        #[test]
        fn a_changed_character_is_refused(index in 0..10_000_usize, change: char) {
            let key = key(1);
            let mut token: Vec<char> = key.sign(&some_claims()).chars().collect();
            let index = index % token.len();
            // the last character of each part has bits that base64 ignores: a strict decoder refuses them too
            proptest::prop_assume!(token[index] != change);
            token[index] = change;
            let token: String = token.into_iter().collect();
            proptest::prop_assert!(KeySet::new([key.public()]).verify(&token, now()).is_err());
        }

        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            proptest::prop_assert!(KeySet::new([key(1).public()]).verify(&text, now()).is_err());
        }
    }
}
