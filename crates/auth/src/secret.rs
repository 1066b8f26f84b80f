//! The server's secret. With the database, it is all that is needed to verify credentials.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::Sha256;

use crate::random;

/// Keys are derived from it, each for its purpose (HKDF, RFC 5869); it is used for nothing else.
pub struct ServerSecret(Hkdf<Sha256>);

const FILE: &str = "auth.secret";

impl ServerSecret {
    /// The configured secret, or the one in the data directory, which is generated at the first start.
    pub fn obtain(configured: Option<&SecretString>, data_dir: &Path) -> anyhow::Result<Self> {
        match configured {
            Some(secret) => Ok(Self::new(secret.expose_secret().as_bytes())),
            None => Self::in_file(&data_dir.join(FILE)),
        }
    }

    fn new(material: &[u8]) -> Self {
        Self(Hkdf::new(Some(b"turnpike-auth"), material))
    }

    fn in_file(path: &Path) -> anyhow::Result<Self> {
        let about = || format!("the generated secret in {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(about)?;
        }
        // If two processes start at the same time, one creates the whole file, and both read it.
        if !path.exists() {
            let draft = path.with_extension(random::token());
            let written = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&draft)
                .and_then(|mut file| file.write_all(random::token().as_bytes()).and_then(|()| file.sync_all()))
                .and_then(|()| match fs::hard_link(&draft, path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    linked => linked,
                });
            // If it cannot be removed, the draft is only left behind.
            let _ = fs::remove_file(&draft);
            written.with_context(about)?;
        }
        let text = SecretString::from(fs::read_to_string(path).with_context(about)?);
        anyhow::ensure!(text.expose_secret().trim().len() >= 32, "{} is too short to be one", about());
        Ok(Self::new(text.expose_secret().trim().as_bytes()))
    }

    /// A keyed fingerprint (HMAC-SHA-256) of a list of strings; without the key it reveals nothing about them.
    pub fn digest(&self, purpose: &[u8], texts: &[&str]) -> String {
        self.fingerprints(purpose).of(texts)
    }

    /// Keyed fingerprints for one purpose.
    pub fn fingerprints(&self, purpose: &[u8]) -> Fingerprints {
        Fingerprints(self.derive(&[purpose]))
    }

    /// 32 bytes for one purpose.
    pub fn derive(&self, purpose: &[&[u8]]) -> SecretBox<[u8; 32]> {
        SecretBox::init_with_mut(|key: &mut [u8; 32]| {
            self.0.expand_multi_info(purpose, key).expect("32 bytes are less than HKDF's bound");
        })
    }
}

/// Keyed fingerprints (HMAC-SHA-256) of lists of strings; without the key they reveal nothing about the strings.
pub struct Fingerprints(SecretBox<[u8; 32]>);

impl Fingerprints {
    /// The fingerprint of a list.
    pub fn of(&self, texts: &[&str]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("any length is a key");
        for text in texts {
            mac.update(&(text.len() as u64).to_be_bytes());
            mac.update(text.as_bytes());
        }
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}
