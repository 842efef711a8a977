//! The clients that jobs can be placed on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::modules::call::outcome::Fault;
use crate::modules::network::nomad::api::{Api, No};
use crate::modules::network::nomad::patience::{Patience, given_up};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Client {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    status: String,
    scheduling_eligibility: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Details {
    attributes: Option<BTreeMap<String, Value>>,
}

impl Client {
    fn is_ready(&self) -> bool {
        self.status == "ready" && self.scheduling_eligibility == "eligible"
    }

    fn words(&self) -> String {
        let status = if self.status == "ready" { &self.scheduling_eligibility } else { &self.status };
        format!("{} is {status}", self.name)
    }
}

/// The state of the clients at one moment.
struct Seen {
    clients: Vec<Client>,
    /// Ready, but with no Consul agent found yet although the job has services there.
    without_consul: Vec<String>,
    index: u64,
}

impl Seen {
    fn look(api: &Api<'_>, consul: bool) -> Result<Self, No> {
        let answer = api.get::<Option<Vec<Client>>>("/nodes")?;
        let clients = answer.value.unwrap_or_default();
        let mut without_consul = Vec::new();
        for client in clients.iter().filter(|client| consul && client.is_ready()) {
            let details: Details = api.get(&format!("/node/{}", client.id))?.value;
            if !details.attributes.unwrap_or_default().contains_key("consul.version") {
                without_consul.push(client.name.clone());
            }
        }
        Ok(Self { clients, without_consul, index: answer.index })
    }

    fn usable(&self) -> usize {
        self.clients.iter().filter(|client| client.is_ready() && !self.without_consul.contains(&client.name)).count()
    }

    fn facts(&self) -> Vec<String> {
        let found = |client: &&Client| client.is_ready() && !self.without_consul.contains(&client.name);
        let ready = self.clients.iter().filter(found).map(|client| format!("{} can be used", client.name));
        self.clients.iter().map(Client::words).chain(ready).collect()
    }

    fn words(&self, wanted: usize) -> String {
        let mut words = vec![format!("{} of {wanted} clients can take work", self.usable())];
        words.extend(self.clients.iter().filter(|client| !client.is_ready()).map(Client::words));
        words.extend(self.without_consul.iter().map(|name| format!("{name} has not found its Consul agent")));
        words.join(", ")
    }
}

/// Waits until this many clients can take work. With fewer, a job would crowd onto the available ones; and Nomad skips a client that has
/// not found Consul for jobs with services in it.
pub(super) fn wait_for(api: &Api<'_>, wanted: usize, consul: bool, patience: &mut Patience) -> Result<(), Fault> {
    if wanted == 0 {
        return Ok(());
    }
    loop {
        let seen = patience.must(api, "clients", || Seen::look(api, consul))?;
        if seen.usable() >= wanted {
            return Ok(());
        }
        patience.note(seen.facts());
        if patience.is_over() {
            let why = format!("{}: {}", patience.words(), seen.words(wanted));
            return Err(format!("{why}; see `nomad node status` and, on a client, `journalctl -u nomad -u consul`").into());
        }
        if api.given_up() {
            return Err(given_up());
        }
        patience.must(api, "clients", || api.await_newer("/nodes", seen.index))?;
    }
}

/// Whether every client known to Nomad can take work: then no client is about to join that could change a placement.
pub(super) fn all_ready(api: &Api<'_>) -> Result<bool, No> {
    let clients = api.get::<Option<Vec<Client>>>("/nodes")?.value.unwrap_or_default();
    Ok(!clients.is_empty() && clients.iter().all(Client::is_ready))
}

/// Whether a job's services or templates need Consul on its clients.
pub(super) fn needs_consul(job: &Value) -> bool {
    let items = |value: &Value, key: &str| -> Vec<Value> { value[key].as_array().cloned().unwrap_or_default() };
    let in_consul = |service: &Value| service["Provider"].as_str().is_none_or(|provider| matches!(provider, "" | "consul"));
    items(job, "TaskGroups").iter().any(|group| {
        let tasks = items(group, "Tasks");
        items(group, "Services")
            .iter()
            .chain(tasks.iter().flat_map(|task| items(task, "Services")).collect::<Vec<_>>().iter())
            .any(in_consul)
    })
}
