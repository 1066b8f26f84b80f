//! Kept sessions: one file for each server, in the user's configuration directory. Only the user can read them, and a lock lets one
//! client at a time change one: a refresh token works once, so of two clients that refresh at once the later one must find what the
//! earlier one got.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use turnpike::private_file;

/// A session as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) server: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) access_token: String,
    pub(crate) access_expires_at: Timestamp,
    pub(crate) refresh_token: String,
    pub(crate) refresh_expires_at: Timestamp,
}

/// An access token is renewed so long before its end, so that it does not expire on its way.
const MARGIN: Duration = Duration::from_secs(60);

impl Session {
    /// From the answer to a sign-in that was sent at `now`.
    pub(crate) fn begun(server: &str, answer: &Value, now: Timestamp) -> anyhow::Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let session = Self {
            server: server.to_owned(),
            username: text(&answer["user"]["username"]),
            email: text(&answer["user"]["email"]),
            access_token: String::new(),
            access_expires_at: now,
            refresh_token: String::new(),
            refresh_expires_at: now,
        };
        session.refreshed(answer, now)
    }

    /// The same session with the tokens of an answer.
    pub(crate) fn refreshed(&self, answer: &Value, now: Timestamp) -> anyhow::Result<Self> {
        let token = |name: &str| {
            let token = answer[name].as_str().map(str::to_owned);
            token.with_context(|| format!("the gateway's answer has no {name}"))
        };
        let after = |name: &str| now + Duration::from_secs(answer[name].as_u64().unwrap_or_default());
        Ok(Self {
            access_token: token("access_token")?,
            access_expires_at: after("expires_in"),
            refresh_token: token("refresh_token")?,
            refresh_expires_at: after("refresh_expires_in"),
            ..self.clone()
        })
    }

    /// Whether it is of this user; of anyone if none is named.
    pub(crate) fn is_of(&self, user: Option<&str>) -> bool {
        user.is_none_or(|user| [&self.username, &self.email].iter().any(|name| name.eq_ignore_ascii_case(user)))
    }

    /// Whether its access token can be used now.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.access_expires_at > now + MARGIN
    }
}

/// The place of one server's session.
#[derive(Clone)]
pub(crate) struct Kept {
    folder: PathBuf,
    name: String,
}

/// Why a file cannot be read where there is no session.
const NONE: [ErrorKind; 3] = [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::PermissionDenied];

/// How long a client waits for another one, which makes two requests of at most 30 s each while it holds the lock.
const PATIENCE: Duration = Duration::from_secs(70);

impl Kept {
    /// Below the user's configuration directory.
    pub(crate) fn at(config_home: &Path, server: &str) -> anyhow::Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        let escaped = |c: char| if plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
        let name: String = server.trim_start_matches("http://").chars().map(escaped).collect();
        ensure!(name.len() <= 200, "--server is too long: at most 200 characters are expected");
        Ok(Self { folder: config_home.join("turnpike").join("sessions"), name })
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// The session, if there is one.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Session>> {
        let file = self.file();
        let text = match fs::read(&file) {
            Ok(text) => text,
            // A user without a usable home, in a container for instance, keeps no session.
            Err(error) if NONE.contains(&error.kind()) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        let session = serde_json::from_slice(&text);
        session
            .map(Some)
            .with_context(|| format!("{} is not a session; remove the file and sign in again", file.display()))
    }

    /// Waits until no other client changes the session.
    pub(crate) async fn lock(&self) -> anyhow::Result<Locked<'_>> {
        let about = || format!("sessions cannot be kept in {}", self.folder.display());
        if let Some(ours) = self.folder.parent() {
            private_file::folder(ours).with_context(about)?;
        }
        private_file::folder(&self.folder).with_context(about)?;
        let path = self.folder.join(format!("{}.lock", self.name));
        let file =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).with_context(about)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { kept: self, _lock: file }),
                Err(fs::TryLockError::Error(error)) => return Err(error).with_context(about),
                Err(fs::TryLockError::WouldBlock) if Instant::now() >= until => {
                    bail!("another client has held {} for {} s", path.display(), PATIENCE.as_secs())
                }
                Err(fs::TryLockError::WouldBlock) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// The right to change a session, until it is dropped or the process ends.
pub(crate) struct Locked<'a> {
    kept: &'a Kept,
    _lock: File,
}

impl Locked<'_> {
    /// The session as it is now.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Session>> {
        self.kept.load()
    }

    /// Replaces the session.
    pub(crate) fn save(&self, session: &Session) -> anyhow::Result<()> {
        let file = self.kept.file();
        let text = serde_json::to_vec_pretty(session)?;
        private_file::write(&file, &text).with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Removes the session.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let file = self.kept.file();
        private_file::remove(&file).with_context(|| format!("{} cannot be removed", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn answer(number: u32) -> Value {
        json!({ "access_token": format!("a{number}"), "refresh_token": format!("r{number}"), "expires_in": 900,
            "refresh_expires_in": 2_592_000, "user": { "username": "ada", "email": "ada@example.com" } })
    }

    #[test]
    fn a_session_is_used_until_shortly_before_its_end() {
        let now = Timestamp::UNIX_EPOCH;
        let session = Session::begun("http://a", &answer(1), now).expect("whole");
        assert!(session.is_fresh(now + Duration::from_secs(839)) && !session.is_fresh(now + Duration::from_secs(840)));
        let next = session.refreshed(&answer(2), now + Duration::from_secs(840)).expect("whole");
        assert_eq!(
            (next.access_token.as_str(), next.refresh_token.as_str(), next.username.as_str()),
            ("a2", "r2", "ada")
        );
        assert!(next.is_of(None) && next.is_of(Some("Ada")) && next.is_of(Some("ada@example.com")));
        assert!(!next.is_of(Some("admin")));
    }

    #[tokio::test]
    async fn a_session_is_kept_for_its_user_alone() {
        let home = TempDir::new().expect("a directory");
        let kept = Kept::at(home.path(), "http://127.0.0.1:8080/a/../b").expect("a name");
        assert!(kept.load().expect("readable").is_none());
        let locked = kept.lock().await.expect("locked");
        locked.save(&Session::begun("http://a", &answer(1), Timestamp::UNIX_EPOCH).expect("whole")).expect("saved");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(&kept.file()), 0o600);
        assert_eq!(mode(&home.path().join("turnpike")), 0o700);
        assert_eq!(
            kept.file().parent(),
            Some(home.path().join("turnpike/sessions").as_path()),
            "no path of the server's"
        );
        let mut names: Vec<_> =
            fs::read_dir(&kept.folder).expect("a folder").map(|e| e.expect("a file").file_name()).collect();
        names.sort();
        assert_eq!(names, ["127.0.0.1:8080%2Fa%2F..%2Fb.json", "127.0.0.1:8080%2Fa%2F..%2Fb.lock"], "and no draft");
        locked.remove().expect("removed");
        locked.remove().expect("removed already");
        assert!(kept.load().expect("readable").is_none());
    }

    #[tokio::test]
    async fn a_second_client_waits_for_the_first() {
        let home = TempDir::new().expect("a directory");
        let kept = Kept::at(home.path(), "http://127.0.0.1:8080").expect("a name");
        let first = kept.lock().await.expect("locked");
        let mut second = std::pin::pin!(kept.lock());
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err(), "held");
        drop(first);
        tokio::time::timeout(Duration::from_secs(10), second).await.expect("free").expect("locked");
    }
}
