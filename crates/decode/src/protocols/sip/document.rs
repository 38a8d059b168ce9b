//! One SIP message as the document that Packetbeat makes of it, and beyond. Decides what is shown: credentials and media
//! keys are not, unless asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use event::{Event, Field, Value, common};

use super::address::{Address, Uri, first_value};
use super::fields;
use super::message::{Message, Start};
use crate::protocols::sdp::{Description, Media};

/// What goes into the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The fields of Authorization.
    pub(crate) authorization: bool,
    /// The fields of SDP.
    pub(crate) body: bool,
    /// The whole message.
    pub(crate) original: bool,
    /// Whether credentials and keys are replaced in what is shown as it was sent.
    pub(crate) redacted: bool,
    /// Packetbeat's documents to the letter: Contact holds To's address, and no fields of ours.
    pub(crate) packetbeat: bool,
}

/// Names and users as they are met; each once.
#[derive(Default)]
struct Related {
    hosts: Vec<Value>,
    users: Vec<Value>,
    seen_hosts: Vec<Box<str>>,
    seen_users: Vec<Box<str>>,
}

impl Related {
    fn host(&mut self, event: &mut Event, host: &str) {
        if !host.is_empty() && !self.seen_hosts.iter().any(|seen| &**seen == host) {
            self.seen_hosts.push(host.into());
            self.hosts.push(event.text(host));
        }
    }

    fn user(&mut self, event: &mut Event, user: &str) {
        if !user.is_empty() && !self.seen_users.iter().any(|seen| &**seen == user) {
            self.seen_users.push(user.into());
            self.users.push(event.text(user));
        }
    }
}

/// The fields of one kind of URI.
struct UriFields {
    original: &'static Field,
    scheme: &'static Field,
    username: Option<&'static Field>,
    host: &'static Field,
    port: &'static Field,
}

fn put_uri(event: &mut Event, related: &mut Related, names: &UriFields, uri: &Uri<'_>) {
    put_unless_empty(event, names.original, uri.original);
    put_unless_empty(event, names.scheme, uri.scheme);
    put_unless_empty(event, names.host, uri.host);
    if let Some(port) = uri.port.filter(|port| *port != 0) {
        event.put(names.port, port);
    }
    if let Some(username) = names.username
        && !matches!(uri.user, " " | "-")
    {
        put_unless_empty(event, username, uri.user);
        related.user(event, uri.user);
    }
    if names.username.is_some() {
        related.host(event, uri.host);
    }
}

fn put_unless_empty(event: &mut Event, field: &'static Field, text: &str) {
    if !text.is_empty() {
        event.put_text(field, text);
    }
}

/// Writes a message into its event. Times, addresses and what all events share are there already.
pub(crate) fn write(event: &mut Event, message: &Message<'_>, shown: Shown, ends: (IpAddr, IpAddr)) {
    let mut related = Related::default();
    let mut related_ips: Vec<Value> = Vec::with_capacity(3);
    let cseq = message.cseq();
    let mut code = 0;
    let action = match &message.start {
        Start::Request { method, uri } => {
            event.put(&fields::TYPE, "request");
            event.put_text(&fields::METHOD, &method.to_ascii_uppercase());
            put_uri(event, &mut related, &URI, &Uri::parse(uri));
            method.to_ascii_lowercase()
        }
        Start::Response { code: status, reason } => {
            code = *status;
            event.put(&fields::TYPE, "response");
            event.put(&fields::CODE, code);
            put_unless_empty(event, &fields::STATUS, reason);
            put_unless_empty(event, &common::EVENT_REASON, reason);
            if code >= 200 {
                event.put(&common::EVENT_OUTCOME, if code < 300 { "success" } else { "failure" });
            }
            cseq.map_or(String::new(), |(_, method)| method.to_ascii_lowercase())
        }
    };
    event.put(&fields::VERSION, "2.0");
    event.put(&common::STATUS, if code >= 400 { "Error" } else { "OK" });
    event.put_display(&common::EVENT_ACTION, format_args!("sip-{action}"));
    headers(event, message, &mut related, shown, cseq);
    if shown.body
        && let Some(text) = message.sdp()
    {
        description(event, &text, &mut related, &mut related_ips, shown);
    }
    event.put(&common::EVENT_KIND, "event");
    let authenticates = message.first("authorization").is_some();
    let categories: &[&'static str] = if authenticates { &["network", "authentication"] } else { &["network"] };
    event.put(&common::EVENT_CATEGORY, categories);
    event.put(&common::EVENT_TYPE, Value::Words(&["info", "protocol"]));
    event.put(&common::EVENT_DATASET, "sip");
    if shown.original {
        let original = String::from_utf8_lossy(message.raw);
        let original = if shown.redacted { redact(&original) } else { original };
        event.put_text(&common::EVENT_ORIGINAL, &original);
    }
    event.put(&common::NETWORK_APPLICATION, "sip");
    event.put(&common::NETWORK_PROTOCOL, "sip");
    for address in [ends.0, ends.1].map(Value::Ip) {
        if !related_ips.contains(&address) {
            related_ips.push(address);
        }
    }
    event.put_list(&common::RELATED_IP, related_ips);
    if !related.hosts.is_empty() {
        event.put_list(&common::RELATED_HOSTS, related.hosts);
    }
    if !related.users.is_empty() {
        event.put_list(&common::RELATED_USER, related.users);
    }
    for (name, at) in &message.anomalies {
        event.anomaly(name, *at as u64);
    }
}

fn headers(event: &mut Event, message: &Message<'_>, related: &mut Related, shown: Shown, cseq: Option<(u32, &str)>) {
    list(event, &fields::ALLOW, message.first("allow"));
    list(event, &fields::SUPPORTED, message.first("supported"));
    if let Some(call_id) = message.first("call-id") {
        put_unless_empty(event, &fields::CALL_ID, call_id);
    }
    if let Some(length) = message.content_length().filter(|length| *length > 0) {
        event.put(&fields::CONTENT_LENGTH, length);
    }
    if let Some(kind) = message.first("content-type") {
        put_unless_empty(event, &fields::CONTENT_TYPE, &kind.to_ascii_lowercase());
    }
    if let Some(hops) = message.first("max-forwards").and_then(|hops| hops.trim().parse::<u32>().ok()) {
        event.put(&fields::MAX_FORWARDS, hops);
    }
    if let Some(agent) = message.first("user-agent") {
        put_unless_empty(event, &fields::USER_AGENT, agent);
    }
    if let Some(server) = message.first("server").filter(|_| !shown.packetbeat) {
        put_unless_empty(event, &fields::SERVER, server);
    }
    let mut vias: Vec<&str> = Vec::new();
    for via in message.all("via") {
        if vias.len() < 64 && !vias.contains(&via) {
            vias.push(via);
        }
    }
    if !vias.is_empty() {
        let vias: Vec<Value> = vias.into_iter().map(|via| event.text(via)).collect();
        event.put_list(&fields::VIA, vias);
    }
    if let Some(private) = message.first("p-associated-uri") {
        // Packetbeat takes the whole value for a URI.
        let uri = if shown.packetbeat { Uri::parse(private) } else { Address::parse(first_value(private)).uri };
        put_uri(event, related, &PRIVATE, &uri);
    }
    if let Some(accept) = message.first("accept") {
        put_unless_empty(event, &fields::ACCEPT, &accept.to_ascii_lowercase());
    }
    if let Some((number, method)) = cseq {
        event.put(&fields::CSEQ_CODE, number);
        event.put_text(&fields::CSEQ_METHOD, &method.to_ascii_uppercase());
        event.put(&common::EVENT_SEQUENCE, number);
    }
    let to = message.first("to").map(Address::parse);
    if let Some(from) = message.first("from").map(Address::parse) {
        put_unless_empty(event, &fields::FROM_DISPLAY, from.display);
        put_unless_empty(event, &fields::FROM_TAG, from.parameter("tag").unwrap_or(""));
        put_uri(event, related, &FROM, &from.uri);
    }
    if let Some(to) = &to {
        put_unless_empty(event, &fields::TO_DISPLAY, to.display);
        put_unless_empty(event, &fields::TO_TAG, to.parameter("tag").unwrap_or(""));
        put_uri(event, related, &TO, &to.uri);
    }
    if let Some(contact) = message.first("contact") {
        let contact = if shown.packetbeat { to } else { Some(Address::parse(first_value(contact))) };
        if let Some(contact) = contact.filter(|contact| contact.uri.original != "*") {
            put_contact(event, related, &contact);
        }
    }
    if shown.authorization
        && let Some(authorization) = message.first("authorization")
    {
        put_authorization(event, related, authorization);
    }
}

fn list(event: &mut Event, field: &'static Field, value: Option<&str>) {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return };
    let words: Vec<Value> =
        value.split(',').take(64).map(|word| event.text(&word.trim().to_ascii_lowercase())).collect();
    event.put_list(field, words);
}

fn put_contact(event: &mut Event, related: &mut Related, contact: &Address<'_>) {
    put_unless_empty(event, &fields::CONTACT_DISPLAY, contact.display);
    put_uri(event, related, &CONTACT, &contact.uri);
    if let Some(expires) = contact.parameter("expires").and_then(|expires| expires.parse::<u32>().ok()) {
        event.put(&fields::CONTACT_EXPIRES, expires);
    }
    if let Some(q) = contact.parameter("q").and_then(|q| q.parse::<f64>().ok()).filter(|q| q.is_finite()) {
        event.put(&fields::CONTACT_Q, q);
    }
    put_unless_empty(event, &fields::CONTACT_LINE, contact.uri.parameter("line").unwrap_or(""));
    let transport = contact.uri.parameter("transport").unwrap_or("").to_ascii_lowercase();
    put_unless_empty(event, &fields::CONTACT_TRANSPORT, &transport);
}

fn put_authorization(event: &mut Event, related: &mut Related, authorization: &str) {
    let Some((scheme, parameters)) = authorization.trim().split_once(' ') else { return };
    event.put_text(&fields::AUTH_SCHEME, scheme);
    for pair in parameters.split(',') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = value.trim_matches(['\'', '"', ' ', '\t']);
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => put_unless_empty(event, &fields::AUTH_REALM, value),
            "username" if !matches!(value, "" | "-") => {
                event.put_text(&event::common::USER_NAME, value);
                related.user(event, value);
            }
            "uri" => put_uri(event, related, &AUTH, &Uri::parse(value)),
            _ => {}
        }
    }
}

fn description(event: &mut Event, text: &str, related: &mut Related, related_ips: &mut Vec<Value>, shown: Shown) {
    let body = if shown.redacted { redact(text) } else { Cow::Borrowed(text) };
    put_unless_empty(event, &fields::SDP_BODY, &body);
    let description = Description::parse(text);
    if let Some(version) = description.version {
        put_unless_empty(event, &fields::SDP_VERSION, version);
    }
    if let Some(owner) = description.owner {
        put_unless_empty(event, &fields::SDP_OWNER_USERNAME, owner.username);
        put_unless_empty(event, &fields::SDP_OWNER_SESSION, owner.session_id);
        put_unless_empty(event, &fields::SDP_OWNER_VERSION, owner.version);
        related.user(event, owner.username);
        if let Ok(address) = owner.address.parse::<IpAddr>() {
            event.put(&fields::SDP_OWNER_IP, address);
            related_ips.push(Value::Ip(address));
        } else {
            related.host(event, owner.address);
        }
    }
    if let Some(name) = description.session_name {
        event.put_text(&fields::SDP_SESSION_NAME, name);
    }
    if let Some(connection) = description.connection {
        put_unless_empty(event, &fields::SDP_CONNECTION_INFO, connection);
        let address = connection.rsplit(' ').next().unwrap_or(connection);
        put_unless_empty(event, &fields::SDP_CONNECTION_ADDRESS, address);
        related.host(event, address);
    }
    if !shown.packetbeat && !description.media.is_empty() {
        let media: Vec<Value> = description.media.iter().map(|media| medium(event, media)).collect();
        event.put_list(&fields::SDP_MEDIA, media);
    }
    for (name, at) in description.anomalies {
        event.anomaly(name, at as u64);
    }
}

fn medium(event: &mut Event, media: &Media<'_>) -> Value {
    let codecs: Vec<Value> = media
        .formats
        .iter()
        .filter_map(|payload_type| media.encoding(*payload_type))
        .map(|name| event.text(name))
        .collect();
    let codecs = event.list(codecs);
    let mut members: Vec<(&str, Value)> = vec![
        ("type", event.text(media.kind)),
        ("port", media.port.into()),
        ("protocol", event.text(media.protocol)),
        ("direction", media.flow.as_str().into()),
        ("codecs", codecs),
    ];
    if let Some(address) = media.address {
        members.insert(1, ("ip", Value::Ip(address)));
    }
    event.object(members)
}

/// The text with credentials and media keys replaced: responses and passwords of authorization headers, `a=crypto`,
/// `a=ice-pwd` and `k=` lines.
fn redact(text: &str) -> Cow<'_, str> {
    const HEADERS: [&str; 2] = ["authorization:", "proxy-authorization:"];
    const KEYS: [&str; 3] = ["a=crypto:", "a=ice-pwd:", "k="];
    let starts = |line: &str, begin: &str| line.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin));
    let secret =
        |line: &str| HEADERS.iter().any(|name| starts(line, name)) || KEYS.iter().any(|name| starts(line, name));
    if !text.split('\n').any(secret) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for line in text.split_inclusive('\n') {
        // A folded line belongs to the header before.
        within = secret(line) || within && line.starts_with([' ', '\t']);
        if !within {
            out.push_str(line);
            continue;
        }
        let end = line.trim_end_matches(['\r', '\n']).len();
        let (content, ending) = line.split_at_checked(end).unwrap_or((line, ""));
        out.push_str(&redact_line(content));
        out.push_str(ending);
    }
    Cow::Owned(out)
}

fn redact_line(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("k=") {
        return format!("k={}*", rest.split_once(':').map_or("", |(method, _)| method));
    }
    if line.starts_with("a=ice-pwd:") {
        return "a=ice-pwd:*".to_owned();
    }
    if line.get(..9).is_some_and(|head| head.eq_ignore_ascii_case("a=crypto:")) {
        return match line.find("inline:") {
            Some(at) => format!("{}*", line.get(..at + 7).unwrap_or(line)),
            None => "a=crypto:*".to_owned(),
        };
    }
    let (name, value) = line.split_once(':').unwrap_or(("", line));
    let scheme = value.trim_start().split(' ').next().unwrap_or("");
    if !name.is_empty() && !scheme.eq_ignore_ascii_case("digest") {
        return format!("{name}: {scheme} *");
    }
    // Of a digest the response alone can be used to guess the password.
    let parameters = value.split(',').map(|pair| match pair.split_once('=') {
        Some((key, _)) if key.trim().rsplit(' ').next().is_some_and(|key| key.eq_ignore_ascii_case("response")) => {
            format!("{key}=\"*\"")
        }
        _ => pair.to_owned(),
    });
    let parameters = parameters.collect::<Vec<_>>().join(",");
    if name.is_empty() { parameters } else { format!("{name}:{parameters}") }
}

static URI: UriFields = UriFields {
    original: &fields::URI_ORIGINAL,
    scheme: &fields::URI_SCHEME,
    username: Some(&fields::URI_USERNAME),
    host: &fields::URI_HOST,
    port: &fields::URI_PORT,
};
static PRIVATE: UriFields = UriFields {
    original: &fields::PRIVATE_ORIGINAL,
    scheme: &fields::PRIVATE_SCHEME,
    username: Some(&fields::PRIVATE_USERNAME),
    host: &fields::PRIVATE_HOST,
    port: &fields::PRIVATE_PORT,
};
static FROM: UriFields = UriFields {
    original: &fields::FROM_ORIGINAL,
    scheme: &fields::FROM_SCHEME,
    username: Some(&fields::FROM_USERNAME),
    host: &fields::FROM_HOST,
    port: &fields::FROM_PORT,
};
static TO: UriFields = UriFields {
    original: &fields::TO_ORIGINAL,
    scheme: &fields::TO_SCHEME,
    username: Some(&fields::TO_USERNAME),
    host: &fields::TO_HOST,
    port: &fields::TO_PORT,
};
static CONTACT: UriFields = UriFields {
    original: &fields::CONTACT_ORIGINAL,
    scheme: &fields::CONTACT_SCHEME,
    username: Some(&fields::CONTACT_USERNAME),
    host: &fields::CONTACT_HOST,
    port: &fields::CONTACT_PORT,
};
/// Packetbeat names neither user nor related host of it.
static AUTH: UriFields = UriFields {
    original: &fields::AUTH_ORIGINAL,
    scheme: &fields::AUTH_URI_SCHEME,
    username: None,
    host: &fields::AUTH_HOST,
    port: &fields::AUTH_PORT,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_digest_only_the_response_is_hidden() {
        let text = "REGISTER sip:x SIP/2.0\r\nAuthorization: Digest username=\"a\", realm=\"r\",\r\n response=\"79a0\", nc=1\r\nTo: b\r\n\r\n";
        let expected = "REGISTER sip:x SIP/2.0\r\nAuthorization: Digest username=\"a\", realm=\"r\",\r\n response=\"*\", nc=1\r\nTo: b\r\n\r\n";
        assert_eq!(redact(text), expected);
        assert_eq!(redact("Proxy-Authorization: Basic QWxhZGRpbg==\r\n"), "Proxy-Authorization: Basic *\r\n");
    }

    #[test]
    fn media_keys_are_hidden() {
        let text = "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^20\r\nk=base64:abc\r\nt=0 0\r\n";
        assert_eq!(redact(text), "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:*\r\nk=base64*\r\nt=0 0\r\n");
    }
}
