//! `package`: the guest's own package module.

use labctl_wire::ModuleCall;
use serde_json::Value;

use crate::modules::call::outcome::Fault;
use crate::modules::call::root::Root;

/// Package managers, and the program that identifies each.
const MANAGERS: [(&str, &str); 4] = [("apt", "/usr/bin/apt-get"), ("apk", "/sbin/apk"), ("dnf", "/usr/bin/dnf"), ("dnf", "/usr/bin/yum")];

/// Translates `package` into a call of the system's own module; Ansible chooses it by the fact `pkg_mgr`.
pub(crate) fn own_call(root: &Root, call: &ModuleCall) -> Result<ModuleCall, Fault> {
    let mut call = call.clone();
    let wanted = match call.args.remove("use") {
        Some(Value::String(name)) if name != "auto" => Some(name),
        _ => None,
    };
    let name = match wanted.as_deref() {
        Some("yum" | "dnf4" | "dnf5") => "dnf",
        Some(name) => MANAGERS.iter().map(|(known, _)| *known).find(|known| *known == name).ok_or_else(|| {
            Fault::from(format!("Could not find a matching action for the \"{name}\" package manager; supported are: apt, apk, dnf"))
        })?,
        // Debian by default: labctl's own images are Debian.
        None => MANAGERS.iter().find(|(_, program)| root.join(program).exists()).map_or("apt", |(name, _)| name),
    };
    call.module = name.to_owned();
    Ok(call)
}
