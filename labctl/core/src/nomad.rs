//! Nomad's HTTP interface on one of the lab's nodes, over the lab's own network.

use std::time::Duration;

use hyper::Method;
use labctl_lab::client::Supervisor;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;
use serde_json::Value;
use tokio::time::timeout;

use crate::exports;
use crate::http::{self, Answer, Ask};

/// Where Nomad's interface listens in the nodes.
const PORT: u16 = 4646;

/// How long a node may take to answer before the next one is asked.
const ANSWER: Duration = Duration::from_secs(10);

/// How long Nomad holds a request open for newer data.
const HELD: Duration = Duration::from_secs(5);

/// One node's interface.
#[derive(Debug)]
pub struct Nomad<'a> {
    supervisor: &'a Supervisor,
    /// The node.
    pub node: NodeName,
    token: Option<String>,
}

impl<'a> Nomad<'a> {
    /// The first of `running` that publishes Nomad's port and knows a leader; servers are asked first. Why each of them could not be used, if
    /// none can.
    pub async fn find(supervisor: &'a Supervisor, lab: &Lab, running: &[NodeName]) -> Result<Self, Vec<String>> {
        let mut reasons = Vec::new();
        for node in exports::nomad_nodes(lab).into_iter().filter(|node| running.contains(&node.name)) {
            // The user's own token comes first, as for Nomad's command line.
            let own = std::env::var("NOMAD_TOKEN").ok().filter(|token| !token.is_empty());
            let token = own.or_else(|| exports::nomad_token(lab, node));
            let nomad = Self { supervisor, node: node.name.clone(), token };
            match nomad.get("/v1/status/leader").await {
                Ok(leader) if leader.as_str().is_some_and(|leader| !leader.is_empty()) => return Ok(nomad),
                Ok(_) => reasons.push(format!("{}: Nomad has no leader", node.name)),
                Err(why) => reasons.push(why.message),
            }
        }
        Err(reasons)
    }

    /// What it is asked with.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The path of a job, and what follows it.
    pub fn job_path(&self, id: &str, rest: &str) -> String {
        format!("/v1/job/{}{rest}", segment(id))
    }

    /// The data at `path`.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.ask(Method::GET, path).await?.0)
    }

    /// Removes what is at `path`.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.ask(Method::DELETE, path).await?.0)
    }

    /// The data at `path`, which has no query, once it is newer than `index` or [`HELD`] has passed; and its index.
    pub async fn newer(&self, path: &str, index: u64) -> Result<(Value, u64), Failure> {
        let path = format!("{path}?index={index}&wait={}s", HELD.as_secs());
        let (value, newer) = self.ask(Method::GET, &path).await?;
        // An index of 0 would be answered at once (Nomad's documentation of blocking queries).
        Ok((value, newer.unwrap_or_default().max(1)))
    }

    /// An answer that is a success, and its index.
    async fn ask(&self, method: Method, path: &str) -> Result<(Value, Option<u64>), Failure> {
        let answer = self.send(method, path).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let said = || format!("{}: Nomad answered {} to {path}: {}", self.node, answer.status, text.trim());
        match answer.status {
            200..300 => serde_json::from_slice(&answer.body)
                .map(|value| (value, answer.index))
                .map_err(|why| Failure::new(Kind::Machine, format!("{}: Nomad's answer to {path} is no JSON: {why}", self.node))),
            404 => Err(Failure::new(Kind::NotFound, said())),
            401 | 403 => Err(Failure::new(Kind::Machine, said()).hint("set NOMAD_TOKEN, or a variable `nomad_token` in the lab file")),
            _ => Err(Failure::new(Kind::Machine, said())),
        }
    }

    async fn send(&self, method: Method, path: &str) -> Result<Answer, Failure> {
        let asked = async {
            let stream = self.supervisor.dial(&self.node, PORT).await?;
            let headers = self.token.as_deref().map(|token| ("x-nomad-token", token)).into_iter().collect();
            let host = format!("{}:{PORT}", self.node);
            let ask = Ask { method, path, headers, ..Ask::default() };
            http::ask(stream, &host, ask).await.map_err(|why| Failure::new(Kind::Machine, format!("{}: Nomad: {why}", self.node)))
        };
        let late = || Failure::new(Kind::Machine, format!("{}: Nomad has not answered for {} s", self.node, ANSWER.as_secs()));
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The failure for reasons why there is no Nomad to ask.
pub fn nowhere(reasons: Vec<String>) -> Failure {
    let reasons = if reasons.is_empty() { "no running node publishes port 4646".to_owned() } else { reasons.join("\n") };
    Failure::new(Kind::Conflict, format!("there is no Nomad to ask: {reasons}"))
        .hint("`publish: [4646]` at a node that runs Nomad, or wait until it has a leader")
}

/// A path's segment: whatever is not plain as %XX.
fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("a/b c-1.x"), "a%2Fb%20c-1.x");
    }
}
