//! The one-time sign-in file: how the client of the operating system user who started the one process signs in without a
//! password. The process writes it at each start; the client exchanges the code in it for a session.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::private_file;

/// What the file says.
#[derive(Serialize, Deserialize)]
pub struct OneTime {
    /// The gateway that accepts the code. The client sends it to no other one.
    pub server: String,
    /// The account that the code signs in.
    pub username: String,
    /// It works once.
    pub code: String,
    /// It is refused from then on.
    pub expires_at: Timestamp,
}

/// In the data directory.
const FILE: &str = "one-time-sign-in.json";

impl OneTime {
    /// Leaves a code in a data directory, in place of the one before.
    pub fn leave(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        fs::create_dir_all(data_dir)?;
        private_file::write(&data_dir.join(FILE), &text)
    }

    /// The code in a data directory that this server accepts. A file that cannot be read is another user's.
    pub fn find(data_dir: &Path, server: &str, now: Timestamp) -> Option<Self> {
        let text = fs::read(data_dir.join(FILE)).ok()?;
        let found: Self = serde_json::from_slice(&text).ok()?;
        (found.server == server && found.expires_at > now).then_some(found)
    }

    /// Removes the file of a code that is used up; a file with another code stays.
    pub fn forget(&self, data_dir: &Path, now: Timestamp) {
        if Self::find(data_dir, &self.server, now).is_some_and(|found| found.code == self.code) {
            let _ = withdraw(data_dir); // a used code left behind does no harm
        }
    }
}

/// Removes the file, whichever code is in it.
pub fn withdraw(data_dir: &Path) -> io::Result<()> {
    private_file::remove(&data_dir.join(FILE))
}
