//! The one-time sign-in file. With it the operating system user who started the single process signs in without a password: the process
//! writes the file at each start, and the client exchanges the code in it for a session.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::private_file;

/// The content of the file.
#[derive(Serialize, Deserialize)]
pub struct OneTime {
    /// The gateway that accepts the code. The client sends the code to no other address.
    pub server: String,
    pub username: String,
    pub code: String,
    pub expires_at: Timestamp,
}

/// The name of the file in the data directory.
const FILE: &str = "one-time-sign-in.json";

impl OneTime {
    /// Writes the file; replaces an earlier one.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        fs::create_dir_all(data_dir)?;
        private_file::write(&data_dir.join(FILE), &text)
    }

    /// Reads the file. `None` if it is for another server, has expired or cannot be read, for example because it is another user's.
    pub fn find(data_dir: &Path, server: &str, now: Timestamp) -> Option<Self> {
        let text = fs::read(data_dir.join(FILE)).ok()?;
        let found: Self = serde_json::from_slice(&text).ok()?;
        (found.server == server && found.expires_at > now).then_some(found)
    }

    /// Removes the file after its code was used. A file with another code is kept.
    pub fn remove(&self, data_dir: &Path, now: Timestamp) {
        if Self::find(data_dir, &self.server, now).is_some_and(|found| found.code == self.code) {
            let _ = remove(data_dir); // the server refuses a used code, so a remaining file does no harm
        }
    }
}

/// Removes the file with any code.
pub fn remove(data_dir: &Path) -> io::Result<()> {
    private_file::remove(&data_dir.join(FILE))
}
