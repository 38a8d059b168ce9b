//! `[analyzer.protocols.http]`: options with Packetbeat's names, made ready for use.

use super::message::Message;
use crate::config::{Profile, options};
use crate::options::{Flag, Span};
use serde::{Deserialize, Serialize};

/// Names of parameters whose values are hidden unless the configuration says otherwise.
const SECRETS: [&str; 12] = [
    "pass",
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "refresh_token",
    "api_key",
    "apikey",
    "pin",
];
/// Headers whose values are hidden unless the configuration says otherwise.
const SECRET_HEADERS: [&str; 4] = ["cookie", "set-cookie", "x-api-key", "x-auth-token"];

/// The options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Headers that stand in the event.
    pub send_headers: Vec<String>,
    /// Whether all of them do.
    pub send_all_headers: Flag,
    /// Whether the request stands in `request` as it was sent.
    pub send_request: Flag,
    /// Whether the response stands in `response`.
    pub send_response: Flag,
    /// Whether cookies are split into their parts.
    pub split_cookie: Flag,
    /// The header in which a proxy states the client's address.
    pub real_ip_header: String,
    /// Content types of requests and responses whose bodies stand in the event (a part of the name suffices).
    pub include_body_for: Vec<String>,
    /// The same for requests only.
    pub include_request_body_for: Vec<String>,
    /// The same for responses only.
    pub include_response_body_for: Vec<String>,
    /// Parameters whose values are hidden. Unset: those that usually hold secrets (none with `profile = "packetbeat"`).
    pub hide_keywords: Option<Vec<String>>,
    /// Whether Authorization and Proxy-Authorization are hidden. Unset: yes (no with `profile = "packetbeat"`).
    pub redact_authorization: Option<Flag>,
    /// Headers whose values are hidden. Unset: cookies and keys (none with `profile = "packetbeat"`).
    pub redact_headers: Option<Vec<String>>,
    /// Whether bodies that stand in the event are decompressed.
    pub decode_body: Flag,
    /// Bytes of a body that are kept at most.
    pub max_message_size: usize,
    /// How long a request waits for its response.
    pub transaction_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            send_headers: Vec::new(),
            send_all_headers: Flag(false),
            send_request: Flag(false),
            send_response: Flag(false),
            split_cookie: Flag(false),
            real_ip_header: String::new(),
            include_body_for: Vec::new(),
            include_request_body_for: Vec::new(),
            include_response_body_for: Vec::new(),
            hide_keywords: None,
            redact_authorization: None,
            redact_headers: None,
            decode_body: Flag(true),
            max_message_size: 10 << 20,
            transaction_timeout: Span::seconds(10),
        }
    }
}

/// The options with the profile's defaults put in.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) options: Settings,
    pub(super) hide: Vec<String>,
    pub(super) redact_authorization: bool,
    pub(super) redact_headers: Vec<String>,
    pub(super) packetbeat: bool,
}

impl Ready {
    pub(super) fn new(table: toml::Table, profile: Profile) -> Result<Self, String> {
        let options: Settings = options(table)?;
        let packetbeat = profile == Profile::Packetbeat;
        let default =
            |list: &[&str]| if packetbeat { Vec::new() } else { list.iter().map(|s| (*s).to_owned()).collect() };
        let lower = |list: Vec<String>| list.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self {
            hide: lower(options.hide_keywords.clone().unwrap_or_else(|| default(&SECRETS))),
            redact_authorization: options.redact_authorization.map_or(!packetbeat, |flag| flag.0),
            redact_headers: lower(options.redact_headers.clone().unwrap_or_else(|| default(&SECRET_HEADERS))),
            packetbeat,
            options,
        })
    }

    /// Bytes of a body that are kept while it passes.
    pub(super) fn keep_body(&self, message: &Message) -> usize {
        let is_request = message.status().is_none();
        let form = is_request && self.packetbeat && message.header("content-type").is_some_and(is_form);
        if form || self.includes_body(message) { self.options.max_message_size } else { 0 }
    }

    /// Whether one of the message's content types is among those whose bodies are wanted.
    pub(super) fn includes_body(&self, message: &Message) -> bool {
        let options = &self.options;
        let is_request = message.status().is_none();
        let own = if is_request { &options.include_request_body_for } else { &options.include_response_body_for };
        message.headers().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-type")).any(|(_, value)| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            options.include_body_for.iter().chain(own).any(|part| value.contains(&part.to_ascii_lowercase()))
        })
    }
}

pub(super) fn is_form(content_type: &[u8]) -> bool {
    memchr::memmem::find(&content_type.to_ascii_lowercase(), b"x-www-form-urlencoded").is_some()
}
