//! Passwords and certificates that settings name: read when an output is opened, for the sandbox that shuts later lets nobody read them.
//! Hands on what the files say; knows no library of TLS.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where systems keep the certificates of the authorities they trust.
const SYSTEM_CA: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Settings of `tls` of an output whose connections are encrypted or not.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Whether connections are encrypted.
    pub enabled: bool,
    /// Certificates of the authorities that the servers' certificates are checked against, PEM; empty means the system's.
    pub ca: PathBuf,
    /// A certificate to show, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Who we are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The certificate and what else is in its file, PEM.
    pub(crate) certificates: Vec<u8>,
    /// Its key, PEM.
    pub(crate) key: Vec<u8>,
}

impl Tls {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.certificate.as_os_str().is_empty() == self.key.as_os_str().is_empty() {
            Ok(())
        } else {
            Err("tls.certificate and tls.key belong together: set both or none".to_owned())
        }
    }

    /// The authorities, PEM.
    pub(crate) fn authorities(&self) -> Result<Vec<u8>, String> {
        let ca = match self.ca.as_os_str().is_empty() {
            false => self.ca.as_path(),
            true => system_ca()
                .ok_or("this system has no certificates of authorities: install ca-certificates or set tls.ca")?,
        };
        read_certificates("ca", ca)
    }

    /// The certificate to show; `None` if none is to be shown.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, String> {
        if self.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let certificates = read_certificates("certificate", &self.certificate)?;
        let key = read("key", &self.key)?;
        match PrivateKeyDer::from_pem_slice(&key) {
            Ok(_) => Ok(Some(Identity { certificates, key })),
            Err(error) => Err(format!("tls.key {}: {error}", self.key.display())),
        }
    }
}

/// The file with the authorities that the system trusts, if it has one.
pub(crate) fn system_ca() -> Option<&'static Path> {
    SYSTEM_CA.iter().map(Path::new).find(|path| path.exists())
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("tls.{key} {}: {error}", path.display()))
}

fn read_certificates(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let pem = read(key, path)?;
    if CertificateDer::pem_slice_iter(&pem).any(|found| found.is_ok()) {
        Ok(pem)
    } else {
        Err(format!("tls.{key} {} holds no certificate", path.display()))
    }
}

/// A secret that is given as it is or as the first line of a file; empty is none. `key` is what it is called in the settings.
pub(crate) fn secret(given: &str, file: &Path, key: &str) -> Result<String, String> {
    if file.as_os_str().is_empty() {
        return Ok(given.to_owned());
    }
    if !given.is_empty() {
        return Err(format!("both {key} and {key}_file are given: leave one out"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{key}_file {}: {error}", file.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_given_or_the_first_line_of_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " secret word \nmore\n").unwrap();
        assert_eq!(secret("", file.path(), "password").unwrap(), "secret word");
        assert_eq!(secret("given", Path::new(""), "password").unwrap(), "given");
        assert!(secret("given", file.path(), "password").is_err());
        let missing = secret("", Path::new("/no/such/file"), "password").unwrap_err();
        assert!(missing.contains("password_file /no/such/file"), "{missing}");
    }

    #[test]
    fn what_is_no_certificate_is_said_at_the_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN RUBBISH-----\n").unwrap();
        let tls = Tls { ca: file.path().to_owned(), certificate: file.path().to_owned(), ..Tls::default() };
        assert!(tls.check().is_err());
        assert!(tls.authorities().unwrap_err().contains("holds no certificate"));
        assert!(tls.identity().is_err());
        assert_eq!(Tls::default().identity(), Ok(None));
    }
}
