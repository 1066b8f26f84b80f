//! The tokens of a session, as calls return them.

use jiff::Timestamp;
use turnpike_proto::{auth::v1 as pb, timestamp};
use turnpike_token::{Claims, LIFETIME, SigningKey};

use crate::{
    convert::to_pb_user,
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
        self.key.sign(&Claims {
            user_id: session.user.id,
            session_id: session.id,
            token_id: random::token_id(),
            role: session.user.role,
            issued_at: now,
            expires_at: now + LIFETIME,
            auth_time: session.authenticated_at,
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

    pub(crate) fn short(&self, session: &Active, now: Timestamp) -> pb::AccessToken {
        pb::AccessToken { access_token: self.access_token(session, now), expires_in: LIFETIME.as_secs() as u32 }
    }
}
