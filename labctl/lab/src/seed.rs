//! The NoCloud seed for a vendor's cloud image. It installs the agent. Everything else (identity, names, keys) is set through the agent, as
//! on every other node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use labctl_guest::AGENT_PROGRAM;
use labctl_image::seed::write_seed;
use labctl_wire::{HostKey, Identity};

use crate::{Failure, Kind};

/// The agent's service in a foreign image.
const UNIT: &str = "[Unit]
Description=labctl agent
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/local/lib/labctl/agent serve
Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
";

/// What cloud-init runs at every boot: it copies the agent from the seed and starts it, unless the same agent is already installed. This
/// way, a newer labctl installs its own agent at the next boot.
const BRING_AGENT: &str = "mkdir -p /run/labctl-seed /usr/local/lib/labctl \
    && mount -o ro LABEL=CIDATA /run/labctl-seed \
    && if ! cmp -s /run/labctl-seed/agent /usr/local/lib/labctl/agent; then \
    install -m 0755 /run/labctl-seed/agent /usr/local/lib/labctl/agent \
    && install -m 0644 /run/labctl-seed/labctl-agent.service /etc/systemd/system/labctl-agent.service \
    && systemctl daemon-reload && systemctl enable labctl-agent.service && systemctl restart --no-block labctl-agent.service; \
    fi; umount /run/labctl-seed";

/// The seed's `user-data`. cloud-init is still running when the agent already answers, so it must not undo what the agent has set: by
/// default it would replace the SSH host key that labctl has pinned with its own. JSON is YAML (cloud-init's documentation, "User-data
/// formats", "Module reference").
fn user_data(identity: &Identity) -> String {
    let mut keys = serde_json::Map::new();
    let own = HostKey { private: identity.ssh_host_key.clone(), public: identity.ssh_host_key_public.clone() };
    for key in std::iter::once(&own).chain(&identity.more_host_keys) {
        let Some(kind) = key.kind() else { continue };
        keys.insert(format!("{kind}_private"), key.private.clone().into());
        keys.insert(format!("{kind}_public"), key.public.trim_end().into());
    }
    let data = serde_json::json!({
        "bootcmd": [["sh", "-c", BRING_AGENT]],
        "ssh_deletekeys": false,
        "ssh_keys": keys,
        "disable_root": false,
        "ssh_authorized_keys": identity.authorized_keys,
        "manage_etc_hosts": false,
    });
    format!("#cloud-config\n{data:#}\n")
}

/// Writes the seed into the node's folder.
pub fn write(folder: &Path, identity: &Identity) -> Result<PathBuf, Failure> {
    let path = folder.join("seed.iso");
    // cloud-init writes the network configuration once per instance, so a node with a new address must be a new instance.
    let address = identity.address.map(|address| format!("-{address}")).unwrap_or_default();
    let meta = format!("instance-id: {}{address}\nlocal-hostname: {}\n", identity.machine_id, identity.hostname);
    let network = network_config(identity);
    let user_data = user_data(identity);
    let files: [(&str, &[u8]); 5] = [
        ("meta-data", meta.as_bytes()),
        ("user-data", user_data.as_bytes()),
        ("network-config", network.as_bytes()),
        ("agent", AGENT_PROGRAM),
        ("labctl-agent.service", UNIT.as_bytes()),
    ];
    write_seed(&path, &files).map_err(|why| Failure::new(Kind::Host, why.to_string()))?;
    Ok(path)
}

/// Network configuration, version 2 (cloud-init's documentation, "Networking config Version 2").
fn network_config(identity: &Identity) -> String {
    let address = identity.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let gateway = identity.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED);
    format!(
        "version: 2\nethernets:\n  lab:\n    match: {{macaddress: '{}'}}\n    addresses: [{address}/{}]\n    routes: [{{to: 0.0.0.0/0, via: {gateway}}}]\n    nameservers: {{addresses: [{gateway}], search: [{}]}}\n",
        identity.mac, identity.prefix, identity.domain
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_holds_the_agent_and_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            hostname: "n1".into(),
            domain: "demo".into(),
            machine_id: "0".repeat(32),
            mac: "52:54:00:00:00:01".into(),
            address: Some(Ipv4Addr::new(10, 1, 0, 10)),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 1, 0, 1)),
            ssh_host_key: "-----BEGIN\nKEY\n".into(),
            ssh_host_key_public: "ssh-ed25519 AAAA root@n1\n".into(),
            more_host_keys: vec![HostKey { private: "RSA\n".into(), public: "ssh-rsa CCCC root@n1\n".into() }],
            authorized_keys: vec!["ssh-ed25519 BBBB".into()],
            ..Identity::default()
        };
        let data = user_data(&identity);
        let config: serde_json::Value = serde_json::from_str(data.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        assert_eq!(config["ssh_keys"]["ed25519_private"], "-----BEGIN\nKEY\n");
        assert_eq!(config["ssh_keys"]["ed25519_public"], "ssh-ed25519 AAAA root@n1");
        assert_eq!(
            (&config["ssh_keys"]["rsa_private"], &config["ssh_keys"]["rsa_public"]),
            (&"RSA\n".into(), &"ssh-rsa CCCC root@n1".into())
        );
        assert_eq!(config["ssh_authorized_keys"][0], "ssh-ed25519 BBBB");
        let seed = std::fs::read(write(folder.path(), &identity).unwrap()).unwrap();
        let holds = |text: &[u8]| seed.windows(text.len()).any(|window| window == text);
        assert!(holds(b"CIDATA") && holds(b"local-hostname: n1") && holds(b"addresses: [10.1.0.10/24]"));
        assert!(seed.len() > AGENT_PROGRAM.len());
    }
}
