//! Who answers: the instance that Nomad started, and where.

use std::net::SocketAddr;

use crate::json::quoted;

/// What every answer says of its instance.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// First eight digits of Nomad's allocation id; `-` outside Nomad.
    pub instance: String,
    /// Nomad's name of the node; `-` outside Nomad.
    pub node: String,
    /// Address and port it listens on.
    pub address: String,
}

impl Identity {
    /// Reads Nomad's runtime environment. The node's name comes from the job (`NODE = "${node.unique.name}"`), because Nomad sets no variable for
    /// it. Where a port of the node leads to a container's, Nomad's address is the one that others see.
    pub fn from_environment(listening: SocketAddr) -> Self {
        let read = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        Self {
            instance: or(read("NOMAD_ALLOC_ID")).chars().take(8).collect(),
            node: or(read("NODE")),
            address: read("NOMAD_HOST_ADDR_http").or_else(|| read("NOMAD_ADDR_http")).unwrap_or_else(|| listening.to_string()),
        }
    }

    /// As members of a JSON object.
    pub fn members(&self) -> String {
        format!("\"instance\":{},\"node\":{},\"address\":{}", quoted(&self.instance), quoted(&self.node), quoted(&self.address))
    }
}
