//! Who answers: the instance that Nomad started, and where.

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
    /// Reads Nomad's runtime environment; the node's name comes from the job (`FIB_NODE = "${node.unique.name}"`),
    /// because Nomad sets no variable for it.
    pub fn from_environment(address: String) -> Self {
        let read = |name| std::env::var(name).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        Self { instance: read("NOMAD_ALLOC_ID").chars().take(8).collect(), node: read("FIB_NODE"), address }
    }
}
