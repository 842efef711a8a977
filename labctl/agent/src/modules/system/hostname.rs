//! `hostname`.

use std::fs;

use serde_json::json;

use crate::modules::call::arguments::text;
use crate::modules::call::outcome::{Attempt, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::Edit;

pub(crate) const MODULE: Module = Module { names: &["hostname"], params: &[text("name").must(), text("use")], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    let name = task.args.str("name");
    let bad = name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    if bad || name.starts_with(['-', '.']) {
        return Err(format!("name is not a host name: '{name}'").into());
    }
    let path = task.root.join("/etc/hostname");
    let before = Edit::read(&path)?;
    let permanent = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().trim().to_owned();
    let current = fs::read_to_string(task.root.join("/proc/sys/kernel/hostname")).unwrap_or_default().trim().to_owned();
    let changed = permanent != name || current != name;
    if changed && !task.check {
        if permanent != name {
            Edit { path, before, after: format!("{name}\n").into_bytes(), msg: String::new() }.finish(task)?;
        }
        if task.root.is_real() {
            rustix::system::sethostname(name.as_bytes()).attempt("set the host name in", "/proc/sys/kernel/hostname")?;
        } else {
            let proc = task.root.join("/proc/sys/kernel/hostname");
            fs::write(&proc, format!("{name}\n")).attempt("write", &proc)?;
        }
    }
    let short = name.split('.').next().unwrap_or_default();
    let domain = name.split_once('.').map_or("", |(_, domain)| domain);
    let mut result = json!({
        "changed": changed, "name": name,
        "ansible_facts": {"ansible_hostname": short, "ansible_nodename": name, "ansible_fqdn": name, "ansible_domain": domain},
    });
    if changed && task.diff {
        result["diff"] = json!({"before": format!("hostname = {permanent}\n"), "after": format!("hostname = {name}\n")});
    }
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn names_zones_and_modules() {
        let bench = Bench::new();
        bench.write("etc/hostname", "old\n");
        bench.write("proc/sys/kernel/hostname", "old\n");
        let result = bench.converges("hostname", json!({"name": "web.demo"}), true);
        assert_eq!(
            (bench.read("etc/hostname").as_str(), result["ansible_facts"]["ansible_hostname"].as_str()),
            ("web.demo\n", Some("web"))
        );
        bench.write("usr/share/zoneinfo/Europe/Berlin", "");
        bench.converges("timezone", json!({"name": "Europe/Berlin"}), true);
        assert_eq!(bench.read("etc/timezone"), "Europe/Berlin\n");
        assert!(bench.fault("timezone", json!({"name": "Mars/Base"})).contains("is not available"));
        bench.write("proc/modules", "br_netfilter 1 0 - Live 0x0\n");
        bench.converges("modprobe", json!({"name": "br-netfilter"}), false);
        bench.converges("modprobe", json!({"name": "br_netfilter", "persistent": "present"}), true);
        assert_eq!(bench.read("etc/modules-load.d/br_netfilter.conf"), "br_netfilter\n");
    }
}
