//! The access token with which the chat service is called for the owner of a session.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;
use turnpike_identity::{AccessToken, Caller};

/// A token that expires sooner is not used.
const LEAST: Duration = Duration::from_secs(5);

/// The latest token of the owner; it is never stored.
#[derive(Default)]
pub(crate) struct Credential(watch::Sender<Option<Held>>);

struct Held {
    token: AccessToken,
    expires_at: Timestamp,
}

impl Credential {
    /// The owner has called with this token.
    pub(crate) fn renew(&self, caller: &Caller) {
        let expires_at = caller.claims.expires_at;
        self.0.send_if_modified(|held| {
            let is_later = held.as_ref().is_none_or(|held| held.expires_at < expires_at);
            if is_later {
                *held = Some(Held { token: caller.token.clone(), expires_at });
            }
            is_later
        });
    }

    /// A valid token.
    pub(crate) fn current(&self, now: Timestamp) -> Option<AccessToken> {
        let held = self.0.borrow();
        held.as_ref().filter(|held| held.expires_at > now + LEAST).map(|held| held.token.clone())
    }

    /// The chat service has refused this token.
    pub(crate) fn reject(&self, token: &AccessToken) {
        self.0.send_if_modified(|held| {
            let is_held = held.as_ref().is_some_and(|held| held.token.expose() == token.expose());
            if is_held {
                *held = None;
            }
            is_held
        });
    }

    /// Waits for the owner's next token, which may come as soon as this returns.
    pub(crate) fn renewed(&self) -> impl Future<Output = ()> + use<> {
        let mut held = self.0.subscribe();
        async move {
            if held.changed().await.is_err() {
                std::future::pending::<()>().await; // the session is gone, and its task with it
            }
        }
    }
}
