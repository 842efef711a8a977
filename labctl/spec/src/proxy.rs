//! Addresses of proxies. They may contain a password, which must never appear in a message.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The address of a proxy, such as `http://user:word@proxy.example:3128`. Shown without its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// Checks an address.
    ///
    /// # Errors
    /// A reason and a hint, neither of which contains the password.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let hint = || "write `http://HOST:PORT`, with `USER:PASSWORD@` before the host if the proxy needs it".to_owned();
        let shown = without_password(text);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err((format!("`{}` is not a proxy's address: it does not begin with `http://`", hidden(text)), hint()));
        };
        if !["http", "https"].contains(&scheme) {
            return Err((format!("`{shown}`: proxies of the kind `{scheme}` are not supported"), hint()));
        }
        // These mean something in the files that the address is written to.
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'`\\$#<>".contains(c)) {
            let hint = "write special characters in a password as percent codes, such as `%23` for `#`";
            return Err((format!("`{shown}` has a character that an address cannot have"), hint.to_owned()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        if host.contains(['/', '?']) {
            return Err((format!("`{shown}` has a path, but a proxy is a host and a port"), hint()));
        }
        let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':')),
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() {
            return Err((format!("`{shown}` names no host"), hint()));
        }
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err((format!("`{shown}`: the port is not a number from 1 to 65535"), hint()));
        }
        Ok(Self(format!("{scheme}://{rest}")))
    }

    /// The whole address, including the password.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether it contains a user or password.
    pub fn has_credentials(&self) -> bool {
        self.0.contains('@')
    }

    /// Its scheme, its user and password, its host, and what follows.
    fn parts(&self) -> (&str, &str, &str, &str) {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let (credentials, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let end = place.rfind(']').map(|end| end + 1).or_else(|| place.find(':')).unwrap_or(place.len());
        (scheme, credentials, &place[..end], &place[end..])
    }

    /// Whether it is a service on the loopback address of the machine that uses it.
    pub fn is_loopback(&self) -> bool {
        let (_, _, host, _) = self.parts();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The same port at another host.
    #[must_use]
    pub fn at(&self, host: IpAddr) -> Self {
        let (scheme, credentials, _, port) = self.parts();
        let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
        let at = if credentials.is_empty() { "" } else { "@" };
        Self(format!("{scheme}://{credentials}{at}{host}{port}"))
    }

    /// The same address without user and password.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => Self(format!("{scheme}://{host}")),
            _ => self.clone(),
        }
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address that could not be understood, without whatever may be a password in it.
fn hidden(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => text.to_owned(),
    }
}

/// A text with the passwords of all addresses in it replaced by `***`.
pub fn without_password(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(place) = rest.find("://") {
        let (before, after) = rest.split_at(place + 3);
        shown += before;
        // Up to the last `@` of the word: a password may contain `/` and `@` although it should not.
        let word = after.find(|c: char| c.is_whitespace() || "\"'`<>".contains(c)).unwrap_or(after.len());
        rest = match after[..word].rsplit_once('@') {
            Some((credentials, _)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                shown += user;
                if credentials.contains(':') {
                    shown += ":***";
                }
                &after[credentials.len()..]
            }
            None => after,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for (text, same) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("https://10.0.0.1:8443/", "https://10.0.0.1:8443"),
            ("http://u:p%40x@proxy.corp", "http://u:p%40x@proxy.corp"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            assert_eq!(ProxyUrl::parse(text).expect(text).secret(), same);
        }
        for (text, said) in [
            ("proxy:3128", "does not begin with `http://`"),
            ("u:secret@proxy:3128", "`***@proxy:3128`"),
            ("socks5://u:secret@proxy:1080", "`socks5://u:***@proxy:1080`"),
            ("http://u:sec#ret@proxy:3128", "`http://u:***@proxy:3128`"),
            ("http://u:secret@proxy:0", "the port is not a number"),
            ("http://u:secret@proxy:3128/path", "has a path"),
            ("http://:3128", "names no host"),
            ("http://", "names no host"),
        ] {
            let (reason, hint) = ProxyUrl::parse(text).expect_err(text);
            assert!(reason.contains(said) && !reason.contains("sec"), "{text}: {reason}");
            assert!(!hint.is_empty());
        }
    }

    #[test]
    fn a_loopback_address_can_become_the_gateways() {
        let at = |text: &str| ProxyUrl::parse(text).expect(text).at("10.1.0.1".parse().expect("an address")).secret().to_owned();
        assert_eq!(at("http://127.0.0.1:3128"), "http://10.1.0.1:3128");
        assert_eq!(at("http://u:p@[::1]:3128"), "http://u:p@10.1.0.1:3128");
        assert_eq!(at("https://localhost"), "https://10.1.0.1");
        let loopback = |text: &str| ProxyUrl::parse(text).expect(text).is_loopback();
        assert!(loopback("http://127.9.9.9:1") && loopback("http://[::1]:1") && loopback("http://u:p@localhost"));
        assert!(!loopback("http://proxy:3128") && !loopback("http://10.0.0.1"));
    }

    #[test]
    fn passwords_are_never_shown() {
        let url = ProxyUrl::parse("http://user:secret@proxy:3128").expect("an address");
        assert_eq!((url.to_string(), format!("{url:?}")), ("http://user:***@proxy:3128".into(), "http://user:***@proxy:3128".into()));
        assert_eq!(url.without_credentials().secret(), "http://proxy:3128");
        assert!(url.has_credentials() && !url.without_credentials().has_credentials());
        for (text, shown) in [
            ("via http://u:a@b@p:1, then https://x/y and ftp://v:w@z", "via http://u:***@p:1, then https://x/y and ftp://v:***@z"),
            ("http://u:a/b@p", "http://u:***@p"),
            ("http://token@p", "http://token@p"),
            ("mail me@x or ://", "mail me@x or ://"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }
}
