//! Requests to Nomad's HTTP interface, and the classification of its answers.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::modules::call::outcome::Fault;
use crate::modules::call::task::Task;
use crate::modules::network::http::Response;
use crate::modules::network::rest::{quote, talk};

/// Messages of Nomad with status 500 while its servers are about to elect a leader, or a client agent to find the servers.
const PASSING: [&str; 9] = [
    "No cluster leader",
    "No path to region",
    "Not ready to serve consistent reads",
    "no servers",
    "rpc error: EOF",
    "connection refused",
    "i/o timeout",
    "failed to get conn",
    "leadership lost",
];

/// Longest time that Nomad holds a request open for newer data. A cancellation is noticed within this time.
const HELD: Duration = Duration::from_secs(2);

/// Why there is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum No {
    /// Nothing answers, or there is no leader: this may change.
    Away(String),
    /// It does not exist.
    Missing(String),
    /// Nomad refuses, and would do so again.
    Refused(String),
}

impl From<No> for Fault {
    fn from(no: No) -> Self {
        let (No::Away(why) | No::Missing(why) | No::Refused(why)) = no;
        why.into()
    }
}

/// An answer, and the index of the state that it comes from.
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) index: u64,
}

/// One agent's HTTP interface, in one namespace.
pub(super) struct Api<'a> {
    task: &'a Task<'a>,
    address: &'a str,
    pub(super) namespace: String,
}

impl<'a> Api<'a> {
    pub(super) fn new(task: &'a Task<'a>) -> Self {
        let namespace = task.args.filled("namespace").unwrap_or("default").to_owned();
        Self { task, address: task.args.str("address").trim_end_matches('/'), namespace }
    }

    /// Whether the controller has cancelled the task.
    pub(super) fn given_up(&self) -> bool {
        (self.task.given_up)()
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, No> {
        self.ask("GET", path, None)
    }

    /// Returns when the data at `path` is newer than `index`, or after [`HELD`].
    pub(super) fn await_newer(&self, path: &str, index: u64) -> Result<(), No> {
        let path = format!("{path}?index={}&wait={}s", index.max(1), HELD.as_secs());
        self.ask::<Value>("GET", &path, None).map(|_| ())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, No> {
        self.ask("POST", path, Some(body)).map(|answer| answer.value)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, No> {
        self.ask("DELETE", path, None).map(|answer| answer.value)
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer<T>, No> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}/v1{path}{mark}namespace={}", self.address, quote(&self.namespace));
        let body = body.map(|body| body.to_string().into_bytes());
        let mut response = talk(self.task, method, &url, "X-Nomad-Token", body).map_err(|fault| No::Away(format!("{url}: {fault}")))?;
        let text = response.bytes().map_err(|why| No::Away(format!("{url}: {why}")))?;
        let text = String::from_utf8_lossy(&text);
        let said = || format!("{url} answered {}: {}", response.status, text.trim());
        match response.status {
            200..300 => {}
            404 => return Err(No::Missing(said())),
            500.. if PASSING.iter().any(|passing| text.contains(passing)) => return Err(No::Away(said())),
            _ => return Err(No::Refused(said())),
        }
        let index = index(&response);
        let value = serde_json::from_str(&text).map_err(|why| No::Refused(format!("{url} gave an unexpected answer: {why}")))?;
        Ok(Answer { value, index })
    }
}

fn index(response: &Response) -> u64 {
    response.header("x-nomad-index").and_then(|text| text.parse().ok()).unwrap_or_default()
}
