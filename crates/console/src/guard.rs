//! Who may ask: `Host` and `Origin` (DNS rebinding, foreign pages), tokens for other machines, and the headers that fence the page in.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::state::Console;
use crate::tokens::Known;

/// Only what the program itself serves; no scripts in markup, no frames around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";
/// Name of the cookie that holds the token.
const COOKIE: &str = "tapline_token";
/// Seconds that it is kept.
const COOKIE_SECONDS: u32 = 30 * 86_400;

/// What is known of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// A Unix socket: its permissions decide who comes in.
    Unix,
    /// A loopback address.
    Loopback,
    /// Other machines reach it.
    Network,
}

/// The guard of one door.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) door: Door,
    pub(crate) hosts: Arc<[String]>,
    pub(crate) tokens: Arc<Known>,
    pub(crate) console: Console,
}

/// What the request's headers say of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visitor {
    /// On this machine.
    Local,
    /// Perhaps elsewhere: needs a token.
    Stranger,
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The name in `HOST:PORT`.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Guard {
    /// Whether the request may come from where it says it does.
    fn visitor(&self, headers: &HeaderMap) -> Result<Visitor, Refusal> {
        let forbidden = |error: String, hint: &str| Refusal::new(StatusCode::FORBIDDEN, error, hint);
        let host = header(headers, &header::HOST).unwrap_or("");
        let visitor = match self.door {
            Door::Unix => Visitor::Local,
            Door::Loopback if is_loopback(name_of(host)) => Visitor::Local,
            Door::Loopback if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name_of(host))) => {
                Visitor::Stranger
            }
            Door::Loopback => {
                let error = format!("{host:?} is no name of this machine's loopback interface");
                return Err(forbidden(error, "ask 127.0.0.1 or localhost, or name it in console.hosts"));
            }
            Door::Network => Visitor::Stranger,
        };
        if let Some(origin) = headers.get(header::ORIGIN) {
            let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            if own != Some(host) {
                return Err(forbidden("a page of another origin asks".to_owned(), "open the console's own page"));
            }
        }
        let site = header(headers, &HeaderName::from_static("sec-fetch-site"));
        let mode = header(headers, &HeaderName::from_static("sec-fetch-mode"));
        if site == Some("cross-site") && mode != Some("navigate") {
            return Err(forbidden("a page of another site asks".to_owned(), "open the console's own page"));
        }
        Ok(visitor)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        bearer(headers).or_else(|| cookie(headers)).is_some_and(|token| self.tokens.has(token))
    }

    /// Whether the request may be answered.
    fn admit(&self, request: &Request) -> Result<Visitor, Refusal> {
        let visitor = self.visitor(request.headers())?;
        let path = request.uri().path();
        let is_open = !path.starts_with("/api/") && path != "/metrics";
        if visitor == Visitor::Stranger && !is_open && !self.has_token(request.headers()) {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "a token is needed",
                "make one with `tapline keys token NAME` on the console's machine",
            ));
        }
        let is_navigation = request.method() == Method::GET || request.method() == Method::HEAD;
        if !is_navigation && request.method() != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST are answered", ""));
        }
        Ok(visitor)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    header(headers, &header::AUTHORIZATION)?.strip_prefix("Bearer ").map(str::trim)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = header(headers, &header::COOKIE)?.split(';');
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Stands before every answer.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let is_session = request.uri().path() == "/api/v1/session";
    let token = bearer(request.headers()).map(str::to_owned);
    let mut response = match guard.admit(&request) {
        Err(refusal) => refusal.into_response(),
        Ok(visitor) => {
            let mut response = next.run(request).await;
            if let (true, true, Visitor::Stranger, Some(token)) =
                (is_session, response.status().is_success(), visitor, token)
                && let Ok(value) = HeaderValue::from_str(&format!(
                    "{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_SECONDS}"
                ))
            {
                response.headers_mut().insert(header::SET_COOKIE, value);
            }
            response
        }
    };
    guard.console.counters.answered(response.status());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// `POST /api/v1/session`: the guard has looked at the token and keeps it in a cookie.
pub(crate) async fn session() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_of_hosts() {
        for (host, name) in [
            ("localhost:7714", "localhost"),
            ("127.0.0.1:7714", "127.0.0.1"),
            ("[::1]:7714", "::1"),
            ("[::1]", "::1"),
            ("example", "example"),
            ("", ""),
        ] {
            assert_eq!(name_of(host), name, "{host}");
        }
        assert!(is_loopback("LOCALHOST") && is_loopback("::1") && is_loopback("127.8.9.1"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("localhost.evil.example") && !is_loopback(""));
    }

    #[test]
    fn tokens_are_found_in_both_places() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; tapline_token=x1; c=d"));
        assert_eq!(cookie(&headers), Some("x1"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer y2"));
        assert_eq!(bearer(&headers), Some("y2"));
    }
}
