//! `[analyzer.output.elasticsearch]`: values, defaults, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

use processors::Condition;

use crate::remote::{BacklogSettings, BulkSettings};
use crate::secrets::secret;
use crate::{OpenError, WhenFull};

use super::client::Node;

/// Settings of `[analyzer.output.elasticsearch]`, which is also for OpenSearch: which of them a server is, it says itself.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether events are sent there.
    pub enabled: bool,
    /// Which events go there; all unless said. The conditions are those of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What its full queue means; `analyzer.when_full` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// The nodes: `http://HOST:PORT/PREFIX`, `https://...`, or `HOST`, which means `http://HOST:9200`. They take turns; one that fails is left out for a while.
    pub hosts: Vec<String>,
    /// First part of the indices' names: `INDEX-TYPE-YYYY.MM.DD`, by the event's own time.
    pub index: String,
    /// Writes into data streams `logs-INDEX.TYPE-NAMESPACE` instead. An event that is sent again after a rollover is then there twice.
    pub data_stream: bool,
    /// Last part of the data streams' names.
    pub namespace: String,
    /// User, for basic authentication.
    pub user: String,
    /// Its password.
    pub password: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
    /// API key, as Elasticsearch shows it (`encoded`), instead of user and password.
    pub api_key: String,
    /// File whose first line is the API key.
    pub api_key_file: PathBuf,
    /// Proxy on the way: `http://[USER:PASSWORD@]HOST:PORT` or `socks5://HOST:PORT`.
    pub proxy: String,
    /// How hard requests are compressed: 0 (not at all) to 9.
    pub compression: u32,
    /// How long a request may take.
    #[serde(with = "settings::duration")]
    pub timeout: Duration,
    /// Whether index templates are installed and upgraded on first contact; `tapline setup elasticsearch` does the same.
    pub setup: bool,
    /// Name of an existing lifecycle policy that new indices follow; empty names none.
    pub lifecycle: String,
    /// Name of an existing ingest pipeline that events of new indices go through; empty names none.
    pub pipeline: String,
    /// What the mapping does with fields that it does not know, such as those of `add_fields`: `true` maps them, `false` keeps them unsearched,
    /// `strict` refuses the event.
    pub dynamic: Dynamic,
    /// Certificates.
    pub tls: Tls,
    /// How much is sent at once.
    pub bulk: BulkSettings,
    /// What may wait while the servers are away.
    pub backlog: BacklogSettings,
}

/// Settings of `[analyzer.output.elasticsearch.tls]`, for `https` hosts.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities that the servers' certificates are checked against, PEM; empty means the system's.
    pub ca: PathBuf,
    /// A certificate to show, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Whether the servers' certificates are checked. Without, anybody on the way can read and change what is sent.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: PathBuf::new(), certificate: PathBuf::new(), key: PathBuf::new(), verify: true }
    }
}

/// What a mapping does with unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dynamic {
    /// Maps them: texts as keywords.
    #[default]
    True,
    /// Keeps them, not searchable.
    False,
    /// Refuses the event.
    Strict,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            when: None,
            when_full: None,
            hosts: vec!["http://127.0.0.1:9200".to_owned()],
            index: "tapline".to_owned(),
            data_stream: false,
            namespace: "default".to_owned(),
            user: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            api_key: String::new(),
            api_key_file: PathBuf::new(),
            proxy: String::new(),
            compression: 1,
            timeout: Duration::from_secs(90),
            setup: true,
            lifecycle: String::new(),
            pipeline: String::new(),
            dynamic: Dynamic::True,
            tls: Tls::default(),
            bulk: BulkSettings::default(),
            backlog: BacklogSettings::default(),
        }
    }
}

pub(super) fn wrong(message: impl std::fmt::Display) -> OpenError {
    OpenError { output: "elasticsearch", message: message.to_string() }
}

impl Settings {
    /// The nodes.
    pub(super) fn nodes(&self) -> Result<Vec<Node>, OpenError> {
        if self.hosts.is_empty() {
            return Err(wrong("hosts is empty: name at least one, such as http://127.0.0.1:9200"));
        }
        self.hosts.iter().map(|host| Node::parse(host).map_err(wrong)).collect()
    }

    /// Checks the words that become part of names.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let is_good = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed) && !name.starts_with(['-', '_', '.'])
        };
        for (key, name) in [("index", &self.index), ("namespace", &self.namespace)] {
            if !is_good(name) || (key == "namespace" || self.data_stream) && name.contains('-') {
                return Err(wrong(format!(
                    "{key} = \"{name}\" cannot be part of an index name: write lower-case letters and digits, and after the first `_`, `.`{}",
                    if key == "namespace" || self.data_stream { "" } else { " and `-`" }
                )));
            }
        }
        if self.compression > 9 {
            return Err(wrong(format!("compression = {} is too much: write 0 (none) to 9", self.compression)));
        }
        if self.timeout.is_zero() {
            return Err(wrong("timeout = 0 would never wait for an answer: write for example 90s"));
        }
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return Err(wrong("tls.certificate and tls.key belong together: set both or none"));
        }
        Ok(())
    }

    /// The `Authorization` header, if one is to be sent.
    pub(super) fn authorization(&self) -> Result<Option<String>, OpenError> {
        let password = secret(&self.password, &self.password_file, "password").map_err(wrong)?;
        let api_key = secret(&self.api_key, &self.api_key_file, "api_key").map_err(wrong)?;
        if self.user.is_empty() != password.is_empty() {
            return Err(wrong("user and password belong together: give both or none"));
        }
        match (self.user.as_str(), api_key.as_str()) {
            ("", "") => Ok(None),
            (user, "") => Ok(Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))),
            // As shown by Kibana it is encoded already; `id:key`, as Beats have it, is not.
            ("", key) if key.contains(':') => Ok(Some(format!("ApiKey {}", BASE64_STANDARD.encode(key)))),
            ("", key) => Ok(Some(format!("ApiKey {key}"))),
            _ => Err(wrong("both a user and an API key are given: leave one out")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_is_basic_or_by_key() {
        let of = |user: &str, password: &str, api_key: &str| {
            let settings = Settings {
                user: user.to_owned(),
                password: password.to_owned(),
                api_key: api_key.to_owned(),
                ..Settings::default()
            };
            settings.authorization().unwrap()
        };
        assert_eq!(of("", "", ""), None);
        // The example of RFC 7617.
        assert_eq!(of("Aladdin", "open sesame", "").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(of("", "", "abc==").unwrap(), "ApiKey abc==");
        assert_eq!(of("", "", "i:k").unwrap(), "ApiKey aTpr");
    }

    #[test]
    fn names_that_no_index_can_have_are_refused() {
        let check = |index: &str, namespace: &str, data_stream| {
            let settings = Settings {
                index: index.to_owned(),
                namespace: namespace.to_owned(),
                data_stream,
                ..Settings::default()
            };
            settings.check().is_ok()
        };
        assert!(check("tapline", "default", false) && check("my-tapline", "prod", false));
        assert!(!check("Tapline", "default", false) && !check("", "default", false) && !check("_x", "default", false));
        assert!(!check("my-tapline", "default", true) && !check("tapline", "a-b", true));
    }
}
