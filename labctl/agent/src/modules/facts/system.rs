//! Who the machine is: names, distribution, user, time.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{line, text};
use crate::modules::accounts::passwd;
use crate::modules::call::root::Root;
use crate::modules::system::clock::{Moment, moment};

pub(super) fn add(root: &Root, facts: &mut Map<String, Value>) {
    names(root, facts);
    distribution(root, facts);
    user(root, facts);
    facts.insert("date_time".into(), date_time());
    facts.insert("env".into(), environment());
    let mut put = |key: &str, value: Value| facts.insert(key.to_owned(), value);
    put("machine_id", line(root, "/etc/machine-id").into());
    let systemd = root.join("/run/systemd/system").exists();
    put("service_mgr", if systemd { "systemd" } else { "service" }.into());
    put("selinux", json!({"status": "disabled"}));
    put("selinux_python_present", false.into());
    put("apparmor", json!({"status": if root.join("/sys/kernel/security/apparmor").exists() { "enabled" } else { "disabled" }}));
    put("system_capabilities", json!([]));
    put("system_capabilities_enforced", "False".into());
    put("is_chroot", false.into());
    put("local", local(root));
    put("fips", (line(root, "/proc/sys/crypto/fips_enabled") == "1").into());
    put("cmdline", cmdline(root));
    put("proc_cmdline", cmdline(root));
    let load = text(root, "/proc/loadavg");
    let mut loads = load.split_whitespace().map(|load| load.parse::<f64>().unwrap_or(0.0));
    put("loadavg", json!({"1m": loads.next(), "5m": loads.next(), "15m": loads.next()}));
    for kind in ["rsa", "dsa", "ecdsa", "ed25519"] {
        let key = line(root, &format!("/etc/ssh/ssh_host_{kind}_key.pub"));
        let mut words = key.split_whitespace();
        if let (Some(word), Some(public)) = (words.next(), words.next()) {
            facts.insert(format!("ssh_host_key_{kind}_public_keytype"), word.into());
            facts.insert(format!("ssh_host_key_{kind}_public"), public.into());
        }
    }
}

fn names(root: &Root, facts: &mut Map<String, Value>) {
    let uname = rustix::system::uname();
    let nodename = uname.nodename().to_string_lossy().into_owned();
    let machine = uname.machine().to_string_lossy().into_owned();
    let hostname = nodename.split('.').next().unwrap_or_default().to_owned();
    let fqdn = full_name(root, &nodename);
    let domain = fqdn.split_once('.').map_or("", |(_, domain)| domain).to_owned();
    let bits = if cfg!(target_pointer_width = "64") { "64" } else { "32" };
    let architecture = if machine == "i686" { "i386".to_owned() } else { machine.clone() };
    for (key, value) in [
        ("system", uname.sysname().to_string_lossy().into_owned()),
        ("kernel", uname.release().to_string_lossy().into_owned()),
        ("kernel_version", uname.version().to_string_lossy().into_owned()),
        ("machine", machine),
        ("architecture", architecture),
        ("userspace_bits", bits.to_owned()),
        ("userspace_architecture", std::env::consts::ARCH.to_owned()),
        ("nodename", nodename),
        ("hostname", hostname),
        ("fqdn", fqdn),
        ("domain", domain),
    ] {
        facts.insert(key.into(), value.into());
    }
}

/// The canonical name of this host in /etc/hosts, as `getfqdn` determines it.
fn full_name(root: &Root, nodename: &str) -> String {
    if nodename.contains('.') {
        return nodename.to_owned();
    }
    text(root, "/etc/hosts")
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .filter_map(|line| {
            let names: Vec<&str> = line.split_whitespace().skip(1).collect();
            names.contains(&nodename).then(|| names.iter().find(|name| name.contains('.')).map(|name| (*name).to_owned()))
        })
        .flatten()
        .next()
        .unwrap_or_else(|| nodename.to_owned())
}

fn distribution(root: &Root, facts: &mut Map<String, Value>) {
    let release: BTreeMap<String, String> = text(root, "/etc/os-release")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect();
    let get = |key: &str| release.get(key).cloned().unwrap_or_default();
    let id = get("ID");
    let (name, family, manager) = match id.as_str() {
        "debian" => ("Debian", "Debian", "apt"),
        "ubuntu" => ("Ubuntu", "Debian", "apt"),
        "raspbian" | "linuxmint" | "kali" | "pop" => ("Debian", "Debian", "apt"),
        "alpine" => ("Alpine", "Alpine", "apk"),
        "fedora" => ("Fedora", "RedHat", "dnf"),
        "rhel" => ("RedHat", "RedHat", "dnf"),
        "centos" => ("CentOS", "RedHat", "dnf"),
        "rocky" => ("Rocky", "RedHat", "dnf"),
        "almalinux" => ("AlmaLinux", "RedHat", "dnf"),
        "arch" => ("Archlinux", "Archlinux", "pacman"),
        _ => ("", "", "unknown"),
    };
    let name = if name.is_empty() { get("NAME") } else { name.to_owned() };
    let family = if family.is_empty() { name.clone() } else { family.to_owned() };
    let id_version = get("VERSION_ID");
    // Debian's os-release has only the major version.
    let version = match (id.as_str(), line(root, "/etc/debian_version")) {
        ("debian", version) if version.starts_with(|c: char| c.is_ascii_digit()) => version,
        _ => id_version.clone(),
    };
    let major = version.split('.').next().unwrap_or_default().to_owned();
    let minor = version.split('.').nth(1).unwrap_or_default().to_owned();
    let codename = get("VERSION_CODENAME");
    for (key, value) in [
        ("distribution", name.as_str()),
        ("distribution_version", if version.is_empty() { "NA" } else { &version }),
        ("distribution_major_version", &major),
        ("distribution_minor_version", &minor),
        ("distribution_release", if codename.is_empty() { "NA" } else { &codename }),
        ("distribution_file_variety", if family == "Debian" { "Debian" } else { &name }),
        ("distribution_file_path", "/etc/os-release"),
        ("os_family", &family),
        ("pkg_mgr", manager),
    ] {
        facts.insert(key.into(), value.into());
    }
    facts.insert("distribution_file_parsed".into(), true.into());
    facts.insert(
        "lsb".into(),
        json!({"id": name, "release": id_version, "major_release": major, "codename": codename, "description": get("PRETTY_NAME")}),
    );
}

fn user(root: &Root, facts: &mut Map<String, Value>) {
    let uid = rustix::process::geteuid().as_raw();
    let user = passwd::users(root).into_iter().find(|user| user.uid == uid);
    facts.insert("effective_user_id".into(), uid.into());
    facts.insert("effective_group_id".into(), rustix::process::getegid().as_raw().into());
    facts.insert("real_user_id".into(), rustix::process::getuid().as_raw().into());
    facts.insert("real_group_id".into(), rustix::process::getgid().as_raw().into());
    facts.insert("user_uid".into(), uid.into());
    if let Some(user) = user {
        facts.insert("user_id".into(), user.name.into());
        facts.insert("user_gid".into(), user.gid.into());
        facts.insert("user_gecos".into(), user.comment.into());
        facts.insert("user_dir".into(), user.home.into());
        facts.insert("user_shell".into(), user.shell.into());
    } else {
        facts.insert("user_id".into(), uid.to_string().into());
        facts.insert("user_dir".into(), "/".into());
    }
}

fn date_time() -> Value {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let time = SystemTime::now();
    let (local, utc) = (moment(time, false), moment(time, true));
    let sign = if local.offset < 0 { '-' } else { '+' };
    let offset = local.offset.abs();
    let compact = |at: &Moment| format!("{:04}{:02}{:02}T{:02}{:02}{:02}", at.year, at.month, at.day, at.hour, at.minute, at.second);
    let week = (local.yearday + 7 - (local.weekday + 6) % 7) / 7;
    json!({
        "year": format!("{:04}", local.year),
        "month": format!("{:02}", local.month),
        "weekday": DAYS.get(local.weekday as usize).copied().unwrap_or_default(),
        "weekday_number": local.weekday.to_string(),
        "weeknumber": format!("{week:02}"),
        "day": format!("{:02}", local.day),
        "hour": format!("{:02}", local.hour),
        "minute": format!("{:02}", local.minute),
        "second": format!("{:02}", local.second),
        "epoch": local.epoch.to_string(),
        "epoch_int": local.epoch.to_string(),
        "date": local.date(),
        "time": local.clock(),
        "iso8601_micro": format!("{}T{}.{:06}Z", utc.date(), utc.clock(), utc.micros),
        "iso8601": format!("{}T{}Z", utc.date(), utc.clock()),
        "iso8601_basic": format!("{}{:06}", compact(&local), local.micros),
        "iso8601_basic_short": compact(&local),
        "tz": local.zone,
        "tz_dst": local.zone,
        "tz_offset": format!("{sign}{:02}{:02}", offset / 3600, offset / 60 % 60),
    })
}

fn environment() -> Value {
    let entries = std::env::vars_os().map(|(key, value)| (key.to_string_lossy().into_owned(), Value::from(value.to_string_lossy())));
    Value::Object(entries.collect())
}

fn cmdline(root: &Root) -> Value {
    let words = text(root, "/proc/cmdline");
    let entries = words.split_whitespace().map(|word| match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), Value::from(value)),
        None => (word.to_owned(), Value::Bool(true)),
    });
    Value::Object(entries.collect())
}

/// Facts that the administrator put in /etc/ansible/facts.d: JSON files, or sections and keys; executables are not run.
fn local(root: &Root) -> Value {
    let mut facts = Map::new();
    for entry in std::fs::read_dir(root.join("/etc/ansible/facts.d")).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "fact")) else {
            continue;
        };
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let value = serde_json::from_str(&text).unwrap_or_else(|_| sections(&text));
        facts.insert(name.to_string_lossy().into_owned(), value);
    }
    Value::Object(facts)
}

fn sections(text: &str) -> Value {
    let mut all = Map::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
            all.insert(section.clone(), json!({}));
        } else if let Some((key, value)) = line.split_once(['=', ':'])
            && !line.starts_with(['#', ';'])
            && let Some(Value::Object(entries)) = all.get_mut(&section)
        {
            entries.insert(key.trim().to_lowercase(), value.trim().into());
        }
    }
    Value::Object(all)
}
