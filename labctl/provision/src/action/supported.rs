//! The modules there are. Others fail only when their task runs.

use crate::action::Stop;
use crate::data::Place;

/// Modules that the agent does all by itself.
const REMOTE: &[&str] = &[
    "acl",
    "alternatives",
    "apk",
    "apt",
    "apt_key",
    "apt_repository",
    "archive",
    "authorized_key",
    "blockinfile",
    "capabilities",
    "command",
    "consul_kv",
    "cron",
    "deb822_repository",
    "debconf",
    "dnf",
    "dpkg_selections",
    "file",
    "filesystem",
    "find",
    "get_url",
    "getent",
    "git",
    "group",
    "hostname",
    "htpasswd",
    "ini_file",
    "iptables",
    "known_hosts",
    "lineinfile",
    "locale_gen",
    "modprobe",
    "mount",
    "nomad_deploy",
    "nomad_job",
    "openssh_keypair",
    "package",
    "package_facts",
    "pam_limits",
    "pamd",
    "ping",
    "pip",
    "raw",
    "replace",
    "service",
    "service_facts",
    "shell",
    "slurp",
    "stat",
    "sysctl",
    "systemd",
    "systemd_service",
    "tempfile",
    "timezone",
    "ufw",
    "unarchive",
    "uri",
    "user",
    "wait_for",
    "xattr",
    "yum",
];

/// Actions of the controller.
const LOCAL: &[&str] = &[
    "add_host",
    "artifact",
    "assemble",
    "assert",
    "async_status",
    "copy",
    "debug",
    "fail",
    "fetch",
    "gather_facts",
    "group_by",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "reboot",
    "script",
    "set_fact",
    "set_stats",
    "setup",
    "synchronize",
    "template",
    "wait_for_connection",
];

/// The supported names nearest to one.
pub(crate) fn neighbours(name: &str) -> Vec<&'static str> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let mut all: Vec<(usize, &str)> = REMOTE
        .iter()
        .chain(LOCAL)
        .map(|known| {
            let related =
                known.contains(short) || short.contains(known) || short.split('_').any(|part| part.len() > 3 && known.contains(part));
            (strsim::osa_distance(short, known).saturating_sub(if related { 3 } else { 0 }), *known)
        })
        .collect();
    all.sort_unstable();
    all.into_iter().take(3).map(|(_, name)| name).collect()
}

/// What is to be said of a module that is not supported; none of one that is.
pub(crate) fn lacking(name: &str, place: &Place) -> Option<String> {
    let supported = REMOTE.contains(&name) || LOCAL.contains(&name);
    (!supported).then(|| format!("the module '{name}' is not supported ({place}); the nearest that are: {}", neighbours(name).join(", ")))
}

/// Fails for a module that is not supported.
pub(super) fn check(name: &str, place: &Place) -> Result<(), Stop> {
    lacking(name, place).map_or(Ok(()), |why| Err(Stop::Failed(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_neighbours() {
        assert_eq!(neighbours("lineinfil")[0], "lineinfile");
        assert!(neighbours("community.general.apt_rpm").contains(&"apt"));
        assert!(check("nope", &Place { file: "a.yml".into(), line: 3 }).is_err());
        assert!(check("file", &Place::default()).is_ok());
    }
}
