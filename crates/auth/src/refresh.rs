//! The refresh token: version ‖ session ‖ counter ‖ HMAC. The database has the counter and not the key, so its
//! contents are not enough to forge or replay a token. The successor of a token is always the same, so a client that has lost a
//! response can repeat the request.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sha2::Sha256;
use sqlx::Row;
use turnpike_event::EndReason;
use turnpike_store::{Store, from_micros, micros};
use turnpike_topic::SessionId;
use uuid::Uuid;

use crate::{
    secret::ServerSecret,
    sessions::{self, Active, IDLE, SessionError},
};

const VERSION: u8 = 1;
const BODY: usize = 1 + 16 + 8;
/// For this time after a rotation, the previous token still gets its successor: responses are lost, and browser tabs race.
const GRACE: Duration = Duration::from_secs(30);

/// A token with a valid HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    pub session_id: SessionId,
    /// Rotation count of this refresh-token family, starting at 0.
    pub counter: u64,
}

impl Refresh {
    pub fn seal(self, secret: &ServerSecret) -> String {
        let mut bytes = self.body().to_vec();
        bytes.extend_from_slice(&self.mac(secret).finalize().into_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses a token and verifies its HMAC.
    pub fn open(text: &str, secret: &ServerSecret) -> Option<Self> {
        if text.len() > 128 {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, seal) = bytes.split_at_checked(BODY)?;
        let (version, rest) = body.split_first()?;
        let (session, counter) = rest.split_at_checked(16)?;
        let token = Self {
            session_id: SessionId::from(Uuid::from_slice(session).ok()?),
            counter: u64::from_be_bytes(counter.try_into().ok()?),
        };
        // verify_slice compares in constant time
        (*version == VERSION && token.mac(secret).verify_slice(seal).is_ok()).then_some(token)
    }

    fn body(self) -> [u8; BODY] {
        let mut body = [VERSION; BODY];
        body[1..17].copy_from_slice(Uuid::from(self.session_id).as_bytes());
        body[17..].copy_from_slice(&self.counter.to_be_bytes());
        body
    }

    fn mac(self, secret: &ServerSecret) -> Hmac<Sha256> {
        let key = secret.derive(&[b"refresh", Uuid::from(self.session_id).as_bytes()]);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("any length is a key");
        mac.update(&self.body());
        mac
    }
}

/// Exchanges a refresh token. If several requests present the same token, one of them advances the counter and all get the same
/// successor. A token that is presented later than [`GRACE`] after its rotation was copied, and the session ends.
pub async fn rotate(store: &Store, token: Refresh, now: Timestamp) -> Result<Active, SessionError> {
    let counter = i64::try_from(token.counter).map_err(|_| SessionError::Over)?;
    let session = token.session_id.to_string();
    let advanced = sqlx::query(
        "UPDATE sessions SET refresh_counter = refresh_counter + 1, refreshed_at = $1, last_seen_at = $1, expires_at = $2
         WHERE id = $3 AND refresh_counter = $4 AND ended_at IS NULL AND expires_at > $1",
    )
    .bind(micros(now))
    .bind(micros(now + IDLE))
    .bind(&session)
    .bind(counter)
    .execute(store.pool())
    .await?;
    if advanced.rows_affected() == 0 {
        let row = sqlx::query("SELECT refresh_counter, refreshed_at FROM sessions WHERE id = $1 AND ended_at IS NULL")
            .bind(&session)
            .fetch_optional(store.pool())
            .await?
            .ok_or(SessionError::Over)?;
        let [current, refreshed_at]: [i64; 2] = [row.try_get("refresh_counter")?, row.try_get("refreshed_at")?];
        let just_replaced = current == counter + 1 && from_micros(refreshed_at) + GRACE >= now;
        if !just_replaced {
            if current > counter {
                let mut tx = store.begin().await?;
                sessions::end_one(&mut tx, &session, EndReason::ReuseDetected, now).await?;
                tx.commit().await?;
            }
            return Err(SessionError::Over);
        }
    }
    let session = sessions::of_id(store, token.session_id, now).await?;
    // The successor of the presented token, also if there were later rotations.
    Ok(Active { counter: token.counter + 1, ..session })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn secret(text: &str) -> ServerSecret {
        let text = SecretString::from(text.repeat(8));
        ServerSecret::obtain(Some(&text), std::path::Path::new("/nowhere")).expect("configured")
    }

    proptest::proptest! {
        #[test]
        fn only_what_was_sealed_here_opens(session: u128, counter: u64, place: usize, flip in 1..=255_u8) {
            let token = Refresh { session_id: SessionId::from(Uuid::from_u128(session)), counter };
            let ours = secret("ours");
            let sealed = token.seal(&ours);
            proptest::prop_assert_eq!(Refresh::open(&sealed, &ours), Some(token));
            proptest::prop_assert_eq!(Refresh::open(&sealed, &secret("else")), None);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&sealed).expect("our own");
            let place = place % bytes.len();
            bytes[place] ^= flip;
            proptest::prop_assert_eq!(Refresh::open(&BASE64_URL_SAFE_NO_PAD.encode(bytes), &ours), None);
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text: String) {
            proptest::prop_assert_eq!(Refresh::open(&text, &secret("ours")), None);
        }
    }
}
