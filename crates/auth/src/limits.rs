//! How often a password may be tried. The counters are in the database: all instances share them, and a restart keeps them.
//!
//! One account from one address has N failures a minute, one address 10 N over all accounts, and one account 10 N over all
//! addresses. An account that does not exist is counted like one that does. An attempt counts as soon as it is admitted, so
//! parallel attempts cannot exceed a limit; it is subtracted again unless its password was checked and wrong. A refused attempt
//! counts nowhere.
//!
//! If an account has signed in from an address before, only the limit of this account at this address applies to it there. So it
//! is locked out neither by failures of other accounts at the same address nor by guesses from other addresses.

use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::Process;
use turnpike_store::{
    Store,
    limits::{self, Limit, MINUTE, Taken},
};
use turnpike_topic::UserId;

use crate::{
    known_addresses,
    network::network,
    secret::{Fingerprints, ServerSecret},
    users,
};

/// The limits of password attempts.
pub struct Logins(Option<Limits>);

struct Limits {
    store: Store,
    /// Names and addresses are personal data: only fingerprints are stored, which are also short.
    fingerprints: Fingerprints,
    pair: Limit,
    address: Limit,
    account: Limit,
}

/// An attempt that may be checked. If it is dropped, it stays counted.
#[must_use]
pub struct Admitted {
    store: Option<Store>,
    counted: Vec<(Limit, String)>,
    /// The account and the fingerprint of the address. After a right password the account is known at this address.
    known_at: Option<(UserId, String)>,
    /// A limit that is shared with other accounts or addresses is used up, for this time. The password is checked nevertheless,
    /// because the account is known at the address.
    spent_for: Option<Duration>,
}

impl Logins {
    /// 0 means no limit.
    pub fn new(store: &Store, secret: &ServerSecret, per_minute: u32) -> Self {
        let times = |factor: u32| Limit::per_minute(per_minute.saturating_mul(factor));
        let limits = times(1).zip(times(10)).map(|(pair, ten)| Limits {
            store: store.clone(),
            fingerprints: secret.fingerprints(b"limits"),
            pair,
            address: ten,
            account: ten,
        });
        Self(limits)
    }

    /// Counts an attempt to sign in, or refuses it. `user` is the account that `identifier` names, if there is one.
    pub async fn admit(
        &self,
        address: &str,
        identifier: &str,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Admitted, Fault> {
        let Some(limits) = &self.0 else { return Ok(Admitted::unlimited()) };
        limits.admit(&network(address), identifier, user, now).await.map_err(turnpike_store::fault)?
    }

    /// Counts an attempt to check the password within a session: a stolen token must not allow unlimited guesses.
    pub async fn admit_again(&self, user: UserId, now: Timestamp) -> Result<Admitted, Fault> {
        let Some(limits) = &self.0 else { return Ok(Admitted::unlimited()) };
        limits.admit_again(user, now).await.map_err(turnpike_store::fault)?
    }
}

impl Limits {
    /// All attempts lock the rows in the same order, so that two attempts cannot deadlock.
    async fn admit(
        &self,
        network: &str,
        identifier: &str,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Result<Admitted, Fault>, sqlx::Error> {
        // A user can sign in with the username or the email address. Both count against one limit.
        let (kind, name) = match user {
            Some(user) => ("user", user.to_string()),
            None => ("name", users::key(identifier)),
        };
        let keys = [&[kind, &name, network] as &[&str], &[kind, &name], &["address", network]];
        let [pair_key, account_key, address_key] = keys.map(|key| self.fingerprints.of(key));
        let mut tx = self.store.begin().await?;
        let known = known_addresses::is_known(&mut tx, user, &address_key, now).await?;
        let pair = self.pair.take(&mut tx, &pair_key, now).await?;
        let account = self.account.take(&mut tx, &account_key, now).await?;
        let address = self.address.take(&mut tx, &address_key, now).await?;
        let spent_for = [account, address].into_iter().filter_map(wait).max();
        let refused_for = match (spent_for, wait(pair)) {
            (Some(shared), _) if !known => Some(shared),
            // The response must not differ from that for an account that is not known at the address.
            (Some(shared), Some(_)) => Some(shared),
            (_, own) => own,
        };
        if let Some(after) = refused_for {
            return Ok(Err(refused(after))); // the rollback subtracts the attempt again
        }
        tx.commit().await?;
        let known_at = user.map(|user| (user, address_key.clone()));
        let all =
            [(pair, self.pair, pair_key), (account, self.account, account_key), (address, self.address, address_key)];
        let counted = all.into_iter().filter(|(taken, ..)| *taken == Taken::Yes).map(|(_, limit, key)| (limit, key));
        Ok(Ok(Admitted { store: Some(self.store.clone()), counted: counted.collect(), known_at, spent_for }))
    }

    async fn admit_again(&self, user: UserId, now: Timestamp) -> Result<Result<Admitted, Fault>, sqlx::Error> {
        let key = format!("password {user}");
        let mut tx = self.store.begin().await?;
        if let Taken::NotFor(after) = self.pair.take(&mut tx, &key, now).await? {
            return Ok(Err(refused(after)));
        }
        tx.commit().await?;
        let counted = vec![(self.pair, key)];
        Ok(Ok(Admitted { store: Some(self.store.clone()), counted, known_at: None, spent_for: None }))
    }
}

impl Admitted {
    fn unlimited() -> Self {
        Self { store: None, counted: Vec::new(), known_at: None, spent_for: None }
    }

    /// The password was wrong: the attempt stays counted. Returns the response: `answer`, or, while a shared limit is used up,
    /// the same refusal as for an account that is not known at the address.
    pub fn wrong(self, answer: Fault) -> Fault {
        self.spent_for.map_or(answer, refused)
    }

    /// The password was not checked: the attempt is subtracted.
    pub async fn not_checked(self) {
        self.settle(None).await;
    }

    /// The password was right: the attempt is subtracted, and the account is known at the address from now on.
    pub async fn right(self, now: Timestamp) {
        self.settle(Some(now)).await;
    }

    /// Subtracts the attempt. If the database fails, the account has one attempt less for at most a minute.
    async fn settle(self, right_at: Option<Timestamp>) {
        let Some(store) = self.store else { return };
        let settled = async {
            let mut tx = store.begin().await?;
            for (limit, key) in &self.counted {
                limit.give_back(&mut tx, key).await?;
            }
            if let (Some(now), Some((user, address))) = (right_at, &self.known_at) {
                known_addresses::remember(&mut tx, *user, address, now).await?;
            }
            tx.commit().await
        };
        if let Err(error) = settled.await {
            warn!(%error, "a sign-in attempt stays counted for up to a minute");
        }
    }
}

fn wait(taken: Taken) -> Option<Duration> {
    match taken {
        Taken::Yes => None,
        Taken::NotFor(after) => Some(after),
    }
}

fn refused(after: Duration) -> Fault {
    metrics::counter!("turnpike_auth_limited_total").increment(1);
    Fault::new(Kind::RateLimited, "Too many attempts to sign in").retry_after(after)
}

/// Removes expired counters, and addresses without a recent sign-in.
pub fn sweep(process: &Process, store: &Store) {
    let (counters, addresses) = (store.clone(), store.clone());
    turnpike_store::sweep(process, "limits of sign-in attempts", MINUTE, move |now| {
        let store = counters.clone();
        async move { limits::sweep(&store, now).await }
    });
    turnpike_store::sweep(process, "known addresses", MINUTE, move |now| {
        let store = addresses.clone();
        async move { known_addresses::sweep(&store, now).await }
    });
}
