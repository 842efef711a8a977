//! JSON from the HTTP interfaces of Consul and Nomad.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::excerpt;
use crate::target::ProbeTarget;

/// The HTTP interface of one agent.
pub(super) struct Api<'a> {
    pub target: &'a dyn ProbeTarget,
    pub node: &'a str,
    pub port: u16,
    pub limit: Duration,
}

impl Api<'_> {
    /// The decoded response to `GET path`, or an error message.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let answer = self.target.http(self.node, self.port, path, self.limit).await.map_err(|error| error.message)?;
        // The query string is of no interest to the user.
        let short = path.split('?').next().unwrap_or(path);
        if answer.status != 200 {
            let said = excerpt(&answer.body);
            return Err(format!("{short} returned {}: {said}", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{short} returned an unexpected response: {error}"))
    }

    /// The leader's address as known to the agent; an empty one means "no leader".
    pub(super) async fn leader(&self) -> Result<String, String> {
        let leader: String = self.get("/v1/status/leader").await?;
        if leader.is_empty() {
            return Err("no leader".to_owned());
        }
        Ok(leader)
    }
}

/// A name as one path segment (RFC 3986: all characters except unreserved ones are escaped).
pub(super) fn segment(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Combines the parts of an answer: all findings if every part holds, otherwise all complaints.
pub(super) fn verdict(found: Vec<Result<String, String>>) -> super::Answer {
    let holds = found.iter().all(Result::is_ok);
    // A probe that fails reports only what is wrong.
    let words: Vec<String> =
        if holds { found.into_iter().filter_map(Result::ok).collect() } else { found.into_iter().filter_map(Result::err).collect() };
    super::Answer { holds, words: words.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("fib-1.x_~"), "fib-1.x_~");
        assert_eq!(segment("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
