//! Passwords: which are accepted, and hashing them on threads of their own behind a bounded queue.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use argon2::{
    Algorithm, Argon2, Block, Params, Version, password_hash,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tracing::error;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, OnExit, Process};

use crate::random;

/// Longer passwords take more work and are no safer.
const MAX_BYTES: usize = 256;
const MIN_CHARS: usize = 12;

/// Validates a new password. `field` is its name in the request; `about` are words that add nothing to its strength.
pub fn validate(password: &str, field: &str, about: &[&str]) -> Result<(), Fault> {
    let unfit =
        |message: String| Err(Fault::new(Kind::Validation, "The password cannot be used").field(field, message));
    if password.len() > MAX_BYTES {
        return unfit(format!("must be at most {MAX_BYTES} bytes"));
    }
    if password.chars().count() < MIN_CHARS {
        return unfit(format!("must be at least {MIN_CHARS} characters"));
    }
    if zxcvbn::zxcvbn(password, about).score() < zxcvbn::Score::Three {
        return unfit("is too easy to guess: use a longer or less common one".to_owned());
    }
    Ok(())
}

/// Hashes on threads of its own, a limited number at once. A request that would wait longer than two seconds is refused.
#[derive(Clone)]
pub struct Hasher(Arc<Inner>);

struct Inner {
    memory: Arc<Memory>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The hash of a random password, which is verified if there is no account, so that both cases take the same work.
    dummy: String,
}

/// Each hash takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 4;
/// More would wait longer than two seconds.
const MAX_WAITING: usize = 256;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// Memory that was not used for this long is given back.
const KEPT: Duration = Duration::from_secs(10);

impl Hasher {
    /// Computes the hash for unknown accounts, which takes as long as a login. Fails if no hash can be computed.
    pub async fn new() -> anyhow::Result<Self> {
        let (memory, permit) = (Arc::<Memory>::default(), Arc::new(Semaphore::new(AT_ONCE)));
        let theirs = memory.clone();
        let hash = move || theirs.lend(|blocks| hash(&SecretString::from(random::token()), blocks));
        let dummy = tokio::task::spawn_blocking(hash).await?.context("passwords cannot be hashed")?;
        Ok(Self(Arc::new(Inner { memory, permits: permit, waiting: AtomicUsize::new(0), dummy })))
    }

    /// Gives memory back that is no longer used, until the process stops.
    pub fn serve(&self, process: &Process) {
        let (memory, clock, stopping) =
            (self.0.memory.clone(), process.clock.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("password memory", OnExit::StopProcess, async move {
            stopping.run_until_cancelled(memory.give_back(&clock)).await;
        });
    }

    /// The hash of a new password, in PHC format.
    pub async fn hash(&self, password: SecretString) -> Result<String, Fault> {
        self.run(move |blocks| hash(&password, blocks)).await?.map_err(|error| {
            error!(%error, "a password could not be hashed");
            Fault::internal()
        })
    }

    /// Verifies a password; without a hash it takes the same work. A password that is too long is wrong without a comparison, so
    /// that the queue does not hold its bytes.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<Verdict, Fault> {
        let (password, hash) = match password.expose_secret().len() {
            0..=MAX_BYTES => (password, hash),
            _ => (SecretString::default(), None),
        };
        let dummy = self.0.dummy.clone();
        self.run(move |blocks| {
            let verdict = verify(&password, hash.as_deref().unwrap_or(&dummy), blocks);
            if hash.is_some() { verdict } else { Verdict { right: false, outdated: false } }
        })
        .await
    }

    /// The permit belongs to the blocking work itself, which continues if its caller disconnects: released by the caller, it
    /// would be used twice.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let busy = || {
            metrics::counter!("turnpike_auth_hasher_refusals_total").increment(1);
            Fault::new(Kind::Unavailable, "Too many people are signing in; try again shortly")
                .retry_after(Duration::from_secs(2))
        };
        if self.0.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let permit = timeout(QUEUE_TIMEOUT, self.0.permits.clone().acquire_owned()).await;
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        let permit = permit.map_err(|_| busy())?.map_err(|_| Fault::internal())?;
        metrics::counter!("turnpike_auth_hashes_total").increment(1);
        let memory = self.0.memory.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            memory.lend(work)
        });
        worked.await.map_err(|_| Fault::internal())
    }
}

/// Memory blocks for hashing. While passwords are hashed they are used again: otherwise the system would clear 19 MiB for each, and
/// the allocator would keep freed memory for each of hundreds of threads. There are as many as were needed at once, at most as many
/// as permits.
#[derive(Default)]
struct Memory {
    unused: Mutex<Vec<Vec<Block>>>,
    used: Notify,
}

impl Memory {
    fn lend<T>(&self, work: impl FnOnce(&mut Vec<Block>) -> T) -> T {
        let mut blocks = self.unused().pop().unwrap_or_default();
        let done = work(&mut blocks);
        blocks.truncate(argon2().params().block_count()); // an old hash may have needed more
        blocks.shrink_to_fit();
        self.unused().push(blocks);
        self.used.notify_one();
        done
    }

    fn unused(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.unused.lock().expect("no panic while it is held")
    }

    async fn give_back(&self, clock: &Clock) {
        loop {
            self.used.notified().await;
            loop {
                tokio::select! {
                    () = self.used.notified() => {}
                    () = clock.sleep(KEPT) => break,
                }
            }
            self.unused().clear();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub right: bool,
    /// The hash has outdated parameters: the password is hashed again now, while it is known.
    pub outdated: bool,
}

/// Argon2id with OWASP's minimum: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn compute(
    argon2: &Argon2<'_>,
    password: &SecretString,
    salt: &Salt,
    length: usize,
    blocks: &mut Vec<Block>,
) -> Result<Output, password_hash::Error> {
    let count = argon2.params().block_count();
    if blocks.len() < count {
        blocks.resize(count, Block::new());
    }
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..length).ok_or(password_hash::Error::OutputSize)?;
    argon2.hash_password_into_with_memory(password.expose_secret().as_bytes(), salt, output, &mut blocks[..count])?;
    Ok(Output::new(output)?)
}

/// In PHC format.
fn hash(password: &SecretString, blocks: &mut Vec<Block>) -> Result<String, password_hash::Error> {
    let (argon2, salt) = (argon2(), Salt::generate());
    let output = compute(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN, blocks)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn verify(password: &SecretString, known: &str, blocks: &mut Vec<Block>) -> Verdict {
    let Ok(known) = PasswordHash::new(known) else {
        return Verdict { right: false, outdated: false };
    };
    // Outputs are compared in constant time.
    let right = recompute(password, &known, blocks).is_ok_and(|output| Some(output) == known.hash);
    let used = Params::try_from(&known).ok();
    let outdated = used.is_none_or(|used| {
        let ours = argon2();
        let ours = ours.params();
        (used.m_cost(), used.t_cost(), used.p_cost()) != (ours.m_cost(), ours.t_cost(), ours.p_cost())
    });
    Verdict { right, outdated }
}

/// With the parameters of the hash.
fn recompute(
    password: &SecretString,
    known: &PasswordHash,
    blocks: &mut Vec<Block>,
) -> Result<Output, password_hash::Error> {
    let algorithm = Algorithm::try_from(known.algorithm.as_str())?;
    let version = known.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let (salt, expected) = known.salt.as_ref().zip(known.hash.as_ref()).ok_or(password_hash::Error::PasswordInvalid)?;
    compute(&Argon2::new(algorithm, version, Params::try_from(known)?), password, salt, expected.len(), blocks)
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;

    #[test]
    fn weak_passwords_are_refused_by_name() {
        for weak in ["short", "aaaaaaaaaaaaaaaa", "password12345", "ada@example.com1", &"x".repeat(300)] {
            let fault = validate(weak, "new_password", &["ada@example.com"]).expect_err(weak);
            assert_eq!(fault.fields()[0].field, "new_password", "{weak}");
        }
        validate("correct horse battery staple", "password", &[]).expect("a good one");
    }

    #[tokio::test]
    async fn a_hash_is_verified_and_an_outdated_one_is_reported() {
        let hasher = Hasher::new().await.expect("hashes");
        let password = || SecretString::from("correct horse battery staple");
        let known = hasher.hash(password()).await.expect("hashed");
        assert!(known.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{known}");
        let verdict = hasher.verify(password(), Some(known.clone())).await.expect("verified");
        assert_eq!(verdict, Verdict { right: true, outdated: false });
        let verdict = hasher.verify(SecretString::from("another"), Some(known)).await.expect("verified");
        assert!(!verdict.right);
        assert!(!hasher.verify(password(), None).await.expect("the same work").right);

        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 1, 1, None).expect("valid"));
        let old = cheap.hash_password(password().expose_secret().as_bytes()).expect("hashed").to_string();
        let verdict = hasher.verify(password(), Some(old)).await.expect("verified");
        assert_eq!(verdict, Verdict { right: true, outdated: true });
    }

    #[tokio::test]
    async fn memory_that_is_not_used_is_given_back() {
        let (clock, hand) = Clock::controlled(jiff::Timestamp::UNIX_EPOCH);
        let env = turnpike_kit::Environment::default();
        let process = Process::new(env, clock).expect("a process");
        let hasher = Hasher::new().await.expect("hashes");
        hasher.serve(&process);
        let kept = || hasher.0.memory.unused().len();
        hasher.verify(SecretString::from("x"), None).await.expect("verified");
        assert_eq!(kept(), 1, "it is used again");
        // Until its task has seen the last use, the clock must go on.
        for _ in 0..1000 {
            if kept() == 0 {
                break;
            }
            hand.advance(KEPT / 4);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(kept(), 0);
        assert!(!hasher.verify(SecretString::from("x"), None).await.expect("verified").right);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_would_wait_too_long_is_refused() {
        let hasher = Hasher::new().await.expect("hashes");
        let _all =
            hasher.0.permits.clone().acquire_many_owned(u32::try_from(AT_ONCE).expect("few")).await.expect("open");
        let fault = hasher.verify(SecretString::from("x"), None).await.expect_err("no permit");
        assert_eq!(fault.kind(), Kind::Unavailable);
        assert_eq!(fault.retry_in(), Some(QUEUE_TIMEOUT));
    }
}
