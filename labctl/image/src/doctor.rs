//! What the host lacks, why it is needed and the command that installs it.

use crate::artifact;
use crate::missing::{MKE2FS, MMDEBSTRAP, Missing, Tool, need};

/// Fails unless an ordinary user can build images: user namespaces with sub-ids.
pub fn namespaces() -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    need(&Tool { program: "newuidmap", package: "uidmap", why: "lets an ordinary user build images" })?;
    let uid = rustix::process::geteuid().as_raw();
    let named = user_name(uid);
    let user = named.clone().unwrap_or_else(|| format!("labctl-{uid}"));
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // mmdebstrap looks for the name only.
        if named.is_none() || !has_range(&text, &user, uid) {
            let ranges = format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}");
            let (what, command) = match &named {
                Some(name) => (format!("a range of sub-ids for user {name} in {file}"), ranges),
                None => (
                    format!("a name for user id {uid}, with a range of sub-ids"),
                    format!("sudo useradd --uid {uid} --no-create-home {user} && {ranges}"),
                ),
            };
            return Err(Missing {
                what,
                why: "lets an ordinary user build images".to_string(),
                fix: format!("add one (any free range works): `{command}`, or build the image once as root"),
                fix_command: Some(command),
            });
        }
    }
    may_unshare()
}

/// The name of a user id; none if it has none. The environment may hold another user's.
pub fn user_name(uid: u32) -> Option<String> {
    let local = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&local, uid).or_else(|| {
        // It may come from a directory service (getent(1)).
        let asked = std::process::Command::new("getent").args(["passwd", &uid.to_string()]).stdin(std::process::Stdio::null()).output();
        named(&String::from_utf8_lossy(&asked.ok()?.stdout), uid)
    })
}

/// The name that a file like /etc/passwd (passwd(5)) gives a user id.
fn named(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

/// Fails if the kernel or a security module forbids what mmdebstrap needs as an ordinary user. Finds out by asking
/// mmdebstrap to do it.
fn may_unshare() -> Result<(), Missing> {
    let tried = std::process::Command::new(MMDEBSTRAP.program)
        .args(["--unshare-helper", "true"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    // If mmdebstrap cannot be started, another check reports that.
    if tried.map_or(true, |status| status.success()) {
        return Ok(());
    }
    let command = setting_that_forbids(&|setting| std::fs::read_to_string(format!("/proc/sys/{setting}")).ok());
    let fix = match &command {
        Some(command) => format!("allow it: `{command}`, or build the image once as root"),
        None => "this host (perhaps a container) does not allow it: build the image as root or on another host".to_owned(),
    };
    Err(Missing {
        what: "permission to create user namespaces".to_owned(),
        why: "lets an ordinary user build images".to_owned(),
        fix,
        fix_command: command,
    })
}

/// The command that undoes the setting that forbids user namespaces: Debian's, Ubuntu's (since 23.10) or the kernel's
/// own (namespaces(7)).
fn setting_that_forbids(read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let forbidding = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
    ];
    let found = forbidding.iter().find(|(setting, bad, _)| read(setting).is_some_and(|value| value.trim() == *bad))?;
    Some(format!("sudo sysctl -w {}={}", found.0.replace('/', "."), found.2))
}

/// Whether a file like /etc/subuid (subuid(5)) has a line for the user.
fn has_range(text: &str, user: &str, uid: u32) -> bool {
    text.lines().any(|line| {
        let owner = line.split(':').next().unwrap_or("");
        !owner.is_empty() && (owner == user || owner == uid.to_string())
    })
}

/// Everything that images need and this host lacks; empty if nothing is missing.
pub fn images() -> Vec<Missing> {
    let tools = [MMDEBSTRAP, MKE2FS].into_iter().filter_map(|tool| need(&tool).err());
    tools.chain(namespaces().err()).collect()
}

/// What vendors' signed releases need and this host lacks; empty if nothing is missing. A local folder or a program
/// that is built here needs none of it.
pub fn releases() -> Vec<Missing> {
    need(&artifact::GPGV).err().into_iter().collect()
}

/// Everything that locally built artifacts need and this host lacks; empty if nothing is missing. A release or a local
/// folder needs none of it.
pub fn artifacts() -> Vec<Missing> {
    [artifact::go(None), artifact::cargo()].into_iter().filter_map(Result::err).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_namespaces_is_found() {
        let of =
            |name: &'static str, value: &'static str| setting_that_forbids(&move |asked| (asked == name).then(|| format!("{value}\n")));
        assert_eq!(of("kernel/unprivileged_userns_clone", "0").as_deref(), Some("sudo sysctl -w kernel.unprivileged_userns_clone=1"));
        let ubuntu = of("kernel/apparmor_restrict_unprivileged_userns", "1");
        assert_eq!(ubuntu.as_deref(), Some("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"));
        assert_eq!(of("user/max_user_namespaces", "31000"), None);
    }

    #[test]
    fn a_user_is_named_as_the_system_names_it() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(named(passwd, 1000).as_deref(), Some("anna"));
        assert_eq!((named(passwd, 1001), named("", 0)), (None, None));
        assert_eq!(user_name(0).as_deref(), Some("root"));
    }

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let text = "anna:100000:65536\n1001:165536:65536\n";
        assert!(has_range(text, "anna", 5));
        assert!(has_range(text, "bert", 1001));
        assert!(!has_range(text, "bert", 5));
        assert!(!has_range("", "", 5));
    }
}
