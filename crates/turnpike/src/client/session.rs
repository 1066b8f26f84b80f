//! Saved sessions: one file for each server, in the user's configuration directory, readable only by the user. A client changes a
//! session only under a lock: a refresh token works once, so when two clients refresh, the second must read the tokens of the first.

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

/// The content of a session file.
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

/// An access token is replaced this long before its expiry, so that it does not expire in transit.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

impl Session {
    /// Reads the response to a sign-in that was sent at `now`.
    pub(crate) fn new(server: &str, answer: &Value, now: Timestamp) -> anyhow::Result<Self> {
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

    /// The same session with the tokens of a response.
    pub(crate) fn refreshed(&self, answer: &Value, now: Timestamp) -> anyhow::Result<Self> {
        let token = |name: &str| {
            let token = answer[name].as_str().map(str::to_owned);
            token.with_context(|| format!("the gateway's response has no {name}"))
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

    /// Whether `user` is the username or the e-mail address of the session's user; true if `user` is `None`.
    pub(crate) fn belongs_to(&self, user: Option<&str>) -> bool {
        user.is_none_or(|user| [&self.username, &self.email].iter().any(|name| name.eq_ignore_ascii_case(user)))
    }

    /// Whether the access token is valid for at least [`EXPIRY_MARGIN`].
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.access_expires_at > now + EXPIRY_MARGIN
    }
}

/// The file of the saved session for one server. It may not exist.
#[derive(Clone)]
pub(crate) struct SessionFile {
    folder: PathBuf,
    name: String,
}

/// Read errors that mean that there is no saved session.
const NO_SESSION: [ErrorKind; 3] = [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::PermissionDenied];

/// How long a client waits for the lock. The holder sends up to two requests of at most 30 s each.
const LOCK_TIMEOUT: Duration = Duration::from_secs(70);

impl SessionFile {
    /// The file in the user's configuration directory.
    pub(crate) fn new(config_home: &Path, server: &str) -> anyhow::Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        let escaped = |c: char| if plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
        let name: String = server.trim_start_matches("http://").chars().map(escaped).collect();
        ensure!(name.len() <= 200, "--server is too long: at most 200 characters are expected");
        Ok(Self { folder: config_home.join("turnpike").join("sessions"), name })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// The session, if there is one.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Session>> {
        let file = self.path();
        let text = match fs::read(&file) {
            Ok(text) => text,
            // The home directory may be unusable, for example in a container.
            Err(error) if NO_SESSION.contains(&error.kind()) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        let session = serde_json::from_slice(&text);
        session
            .map(Some)
            .with_context(|| format!("{} is not a valid session; remove the file and sign in again", file.display()))
    }

    /// Locks the session; waits for other clients up to [`LOCK_TIMEOUT`].
    pub(crate) async fn lock(&self) -> anyhow::Result<LockedSession<'_>> {
        let context = || format!("sessions cannot be saved in {}", self.folder.display());
        if let Some(parent) = self.folder.parent() {
            private_file::create_folder(parent).with_context(context)?;
        }
        private_file::create_folder(&self.folder).with_context(context)?;
        let path = self.folder.join(format!("{}.lock", self.name));
        let file =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).with_context(context)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(LockedSession { file: self, _lock: file }),
                Err(fs::TryLockError::Error(error)) => return Err(error).with_context(context),
                Err(fs::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    bail!("another client has locked {} for {} s", path.display(), LOCK_TIMEOUT.as_secs())
                }
                Err(fs::TryLockError::WouldBlock) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// A saved session that no other client changes until this is dropped or the process exits.
pub(crate) struct LockedSession<'a> {
    file: &'a SessionFile,
    _lock: File,
}

impl LockedSession<'_> {
    pub(crate) fn load(&self) -> anyhow::Result<Option<Session>> {
        self.file.load()
    }

    pub(crate) fn save(&self, session: &Session) -> anyhow::Result<()> {
        let file = self.file.path();
        let text = serde_json::to_vec_pretty(session)?;
        private_file::write(&file, &text).with_context(|| format!("{} cannot be written", file.display()))
    }

    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let file = self.file.path();
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
    fn an_access_token_is_used_until_a_minute_before_its_expiry() {
        let now = Timestamp::UNIX_EPOCH;
        let session = Session::new("http://a", &answer(1), now).expect("the response has every field");
        assert!(session.is_fresh(now + Duration::from_secs(839)) && !session.is_fresh(now + Duration::from_secs(840)));
        let next = session.refreshed(&answer(2), now + Duration::from_secs(840)).expect("the response has every field");
        assert_eq!(
            (next.access_token.as_str(), next.refresh_token.as_str(), next.username.as_str()),
            ("a2", "r2", "ada")
        );
        assert!(next.belongs_to(None) && next.belongs_to(Some("Ada")) && next.belongs_to(Some("ada@example.com")));
        assert!(!next.belongs_to(Some("admin")));
    }

    #[tokio::test]
    async fn a_session_file_is_readable_only_by_its_user() {
        let home = TempDir::new().expect("a directory");
        let file = SessionFile::new(home.path(), "http://127.0.0.1:8080/a/../b").expect("a name");
        assert!(file.load().expect("readable").is_none());
        let locked = file.lock().await.expect("locked");
        locked
            .save(&Session::new("http://a", &answer(1), Timestamp::UNIX_EPOCH).expect("the response has every field"))
            .expect("saved");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(&file.path()), 0o600);
        assert_eq!(mode(&home.path().join("turnpike")), 0o700);
        assert_eq!(
            file.path().parent(),
            Some(home.path().join("turnpike/sessions").as_path()),
            "the server's path is escaped"
        );
        let mut names: Vec<_> =
            fs::read_dir(&file.folder).expect("a folder").map(|e| e.expect("a file").file_name()).collect();
        names.sort();
        assert_eq!(
            names,
            ["127.0.0.1:8080%2Fa%2F..%2Fb.json", "127.0.0.1:8080%2Fa%2F..%2Fb.lock"],
            "no temporary file"
        );
        locked.remove().expect("removed");
        locked.remove().expect("removed already");
        assert!(file.load().expect("readable").is_none());
    }

    #[tokio::test]
    async fn a_second_client_waits_for_the_lock() {
        let home = TempDir::new().expect("a directory");
        let file = SessionFile::new(home.path(), "http://127.0.0.1:8080").expect("a name");
        let first = file.lock().await.expect("locked");
        let mut second = std::pin::pin!(file.lock());
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err(), "the lock is held");
        drop(first);
        tokio::time::timeout(Duration::from_secs(10), second).await.expect("the lock is free").expect("locked");
    }
}
