//! A small certificate authority (X.509, RFC 5280) for those who have none: makes, lists and revokes the certificates with which probes and
//! collectors know each other. Files in one directory; knows no socket.
//!
//! A probe's certificate names its source as `tapline:probe:NAME` (a URI among the alternative names), a collector's the addresses at which
//! probes reach it.
#![forbid(unsafe_code)]

mod files;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// Days that the authority itself is good for.
const CA_DAYS: i64 = 3650;
/// Days that a list of what is revoked is good for; it is made anew each time something is revoked or issued.
const LIST_DAYS: i64 = 3650;
/// Clocks of other machines may be behind.
const BACKDATED: Duration = Duration::hours(1);

/// Whose certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A probe's: it connects.
    Probe,
    /// A collector's: it is connected to.
    Collector,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Collector => "collector",
        }
    }
}

/// A certificate that was made here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Issued {
    /// Whose.
    pub kind: Kind,
    /// Name of the probe's source or of the collector.
    pub name: String,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// When it was made, seconds of Unix time.
    pub made: i64,
    /// Until when it is good.
    pub expires: i64,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
}

/// The files of a new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, readable by its owner only.
    pub key: PathBuf,
    /// The authority's certificate, by which the other side is known.
    pub ca: PathBuf,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no authority yet.
    #[error("{0} holds no authority: make one with `tapline keys init`")]
    NoAuthority(PathBuf),
    /// There is one already.
    #[error("{0} holds an authority already: everything it made would become worthless; choose another directory")]
    Authority(PathBuf),
    /// A name that cannot stand in a certificate or file name, or is taken.
    #[error("{0}")]
    Name(String),
    /// A file makes no sense.
    #[error("{path}: {problem}")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The certificate cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// An authority in a directory.
#[derive(Debug, Clone)]
pub struct Authority {
    directory: PathBuf,
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn serial() -> Result<[u8; 16], KeysError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| KeysError::Random(error.to_string()))?;
    // Positive, and of one length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn check_name(name: &str) -> Result<(), KeysError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) || name.starts_with(['.', '-']) {
        return Err(KeysError::Name(format!("`{name}` is no name: letters, digits, - _ and ., at most 64")));
    }
    Ok(())
}

impl Authority {
    /// Makes a new authority: its key, its certificate, and an empty list of what is revoked.
    ///
    /// # Errors
    /// When there is one already or the files cannot be written.
    pub fn init(directory: &Path) -> Result<Self, KeysError> {
        let authority = Self { directory: directory.to_owned() };
        if authority.key_path().exists() || authority.ca().exists() {
            return Err(KeysError::Authority(directory.to_owned()));
        }
        files::make_directory(directory)?;
        let mut params = CertificateParams::new(Vec::new())?;
        let identifier = hex(&serial()?[..4]);
        params.distinguished_name.push(DnType::CommonName, format!("Tapline authority {identifier}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        params.not_before = now() - BACKDATED;
        params.not_after = now() + Duration::days(CA_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        files::write(&authority.key_path(), key.serialize_pem().as_bytes(), files::SECRET)?;
        files::write(&authority.ca(), certificate.pem().as_bytes(), files::PUBLIC)?;
        authority.write_issued(&[])?;
        Ok(authority)
    }

    /// The authority in a directory.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(directory: &Path) -> Result<Self, KeysError> {
        let authority = Self { directory: directory.to_owned() };
        if !authority.key_path().exists() {
            return Err(KeysError::NoAuthority(directory.to_owned()));
        }
        Ok(authority)
    }

    /// Its certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The list of what is revoked (a CRL).
    pub fn revoked(&self) -> PathBuf {
        self.directory.join("revoked.pem")
    }

    fn key_path(&self) -> PathBuf {
        self.directory.join("ca-key.pem")
    }

    fn list_path(&self) -> PathBuf {
        self.directory.join("issued.json")
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, KeysError> {
        let wrong = |path: PathBuf| move |error: rcgen::Error| KeysError::Content { path, problem: error.to_string() };
        let key = KeyPair::from_pem(&files::read(&self.key_path())?).map_err(wrong(self.key_path()))?;
        Issuer::from_ca_cert_pem(&files::read(&self.ca())?, key).map_err(wrong(self.ca()))
    }

    /// What was made here, the oldest first.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn issued(&self) -> Result<Vec<Issued>, KeysError> {
        let path = self.list_path();
        let text = files::read(&path)?;
        serde_json::from_str(&text).map_err(|error| KeysError::Content { path, problem: error.to_string() })
    }

    fn write_issued(&self, issued: &[Issued]) -> Result<(), KeysError> {
        let issuer = self.issuer()?;
        let revoked = issued.iter().filter_map(|one| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&unhex(&one.serial)?),
                revocation_time: OffsetDateTime::from_unix_timestamp(one.revoked?).ok()?,
                reason_code: None,
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: now() - BACKDATED,
            next_update: now() + Duration::days(LIST_DAYS),
            crl_number: SerialNumber::from(u64::try_from(now().unix_timestamp()).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer)?;
        let path = self.list_path();
        let text = serde_json::to_vec_pretty(issued)
            .map_err(|error| KeysError::Content { path: path.clone(), problem: error.to_string() })?;
        files::write(&path, &text, files::PUBLIC)?;
        files::write(&self.revoked(), list.pem()?.as_bytes(), files::PUBLIC)
    }

    /// Makes a certificate for the probe of a source.
    ///
    /// # Errors
    /// A name that is taken or impossible, or files that cannot be written.
    pub fn probe(&self, source: &str, days: u32) -> Result<Made, KeysError> {
        let uri = Ia5String::try_from(format!("tapline:probe:{source}"))?;
        self.make(Kind::Probe, source, vec![SanType::URI(uri)], days)
    }

    /// Makes a certificate for a collector that probes reach at these names and addresses.
    ///
    /// # Errors
    /// As [`Authority::probe`].
    pub fn collector(&self, name: &str, addresses: &[String], days: u32) -> Result<Made, KeysError> {
        let mut names = vec![SanType::URI(Ia5String::try_from(format!("tapline:collector:{name}"))?)];
        for address in addresses {
            names.push(match address.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(Ia5String::try_from(address.as_str())?),
            });
        }
        self.make(Kind::Collector, name, names, days)
    }

    fn make(&self, kind: Kind, name: &str, names: Vec<SanType>, days: u32) -> Result<Made, KeysError> {
        check_name(name)?;
        let mut issued = self.issued()?;
        if issued.iter().any(|one| one.kind == kind && one.name == name && one.revoked.is_none()) {
            let word = kind.as_str();
            return Err(KeysError::Name(format!("there is a certificate for the {word} {name}; revoke it first")));
        }
        let number = serial()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from_slice(&number));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match kind {
            Kind::Probe => ExtendedKeyUsagePurpose::ClientAuth,
            Kind::Collector => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now() - BACKDATED;
        params.not_after = now() + Duration::days(i64::from(days));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer()?)?;
        let stem = format!("{}-{name}", kind.as_str());
        let made = Made {
            certificate: self.directory.join(format!("{stem}.pem")),
            key: self.directory.join(format!("{stem}-key.pem")),
            ca: self.ca(),
        };
        files::write(&made.key, key.serialize_pem().as_bytes(), files::SECRET)?;
        files::write(&made.certificate, certificate.pem().as_bytes(), files::PUBLIC)?;
        let (made_at, expires) = (now().unix_timestamp(), params.not_after.unix_timestamp());
        issued.push(Issued {
            kind,
            name: name.to_owned(),
            serial: hex(&number),
            made: made_at,
            expires,
            revoked: None,
        });
        self.write_issued(&issued)?;
        Ok(made)
    }

    /// Revokes what bears this name; gives how many certificates that were.
    ///
    /// # Errors
    /// When the lists cannot be read or written.
    pub fn revoke(&self, name: &str) -> Result<usize, KeysError> {
        let mut issued = self.issued()?;
        let mut count = 0;
        for one in issued.iter_mut().filter(|one| one.name == name && one.revoked.is_none()) {
            one.revoked = Some(now().unix_timestamp());
            count += 1;
        }
        if count > 0 {
            self.write_issued(&issued)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn certificates_are_made_listed_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("keys");
        assert!(matches!(Authority::open(&directory), Err(KeysError::NoAuthority(_))));
        let authority = Authority::init(&directory).unwrap();
        assert!(matches!(Authority::init(&directory), Err(KeysError::Authority(_))));
        let probe = authority.probe("gw1", 30).unwrap();
        assert!(authority.probe("gw1", 30).unwrap_err().to_string().contains("revoke it first"));
        assert!(authority.probe("../x", 30).unwrap_err().to_string().contains("no name"));
        authority.collector("gw1", &["10.0.0.1".to_owned(), "c.example".to_owned()], 30).unwrap();
        for (path, mode) in [(&probe.key, 0o600), (&probe.certificate, 0o644), (&directory.join("ca-key.pem"), 0o600)] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
        let before = std::fs::read(authority.revoked()).unwrap();
        assert_eq!(authority.revoke("gw1").unwrap(), 2);
        assert_eq!(authority.revoke("gw1").unwrap(), 0);
        assert_ne!(std::fs::read(authority.revoked()).unwrap(), before);
        authority.probe("gw1", 30).unwrap();
        let issued = authority.issued().unwrap();
        assert_eq!(issued.len(), 3);
        assert_eq!(issued.iter().filter(|one| one.revoked.is_none()).count(), 1);
        assert!(issued.iter().all(|one| one.expires - one.made > 29 * 86_400));
    }
}
