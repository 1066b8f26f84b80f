//! The tokens of a session, as calls return them.

use jiff::Timestamp;
use turnpike_proto::{auth::v1 as pb, timestamp};
use turnpike_token::{ApiKeyClaims, Claims, LIFETIME, SigningKey};

use crate::{
    convert::to_pb_user,
    exchange::Exchanged,
    random,
    refresh::Refresh,
    secret::ServerSecret,
    sessions::{self, Active},
};

pub(crate) struct Tokens {
    pub(crate) key: SigningKey,
    pub(crate) secret: ServerSecret,
}

impl Tokens {
    fn access_token(&self, session: &Active, now: Timestamp) -> String {
        self.sign(session, None, now + LIFETIME, now)
    }

    fn sign(&self, session: &Active, api_key: Option<ApiKeyClaims>, expires_at: Timestamp, now: Timestamp) -> String {
        self.key.sign(&Claims {
            user_id: session.user.id,
            session_id: session.id,
            token_id: random::token_id(),
            username: session.user.username.as_str().into(),
            role: session.user.role,
            issued_at: now,
            expires_at,
            auth_time: session.authenticated_at,
            api_key,
        })
    }

    pub(crate) fn pair(&self, session: &Active, now: Timestamp) -> pb::TokenPair {
        let refresh = Refresh { session_id: session.id, counter: session.counter };
        pb::TokenPair {
            access_token: self.access_token(session, now),
            refresh_token: refresh.seal(&self.secret),
            expires_in: LIFETIME.as_secs() as u32,
            refresh_expires_in: sessions::IDLE.as_secs() as u32,
        }
    }

    pub(crate) fn login(&self, (session, cookie): (Active, String), now: Timestamp) -> pb::LoginResponse {
        pb::LoginResponse {
            tokens: Some(self.pair(&session, now)),
            session_token: cookie,
            session_expires_at: Some(timestamp::to_protobuf(now + sessions::COOKIE)),
            user: Some(to_pb_user(session.user)),
        }
    }

    /// A token that does not outlive its key.
    pub(crate) fn of_api_key(&self, exchanged: &Exchanged, now: Timestamp) -> pb::AccessToken {
        let expires_at = exchanged.expires_at.map_or(now + LIFETIME, |at| at.min(now + LIFETIME));
        pb::AccessToken {
            access_token: self.sign(&exchanged.session, Some(exchanged.key), expires_at, now),
            expires_in: now.duration_until(expires_at).unsigned_abs().as_secs() as u32,
        }
    }

    pub(crate) fn short(&self, session: &Active, now: Timestamp) -> pb::AccessToken {
        pb::AccessToken { access_token: self.access_token(session, now), expires_in: LIFETIME.as_secs() as u32 }
    }
}
