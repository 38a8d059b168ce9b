//! The document of a request and its response, with what is secret left out.

use super::fields;
use super::message::{Message, Start};
use super::settings::{Ready, is_form};
use event::{Event, Field, Key, Value, common};
use packet::flow::Endpoint;
use std::borrow::Cow;
use std::io::Read;
use std::net::IpAddr;

/// Sets what the request says.
pub(super) fn put_request(event: &mut Event, ready: &Ready, request: &Message, server: Endpoint) {
    let Start::Request { method, target } = &request.start else { return };
    let method = request.text(method).to_vec();
    let target = String::from_utf8_lossy(request.text(target)).into_owned();
    event.put_bytes(&common::METHOD, &method);
    event.put_bytes(&fields::REQUEST_METHOD, &method);
    event.put(&fields::REQUEST_BYTES, request.bytes);
    if request.body_bytes > 0 {
        event.put(&fields::REQUEST_BODY_BYTES, request.body_bytes);
    }
    let mut hosts: Vec<Value> = Vec::new();
    let url = Url::new(&target, request.header("host"), server);
    put_url(event, ready, request, &url);
    event.put_display(&common::QUERY, format_args!("{} {}", String::from_utf8_lossy(&method), url.path));
    if url.host.parse::<IpAddr>().is_err() {
        event.put_text(&common::DESTINATION_DOMAIN, &url.host);
        event.put_text(&common::SERVER_DOMAIN, &url.host);
        hosts.push(event.text(&url.host));
    }
    if let Some(referrer) = request.header("referer") {
        event.put_bytes(&fields::REQUEST_REFERRER, referrer);
        hosts.push(event.bytes(referrer));
    }
    if !hosts.is_empty() {
        event.put_list(&common::RELATED_HOSTS, hosts);
    }
    if let Some(agent) = request.header("user-agent") {
        event.put_bytes(&fields::USER_AGENT, agent);
    }
    if let Some(user) = basic_user(request) {
        event.put_text(&event::common::USER_NAME, &user);
        let user = event.text(&user);
        event.put_list(&common::RELATED_USER, [user]);
    }
    if let Some(address) = forwarded(ready, request) {
        event.put(&fields::FORWARDED_IP, address);
    }
    put_headers(event, ready, request, &fields::REQUEST_HEADERS);
    put_body(event, ready, request, &fields::REQUEST_BODY_CONTENT);
    if ready.options.send_request.0 {
        put_raw(event, ready, request, &common::REQUEST);
    }
}

/// Sets what the response says.
pub(super) fn put_response(event: &mut Event, ready: &Ready, response: &Message) {
    let Start::Response { status, phrase } = &response.start else { return };
    event.put(&fields::RESPONSE_STATUS_CODE, *status);
    if !phrase.is_empty() {
        let phrase = String::from_utf8_lossy(response.text(phrase)).to_lowercase();
        event.put_text(&fields::RESPONSE_STATUS_PHRASE, &phrase);
    }
    event.put(&fields::RESPONSE_BYTES, response.bytes);
    if response.body_bytes > 0 {
        event.put(&fields::RESPONSE_BODY_BYTES, response.body_bytes);
    }
    put_headers(event, ready, response, &fields::RESPONSE_HEADERS);
    put_body(event, ready, response, &fields::RESPONSE_BODY_CONTENT);
    if ready.options.send_response.0 {
        put_raw(event, ready, response, &common::RESPONSE);
    }
}

/// Sets the version, from whichever message there is.
pub(super) fn put_version(event: &mut Event, message: &Message) {
    match message.minor_version {
        0 => event.put(&fields::VERSION, "1.0"),
        1 => event.put(&fields::VERSION, "1.1"),
        other => event.put_display(&fields::VERSION, format_args!("1.{other}")),
    }
}

struct Url {
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
}

impl Url {
    fn new(target: &str, host_header: Option<&[u8]>, server: Endpoint) -> Self {
        let mut authority = host_header.map(|host| String::from_utf8_lossy(host).into_owned());
        let mut rest = target;
        if let Some(absolute) = target.strip_prefix("http://") {
            // Absolute form, as sent to a proxy: its authority counts (RFC 9112 3.2.2).
            let end = absolute.find(['/', '?']).unwrap_or(absolute.len());
            authority = Some(absolute[..end].to_owned());
            rest = &absolute[end..];
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.split('#').next().unwrap_or_default().to_owned())),
            None => (rest, None),
        };
        let authority = authority.filter(|authority| !authority.is_empty());
        let (host, port) = match authority {
            Some(authority) => split_port(&authority),
            None => (server.address.to_string(), None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Self { host, port: port.unwrap_or(server.port), path: path.to_owned(), query }
    }
}

/// Host and port of an authority; brackets around an IPv6 address are taken off.
fn split_port(authority: &str) -> (String, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host.to_owned(), port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.split_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host.to_owned(), port.parse().ok()),
        _ => (authority.to_owned(), None),
    }
}

fn put_url(event: &mut Event, ready: &Ready, request: &Message, url: &Url) {
    let form =
        request.header("content-type").filter(|kind| ready.packetbeat && is_form(kind) && !request.body.is_empty());
    let query = match (form, &url.query) {
        (Some(_), own) => {
            let body = String::from_utf8_lossy(&request.body);
            let all = match own {
                Some(own) => format!("{own}&{body}"),
                None => body.into_owned(),
            };
            Some(sorted(&hidden(ready, &all)))
        }
        (None, Some(own)) => {
            let own = hidden(ready, own);
            Some(if ready.packetbeat { sorted(&own) } else { own })
        }
        (None, None) => None,
    };
    let query = query.filter(|query| !query.is_empty());
    event.put(&fields::URL_SCHEME, "http");
    event.put_text(&fields::URL_DOMAIN, &url.host);
    event.put_text(&fields::URL_PATH, &url.path);
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let port = if url.port == 80 { String::new() } else { format!(":{}", url.port) };
    if url.port != 80 {
        event.put(&fields::URL_PORT, url.port);
    }
    match &query {
        Some(query) => {
            event.put_text(&fields::URL_QUERY, query);
            event.put_display(&fields::URL_FULL, format_args!("http://{host}{port}{}?{query}", url.path));
        }
        None => event.put_display(&fields::URL_FULL, format_args!("http://{host}{port}{}", url.path)),
    }
    let name = url.path.rsplit('/').next().unwrap_or_default();
    if let Some((_, extension)) = name.rsplit_once('.')
        && !extension.is_empty()
    {
        event.put_text(&fields::URL_EXTENSION, extension);
    }
}

/// Parameters with the values of those to be hidden replaced.
fn hidden(ready: &Ready, query: &str) -> String {
    if ready.hide.is_empty() {
        return query.to_owned();
    }
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if ready.hide.iter().any(|hide| name.eq_ignore_ascii_case(hide)) => format!("{name}=xxxxx"),
        _ => pair.to_owned(),
    };
    query.split('&').map(hide).collect::<Vec<_>>().join("&")
}

/// Parameters by name, as Packetbeat has them.
fn sorted(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_by_key(|pair| pair.split('=').next().unwrap_or_default().to_owned());
    pairs.join("&")
}

fn is_authorization(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"authorization") || name.eq_ignore_ascii_case(b"proxy-authorization")
}

/// The value of a header as it may be shown.
fn shown<'v>(ready: &Ready, name: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    if is_authorization(name) && ready.redact_authorization {
        return Cow::Borrowed(b"*");
    }
    if ready.redact_headers.iter().any(|redact| name.eq_ignore_ascii_case(redact.as_bytes())) {
        return Cow::Borrowed(b"REDACTED");
    }
    Cow::Borrowed(value)
}

fn put_headers(event: &mut Event, ready: &Ready, message: &Message, field: &'static Field) {
    let options = &ready.options;
    let wanted = |name: &[u8]| {
        options.send_all_headers.0
            || name.eq_ignore_ascii_case(b"content-type")
            || options.send_headers.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
    };
    let mut members: Vec<(String, Value)> = Vec::new();
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in message.headers() {
        if name.eq_ignore_ascii_case(b"content-length") || !wanted(name) {
            continue;
        }
        let value = shown(ready, name, value);
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                known.extend_from_slice(b", ");
                known.extend_from_slice(&value);
            }
            None => all.push((name, value.into_owned())),
        }
    }
    // Packetbeat gives one where the message has none: what the body came to.
    let seen = if ready.packetbeat { message.body_bytes } else { 0 };
    let length = message.content_length().unwrap_or(seen);
    members.push(("content-length".to_owned(), length.into()));
    for (name, value) in all {
        let split = options.split_cookie.0 && matches!(name.as_str(), "cookie" | "set-cookie");
        let value = if split { cookies(event, &value) } else { event.bytes(&value) };
        members.push((name, value));
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let members: Vec<(Key, Value)> = members.into_iter().map(|(name, value)| (event.text_key(&name), value)).collect();
    let object = event.object(members);
    event.put(field, object);
}

/// The parts of a cookie: `name=value; name=value`.
fn cookies(event: &mut Event, value: &[u8]) -> Value {
    let text = String::from_utf8_lossy(value).into_owned();
    let mut parts = Vec::new();
    for part in text.split(';') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = event.text_key(&name.trim().to_ascii_lowercase());
        parts.push((name, event.text(value.trim().trim_matches('"'))));
    }
    event.object(parts)
}

fn put_body(event: &mut Event, ready: &Ready, message: &Message, field: &'static Field) {
    if message.body.is_empty() || !ready.includes_body(message) {
        return;
    }
    event.put_bytes(field, &decoded(ready, message));
}

/// The kept part of a body, decompressed if that is wanted and possible; never longer than the limit.
fn decoded<'m>(ready: &Ready, message: &'m Message) -> Cow<'m, [u8]> {
    if !ready.options.decode_body.0 {
        return Cow::Borrowed(&message.body);
    }
    let limit = ready.options.max_message_size as u64;
    let mut out = Vec::new();
    // What could be decompressed before the end or a mistake stands.
    if message.header_has("content-encoding", "gzip") || message.header_has("content-encoding", "x-gzip") {
        let _ = flate2::read::GzDecoder::new(message.body.as_slice()).take(limit).read_to_end(&mut out);
    } else if message.header_has("content-encoding", "deflate") {
        let _ = flate2::read::ZlibDecoder::new(message.body.as_slice()).take(limit).read_to_end(&mut out);
    }
    if out.is_empty() { Cow::Borrowed(&message.body) } else { Cow::Owned(out) }
}

/// The message as it was sent: the head, and the body where it is included.
fn put_raw(event: &mut Event, ready: &Ready, message: &Message, field: &'static Field) {
    let mut text = Vec::with_capacity(message.head.len());
    for (number, line) in message.head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = line.trim_ascii_end().len();
        match memchr::memchr(b':', line).filter(|_| number > 0) {
            Some(colon) if is_authorization(&line[..colon]) && ready.redact_authorization => {
                text.extend_from_slice(&line[..=colon]);
                text.resize(text.len() + end.saturating_sub(colon + 1), b'*');
                text.extend_from_slice(&line[end..]);
            }
            Some(colon) => {
                let (name, value) = (&line[..colon], &line[colon + 1..end.max(colon + 1)]);
                match shown(ready, name, value) {
                    Cow::Borrowed(b"REDACTED") => {
                        text.extend_from_slice(name);
                        text.extend_from_slice(b": REDACTED");
                        text.extend_from_slice(&line[end..]);
                    }
                    _ => text.extend_from_slice(line),
                }
            }
            None if number == 0 => text.extend_from_slice(hidden_line(ready, line).as_bytes()),
            None => text.extend_from_slice(line),
        }
    }
    if ready.includes_body(message) {
        let body = decoded(ready, message);
        if message.header("content-type").is_some_and(is_form) {
            text.extend_from_slice(hidden(ready, &String::from_utf8_lossy(&body)).as_bytes());
        } else {
            text.extend_from_slice(&body);
        }
    }
    event.put_bytes(field, &text);
}

/// The first line with its secret parameters hidden.
fn hidden_line(ready: &Ready, line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let Some((before, after)) = line.split_once('?') else { return line.into_owned() };
    match after.split_once(' ') {
        Some((query, version)) => format!("{before}?{} {version}", hidden(ready, query)),
        None => line.clone().into_owned(),
    }
}

/// The user of the Basic scheme (RFC 7617).
fn basic_user(request: &Message) -> Option<String> {
    let value = request.header("authorization")?;
    let (scheme, credentials) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for byte in credentials.trim_ascii() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        word = word << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            decoded.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    let colon = memchr::memchr(b':', &decoded)?;
    let user = String::from_utf8_lossy(&decoded[..colon]).into_owned();
    (!user.is_empty()).then_some(user)
}

/// The client's address as the configured header states it: the first public one, else the first.
fn forwarded(ready: &Ready, request: &Message) -> Option<IpAddr> {
    let header = &ready.options.real_ip_header;
    if header.is_empty() {
        return None;
    }
    let value = String::from_utf8_lossy(request.header(header)?).into_owned();
    let addresses: Vec<IpAddr> = value.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let public = |address: &&IpAddr| match address {
        IpAddr::V4(address) => !address.is_private() && !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && address.segments()[0] & 0xfe00 != 0xfc00,
    };
    addresses.iter().find(public).or(addresses.first()).copied()
}
