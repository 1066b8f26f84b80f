//! Tokens whose signatures were verified before. Verifying a signature takes about 60 µs, and each service that handles a request
//! does it.

use std::{collections::HashMap, mem};

use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};
use turnpike_token::Claims;

/// The SHA-256 of a token: the tokens themselves are not kept, and the time of a look-up reveals nothing about known tokens.
type Fingerprint = [u8; 32];

/// Claims of verified tokens. Expiry and revocation are checked at each use, because they change. Bounded: the tokens that were
/// used least recently are dropped.
#[derive(Default)]
pub(crate) struct Verified(Mutex<Generations>);

/// Two maps instead of a list ordered by use: when the recent one is full, it replaces the older one.
#[derive(Default)]
struct Generations {
    recent: HashMap<Fingerprint, Claims>,
    older: HashMap<Fingerprint, Claims>,
}

/// Tokens a generation; about 3 MB for both.
const TOKENS: usize = 8192;

pub(crate) fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token).into()
}

impl Verified {
    pub(crate) fn get(&self, token: &Fingerprint) -> Option<Claims> {
        let mut known = self.lock();
        if let Some(claims) = known.recent.get(token) {
            return Some(claims.clone());
        }
        let claims = known.older.remove(token)?;
        known.insert(*token, claims.clone());
        Some(claims)
    }

    /// Stores a verified token, unless the keys were replaced during its verification: `is_current` checks this under the lock.
    pub(crate) fn insert(&self, token: Fingerprint, claims: Claims, is_current: impl FnOnce() -> bool) {
        let mut known = self.lock();
        if is_current() {
            known.insert(token, claims);
        }
    }

    /// Forgets every token: the keys were replaced.
    pub(crate) fn clear(&self) {
        *self.lock() = Generations::default();
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock()
    }
}

impl Generations {
    fn insert(&mut self, token: Fingerprint, claims: Claims) {
        if self.recent.len() >= TOKENS {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(token, claims);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use turnpike_token::Role;
    use turnpike_topic::{SessionId, UserId};

    use super::*;

    fn claims() -> Claims {
        let now = Timestamp::UNIX_EPOCH;
        Claims {
            user_id: UserId::new(now),
            session_id: SessionId::new(now),
            token_id: uuid::Uuid::nil(),
            username: "ada".into(),
            role: Role::User,
            issued_at: now,
            expires_at: now,
            auth_time: now,
            api_key: None,
        }
    }

    #[test]
    fn tokens_in_use_stay_and_the_number_of_tokens_is_bounded() {
        let verified = Verified::default();
        let used = fingerprint("used");
        verified.insert(used, claims(), || true);
        for n in 0..5 * TOKENS {
            verified.insert(fingerprint(&n.to_string()), claims(), || true);
            assert!(n % 1000 != 0 || verified.get(&used).is_some(), "dropped after {n} others");
        }
        let known = verified.lock();
        assert!(known.recent.len() + known.older.len() <= 2 * TOKENS);
    }

    #[test]
    fn a_token_that_was_verified_with_replaced_keys_is_not_remembered() {
        let verified = Verified::default();
        verified.insert(fingerprint("old"), claims(), || false);
        assert_eq!(verified.get(&fingerprint("old")), None);
        verified.insert(fingerprint("new"), claims(), || true);
        verified.clear();
        assert_eq!(verified.get(&fingerprint("new")), None);
    }
}
