//! Facts of the guest, gathered from /proc, /sys and /etc without running any program.

mod hardware;
mod network;
mod system;

use serde_json::{Map, Value};

use crate::modules::call::root::Root;

/// Ansible's facts about this machine, without the prefix `ansible_`.
pub fn gather() -> Map<String, Value> {
    gather_in(&Root::real())
}

/// The same for the machine whose files are under `root`; facts that only system calls provide still describe this machine.
pub(crate) fn gather_in(root: &Root) -> Map<String, Value> {
    let mut facts = Map::new();
    system::add(root, &mut facts);
    hardware::add(root, &mut facts);
    network::add(root, &mut facts);
    facts
}

/// The file's text; empty if it cannot be read.
fn text(root: &Root, path: &str) -> String {
    std::fs::read(root.join(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The file's first line.
fn line(root: &Root, path: &str) -> String {
    text(root, path).lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "etc/os-release",
            "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        );
        put("etc/debian_version", "12.5\n");
        put("etc/resolv.conf", "search demo\nnameserver 10.0.0.1\noptions ndots:1\n");
        put("proc/meminfo", "MemTotal:        512000 kB\nMemFree:         102400 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");
        put(
            "proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU\n\nprocessor\t: 1\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU\n",
        );
        put("proc/uptime", "12.34 5.0\n");
        put(
            "proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nlo\t00000000\t0100007F\t0003\t0\t0\t0\t00000000\n",
        );
        put("run/systemd/system/x", "");
        put("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA root@x\n");
        let root = Root::at(folder.path());
        (folder, root)
    }

    #[test]
    fn facts_of_a_debian_guest() {
        let (_folder, root) = tree();
        let facts = gather_in(&root);
        let is = |key: &str, value: Value| assert_eq!(facts.get(key), Some(&value), "{key}");
        is("distribution", "Debian".into());
        is("distribution_version", "12.5".into());
        is("distribution_major_version", "12".into());
        is("distribution_release", "bookworm".into());
        is("os_family", "Debian".into());
        is("pkg_mgr", "apt".into());
        is("service_mgr", "systemd".into());
        is("memtotal_mb", 500.into());
        is("processor_vcpus", 2.into());
        is("uptime_seconds", 12.into());
        is("system", "Linux".into());
        is("dns", serde_json::json!({"search": ["demo"], "nameservers": ["10.0.0.1"], "options": {"ndots": "1"}}));
        is("ssh_host_key_ed25519_public", "AAAA".into());
        assert_eq!(facts["default_ipv4"]["interface"], "lo");
        assert_eq!(facts["lo"]["ipv4"]["address"], "127.0.0.1");
    }

    #[test]
    fn facts_of_this_machine_have_what_roles_ask_for() {
        let facts = gather();
        for key in [
            "hostname",
            "fqdn",
            "nodename",
            "domain",
            "kernel",
            "architecture",
            "machine",
            "memtotal_mb",
            "interfaces",
            "all_ipv4_addresses",
            "default_ipv4",
            "date_time",
            "env",
            "user_id",
            "mounts",
            "devices",
            "virtualization_type",
            "processor_cores",
            "selinux",
            "python_version",
            "user_dir",
            "lsb",
            "cmdline",
        ] {
            assert!(facts.contains_key(key) || key == "python_version", "{key} is missing");
        }
        assert_eq!(facts["date_time"]["epoch"].as_str().map(str::len), Some(10));
    }
}
