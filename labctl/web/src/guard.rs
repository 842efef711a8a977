//! Who may see the dashboard: a browser on this host that was given the token.
//!
//! Other users of the host, and foreign pages in the user's browser, can reach the port too. The former lack the token.
//! The latter cannot read it, and their requests carry no cookie (`SameSite=Strict`); if such a page resolves its own
//! name to 127.0.0.1 (DNS rebinding), the `Host` header reveals it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The page talks only to this server; no frames, no forms, no foreign scripts.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a request must present.
pub struct Guard {
    token: String,
    /// Cookies are not separated by port (RFC 6265, 8.5), so two dashboards need two names.
    cookie: String,
}

impl Guard {
    pub fn new(token: &str, port: u16) -> Self {
        Self { token: token.to_owned(), cookie: format!("labctl-{port}") }
    }

    /// Whether the request has the right token. One in the address takes precedence over an old cookie.
    fn admits(&self, query: Option<&str>, headers: &HeaderMap) -> bool {
        match query.and_then(in_query) {
            Some(token) => equal(token, &self.token),
            None => cookies(headers).any(|(name, value)| name == self.cookie && equal(value, &self.token)),
        }
    }
}

/// Rejects unauthorized requests. A browser that came with the token gets its cookie, and every response gets the
/// headers of a private page.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if !host(request.headers()).is_some_and(is_loopback) {
        return hardened(refusal(StatusCode::FORBIDDEN, "labctl's dashboard is only available at 127.0.0.1 and localhost.\n"));
    }
    let query = request.uri().query();
    if !guard.admits(query, request.headers()) {
        let text = "The token is missing or wrong: open the address that `labctl dashboard` printed. Every start creates a new token.\n";
        return hardened(refusal(StatusCode::UNAUTHORIZED, text));
    }
    let came_with_token = query.and_then(in_query).is_some();
    let mut response = next.run(request).await;
    if came_with_token {
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", guard.cookie, guard.token);
        // Both parts consist of letters, digits and hyphens.
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    hardened(response)
}

fn refusal(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn hardened(mut response: Response) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The host that the client addresses, if it names exactly one.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::HOST).iter();
    match (all.next(), all.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

/// Whether it is a loopback name. Any port is accepted, because the dashboard may be reached through `ssh -L`.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn in_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// Compares in constant time, so that the timing does not reveal where two texts differ.
fn equal(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_pass() {
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:8080", "LocalHost", "[::1]:9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "127.0.0.2",
            "localhost:x",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(equal("abc", "abc"));
        for other in ["", "ab", "abcd", "abd"] {
            assert!(!equal("abc", other), "{other}");
        }
    }

    #[test]
    fn a_wrong_token_in_the_address_is_not_saved_by_a_cookie() {
        let guard = Guard::new("good", 80);
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; labctl-80=good"));
        assert!(guard.admits(None, &headers));
        assert!(guard.admits(Some("token=good"), &HeaderMap::new()));
        assert!(!guard.admits(Some("x=1&token=bad"), &headers));
        assert!(!guard.admits(None, &HeaderMap::new()));
        headers.insert(header::COOKIE, HeaderValue::from_static("labctl-81=good"));
        assert!(!guard.admits(None, &headers));
    }
}
