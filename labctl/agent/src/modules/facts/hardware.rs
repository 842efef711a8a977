//! Processors, memory, disks, mounts, and the kind of machine this appears to be.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{line, text};
use crate::modules::call::root::Root;

pub(super) fn add(root: &Root, facts: &mut Map<String, Value>) {
    processors(root, facts);
    memory(root, facts);
    facts.insert("mounts".into(), mounts(root));
    facts.insert("devices".into(), devices(root));
    let uptime = line(root, "/proc/uptime");
    let uptime = uptime.split(['.', ' ']).next().and_then(|seconds| seconds.parse::<u64>().ok());
    facts.insert("uptime_seconds".into(), uptime.unwrap_or(0).into());
    for (key, file) in [
        ("product_name", "product_name"),
        ("product_version", "product_version"),
        ("product_serial", "product_serial"),
        ("product_uuid", "product_uuid"),
        ("system_vendor", "sys_vendor"),
        ("bios_version", "bios_version"),
        ("bios_date", "bios_date"),
        ("bios_vendor", "bios_vendor"),
        ("board_name", "board_name"),
        ("board_vendor", "board_vendor"),
        ("chassis_vendor", "chassis_vendor"),
    ] {
        let value = line(root, &format!("/sys/class/dmi/id/{file}"));
        facts.insert(key.into(), if value.is_empty() { "NA".into() } else { value.into() });
    }
    facts.insert("form_factor".into(), "Other".into());
    virtualization(root, facts);
}

fn processors(root: &Root, facts: &mut Map<String, Value>) {
    let info = text(root, "/proc/cpuinfo");
    let mut list = Vec::new();
    let (mut sockets, mut cores, mut siblings, mut count) = (BTreeSet::new(), 1_u64, 1_u64, 0_u64);
    for (key, value) in info.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match key.trim() {
            "processor" => {
                count += 1;
                list.push(value.to_owned());
            }
            "vendor_id" | "model name" | "Processor" => list.push(value.to_owned()),
            "physical id" => {
                sockets.insert(value.to_owned());
            }
            "cpu cores" => cores = value.parse().unwrap_or(1),
            "siblings" => siblings = value.parse().unwrap_or(1),
            _ => {}
        }
    }
    let packages = if sockets.is_empty() { count.max(1) } else { sockets.len() as u64 };
    let threads = (siblings / cores.max(1)).max(1);
    facts.insert("processor".into(), list.into());
    facts.insert("processor_count".into(), packages.into());
    facts.insert("processor_cores".into(), cores.into());
    facts.insert("processor_threads_per_core".into(), threads.into());
    facts.insert("processor_vcpus".into(), count.max(1).into());
    facts.insert("processor_nproc".into(), count.max(1).into());
}

fn memory(root: &Root, facts: &mut Map<String, Value>) {
    let info = text(root, "/proc/meminfo");
    let mb = |key: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    let (total, free) = (mb("MemTotal"), mb("MemFree"));
    let (swap, swap_free) = (mb("SwapTotal"), mb("SwapFree"));
    let cached = free + mb("Cached") + mb("Buffers");
    facts.insert("memtotal_mb".into(), total.into());
    facts.insert("memfree_mb".into(), free.into());
    facts.insert("swaptotal_mb".into(), swap.into());
    facts.insert("swapfree_mb".into(), swap_free.into());
    facts.insert(
        "memory_mb".into(),
        json!({
            "real": {"total": total, "free": free, "used": total.saturating_sub(free)},
            "nocache": {"free": cached, "used": total.saturating_sub(cached)},
            "swap": {"total": swap, "free": swap_free, "used": swap.saturating_sub(swap_free), "cached": mb("SwapCached")},
        }),
    );
}

fn mounts(root: &Root) -> Value {
    let table = text(root, "/proc/mounts");
    let mut list = Vec::new();
    for line in table.lines() {
        let fields: Vec<String> = line.split(' ').map(unescape).collect();
        let [device, mount, kind, options, ..] = &fields[..] else {
            continue;
        };
        // As in Ansible: file systems on a device or a server, none of the kernel's own.
        if !(device.starts_with('/') || device.contains(":/")) || kind == "none" {
            continue;
        }
        let mut entry =
            json!({"device": device, "mount": mount, "fstype": kind, "options": options, "dump": 0, "passno": 0, "uuid": "N/A"});
        if let Ok(stat) = rustix::fs::statvfs(mount.as_str()) {
            entry["size_total"] = (stat.f_blocks * stat.f_frsize).into();
            entry["size_available"] = (stat.f_bavail * stat.f_frsize).into();
            entry["block_size"] = stat.f_bsize.into();
            entry["block_total"] = stat.f_blocks.into();
            entry["block_available"] = stat.f_bavail.into();
            entry["block_used"] = (stat.f_blocks - stat.f_bavail.min(stat.f_blocks)).into();
            entry["inode_total"] = stat.f_files.into();
            entry["inode_available"] = stat.f_favail.into();
            entry["inode_used"] = (stat.f_files - stat.f_favail.min(stat.f_files)).into();
        }
        list.push(entry);
    }
    list.into()
}

/// Decodes `\040` and similar escapes, which /proc/mounts uses for whitespace.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn devices(root: &Root) -> Value {
    let mut devices = Map::new();
    for entry in std::fs::read_dir(root.join("/sys/block")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let base = format!("/sys/block/{name}");
        let sectors: u64 = line(root, &format!("{base}/size")).parse().unwrap_or(0);
        if sectors == 0 && name.starts_with("loop") {
            continue;
        }
        let value = |file: &str| line(root, &format!("{base}/{file}"));
        let mut partitions = Map::new();
        for part in std::fs::read_dir(root.join(&base)).into_iter().flatten().flatten() {
            let part = part.file_name().to_string_lossy().into_owned();
            if part.starts_with(&name) && root.join(format!("{base}/{part}/partition")).exists() {
                let sectors: u64 = line(root, &format!("{base}/{part}/size")).parse().unwrap_or(0);
                let start = line(root, &format!("{base}/{part}/start"));
                partitions.insert(part, json!({"sectors": sectors, "sectorsize": 512, "start": start, "size": human(sectors * 512)}));
            }
        }
        let device = json!({
            "size": human(sectors * 512), "sectors": sectors, "sectorsize": "512", "removable": value("removable"),
            "rotational": value("queue/rotational"), "model": value("device/model"), "vendor": value("device/vendor"),
            "partitions": partitions, "virtual": 1, "holders": [], "links": {"ids": [], "labels": [], "masters": [], "uuids": []},
        });
        devices.insert(name, device);
    }
    Value::Object(devices)
}

fn human(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, "Bytes");
    for next in ["KB", "MB", "GB", "TB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    format!("{size:.2} {unit}")
}

fn virtualization(root: &Root, facts: &mut Map<String, Value>) {
    let vendor = line(root, "/sys/class/dmi/id/sys_vendor");
    let product = line(root, "/sys/class/dmi/id/product_name");
    let hypervisor = text(root, "/proc/cpuinfo").contains(" hypervisor");
    let kind = match (vendor.as_str(), product.as_str()) {
        ("QEMU" | "Red Hat", _) | (_, "KVM" | "OpenStack Nova") => "kvm",
        ("VMware, Inc.", _) => "VMware",
        ("innotek GmbH", _) => "virtualbox",
        ("Microsoft Corporation", "Virtual Machine") => "VirtualPC",
        _ if root.join("/.dockerenv").exists() => "docker",
        _ if hypervisor => "kvm",
        _ => "NA",
    };
    let role = if kind == "NA" { "NA" } else { "guest" };
    facts.insert("virtualization_type".into(), kind.into());
    facts.insert("virtualization_role".into(), role.into());
    let tech: Vec<&str> = if kind == "NA" { vec![] } else { vec![kind] };
    facts.insert("virtualization_tech_guest".into(), tech.into());
    facts.insert("virtualization_tech_host".into(), json!([]));
}
