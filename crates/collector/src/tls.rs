//! TLS 1.3 with certificates on both sides: whom the authority knows is let in as the source that its certificate names. What is
//! revoked is honoured without a restart; resumption is off, so that nobody comes in by an old ticket.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use packet::SourceName;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a probe's certificate calls its source.
const PROBE: &str = "tapline:probe:";

/// Days before its end from which a certificate is warned about.
pub(crate) const WARN_DAYS: i64 = 30;

/// Whole days until a time, seconds of Unix time.
pub(crate) fn days_left(expires: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    (expires - i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(86_400)
}

/// `[collector.tls]`: all of them, or none for plain text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// The collector's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates of the authorities whose probes are let in.
    pub ca: PathBuf,
    /// The authority's list of what is revoked (a CRL); none: nothing is.
    pub revoked: PathBuf,
}

impl TlsSettings {
    pub(crate) fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
#[error("collector.tls.{key}: {problem}")]
pub(crate) struct TlsError {
    /// The key whose value cannot be used.
    pub(crate) key: &'static str,
    /// Why, and what to do.
    pub(crate) problem: String,
}

/// A file cannot be used.
fn wrong(key: &'static str, path: &Path, problem: impl std::fmt::Display) -> TlsError {
    let what = format!("{}: {problem}; `tapline keys collector` makes what is needed", path.display());
    TlsError { key, problem: what }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error: pem::Error| wrong(key, path, plain(error));
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() { Err(self::wrong(key, path, "holds no certificate")) } else { Ok(found) }
}

/// What is wrong with a file of PEM: of one that cannot be read what the system says.
fn plain(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// What is read again when it changes.
type Stamp = Vec<Option<(SystemTime, u64)>>;

struct Current {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    stamp: Stamp,
}

/// Lets in whom the authority knows.
pub(crate) struct Gate {
    settings: TlsSettings,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    current: Mutex<Current>,
    /// Counts what was read anew, so that sessions look at their certificates again.
    changes: watch::Sender<u64>,
    /// Until when the collector's own certificate is good, seconds of Unix time.
    pub(crate) expires: i64,
}

/// Who came in.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) source: SourceName,
    /// Until when the certificate is good, seconds of Unix time.
    pub(crate) expires: i64,
    chain: Vec<CertificateDer<'static>>,
}

impl Gate {
    /// Reads everything; the key as the user that started the program.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        for (name, path) in [("certificate", &settings.certificate), ("key", &settings.key), ("ca", &settings.ca)] {
            if path.as_os_str().is_empty() {
                let problem = "is not set: TLS needs certificate, key and ca".to_owned();
                return Err(TlsError { key: name, problem });
            }
        }
        let chain = certificates("certificate", &settings.certificate)?;
        let key =
            PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| wrong("key", &settings.key, plain(error)))?;
        let expires = chain
            .first()
            .and_then(|certificate| facts(certificate))
            .ok_or_else(|| wrong("certificate", &settings.certificate, "is no certificate"))?
            .1;
        let current = read(settings, &chain, &key)?;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            chain,
            key,
            current: Mutex::new(current),
            changes: watch::Sender::new(0),
            expires,
        }))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new connection is accepted with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// Tells when certificates have to be looked at again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads authorities and what is revoked again if the files have changed. What cannot be read leaves everything as it is.
    pub(crate) fn look(&self) {
        if self.current().stamp == stamp(&self.settings) {
            return;
        }
        match read(&self.settings, &self.chain, &self.key) {
            Ok(current) => {
                *self.current() = current;
                self.changes.send_modify(|count| *count += 1);
                tracing::info!("authorities and revoked certificates were read again");
            }
            Err(error) => {
                self.current().stamp = stamp(&self.settings);
                tracing::error!("what was read before stays in force: {error}");
            }
        }
    }

    /// Who presents these certificates, which the handshake has verified.
    pub(crate) fn identity(&self, chain: &[CertificateDer<'_>]) -> Result<Identity, String> {
        let certificate = chain.first().ok_or("it presented no certificate")?;
        let (name, expires) = facts(certificate).ok_or("its certificate cannot be read")?;
        let name = name.ok_or("its certificate names no source: make one with `tapline keys probe NAME`")?;
        let source = name.parse().map_err(|error| format!("its certificate names no possible source: {error}"))?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok(Identity { source, expires, chain })
    }

    /// Whether a certificate that was good is still: neither revoked nor expired, and its authority known.
    pub(crate) fn still_good(&self, identity: &Identity) -> Result<(), String> {
        let verifier = Arc::clone(&self.current().verifier);
        let (first, rest) = identity.chain.split_first().ok_or("it has no certificate")?;
        verifier.verify_client_cert(first, rest, UnixTime::now()).map(|_| ()).map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn stamp(settings: &TlsSettings) -> Stamp {
    let of = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().unwrap_or(UNIX_EPOCH), metadata.len()))
    };
    [&settings.ca, &settings.revoked].map(of).into()
}

fn read(
    settings: &TlsSettings,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<Current, TlsError> {
    let stamp = stamp(settings);
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", &settings.ca)? {
        roots.add(certificate).map_err(|error| wrong("ca", &settings.ca, error))?;
    }
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    if !settings.revoked.as_os_str().is_empty() {
        let path = &settings.revoked;
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_file_iter(path)
            .map_err(|error| wrong("revoked", path, plain(error)))?
            .collect();
        builder = builder
            .with_crls(lists.map_err(|error| wrong("revoked", path, plain(error)))?)
            .only_check_end_entity_revocation()
            // A list of another authority says nothing about this one's.
            .allow_unknown_revocation_status();
    }
    let verifier = builder.build().map_err(|error| wrong("ca", &settings.ca, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong("certificate", &settings.certificate, error))?
        .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(|error| wrong("key", &settings.key, error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Current { config: Arc::new(config), verifier, stamp })
}

/// The source that a certificate names, and until when it is good.
fn facts(certificate: &CertificateDer<'_>) -> Option<(Option<String>, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let source = names.into_iter().flatten().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(PROBE).map(str::to_owned),
        _ => None,
    });
    Some((source, parsed.validity().not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::Authority;

    fn gate(authority: &Authority, folder: &Path) -> Arc<Gate> {
        let made = match authority.collector("c", &["localhost".to_owned()], 30) {
            Ok(made) => made,
            Err(_) => keys::Made {
                certificate: folder.join("collector-c.pem"),
                key: folder.join("collector-c-key.pem"),
                ca: authority.ca(),
            },
        };
        let (certificate, key, ca) = (made.certificate, made.key, made.ca);
        Gate::load(&TlsSettings { certificate, key, ca, revoked: authority.revoked() }).unwrap()
    }

    #[test]
    fn a_certificate_names_its_source_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::init(folder.path()).unwrap();
        let chain = certificates("ca", &authority.probe("gw_1.x", 30).unwrap().certificate).unwrap();
        let gate = gate(&authority, folder.path());
        let identity = gate.identity(&chain).unwrap();
        assert_eq!(identity.source.as_str(), "gw_1.x");
        gate.still_good(&identity).unwrap();
        let mut changes = gate.changes();
        gate.look();
        assert!(!changes.has_changed().unwrap());
        assert_eq!(authority.revoke("gw_1.x").unwrap(), 1);
        gate.look();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(gate.still_good(&identity).unwrap_err().contains("evoked"));
        // A list that cannot be read leaves everything as it was.
        std::fs::write(authority.revoked(), "-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----\n").unwrap();
        gate.look();
        assert!(!changes.has_changed().unwrap());
        assert!(gate.still_good(&identity).is_err());
    }

    #[test]
    fn strangers_and_collectors_are_no_probes() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::init(folder.path()).unwrap();
        let gate = gate(&authority, folder.path());
        let other = tempfile::tempdir().unwrap();
        let stranger = Authority::init(other.path()).unwrap().probe("gw1", 30).unwrap();
        let identity = gate.identity(&certificates("ca", &stranger.certificate).unwrap()).unwrap();
        assert!(gate.still_good(&identity).is_err());
        let collector = certificates("ca", &folder.path().join("collector-c.pem")).unwrap();
        assert!(gate.identity(&collector).unwrap_err().contains("tapline keys probe"));
        assert!(gate.identity(&[]).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let only = TlsSettings { ca: folder.path().join("ca.pem"), ..TlsSettings::default() };
        assert!(Gate::load(&only).unwrap_err().to_string().contains("collector.tls.certificate"));
        let (path, none) = (folder.path().join("nothing.pem"), folder.path().join("none.pem"));
        std::fs::write(&path, "nothing").unwrap();
        let all = TlsSettings { certificate: path.clone(), key: none, ca: path, revoked: PathBuf::new() };
        assert!(Gate::load(&all).unwrap_err().to_string().contains("holds no certificate"));
    }
}
