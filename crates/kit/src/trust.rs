//! Which servers https clients trust.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{ConfigError, Environment, Variable};

/// The certificates that https clients trust: those of the public authorities (Mozilla's list), and those of a
/// file of the deployment.
#[derive(Clone)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// Reads the file that `variable` names, if it is set. A file that cannot be read, or that holds no certificate, is an error.
    pub fn new(env: &Environment, variable: &'static Variable) -> Result<Self, ConfigError> {
        let mut roots = public();
        let Some(path) = env.get(variable) else { return Ok(Self(Arc::new(roots))) };
        let invalid =
            |cause: &dyn fmt::Display| env.invalid(variable, format_args!("a file with certificates in PEM ({cause})"));
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| invalid(&error))?;
        let mut number = 0;
        for certificate in certificates {
            let added = certificate.map_err(|error| invalid(&error))?;
            roots.add(added).map_err(|error| invalid(&error))?;
            number += 1;
        }
        match number {
            0 => Err(invalid(&"it has none")),
            _ => Ok(Self(Arc::new(roots))),
        }
    }

    /// The public authorities alone.
    pub fn public() -> Self {
        Self(Arc::new(public()))
    }

    /// The TLS of a client, versions 1.2 and 1.3, without a certificate of its own.
    ///
    /// # Panics
    ///
    /// Never: the cryptography that is compiled in knows both versions.
    pub fn client(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3 are compiled in")
            .with_root_certificates(self.0.clone())
            .with_no_client_auth()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} certificates)", self.0.len())
    }
}

fn public() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables;

    #[test]
    fn a_file_without_certificates_is_refused_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |name: &str| {
            let path = folder.path().join(name).display().to_string();
            let env = Environment::new([(variables::CA_FILE.name, path.as_str())]).expect("a known name");
            let error = Trust::new(&env, &variables::CA_FILE).expect_err("no certificate").to_string();
            assert!(error.contains("TURNPIKE_CA_FILE") && error.contains(&path), "{error}");
        };
        read("missing.pem");
        for (name, content) in [
            ("empty.pem", ""),
            ("text.pem", "not a certificate"),
            ("base64.pem", "-----BEGIN CERTIFICATE-----\n***\n-----END CERTIFICATE-----\n"),
            ("der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ] {
            std::fs::write(folder.path().join(name), content).expect("written");
            read(name);
        }
    }
}
