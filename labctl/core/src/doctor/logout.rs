//! Whether a lab that is started here outlives the user's session: systemd may end all of a user's processes at logout.
//!
//! ```text
//! user-1000.slice/session-3.scope            a login; ended if logind.conf has KillUserProcesses=yes
//! user-1000.slice/user@1000.service/...      a desktop's programs; ended when the user's last session is, unless the user lingers
//! ```

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Check;

/// Checks the session that this process is in; nothing to tell where systemd does not manage sessions.
pub fn check() -> Option<Check> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let user = labctl_image::doctor::user_name(rustix::process::getuid().as_raw())?;
    let lingers = Path::new("/var/lib/systemd/linger").join(user).exists();
    let place = place(&cgroups)?;
    Some(verdict(place, lingers, place == Place::Login && logind_kills()))
}

/// Where systemd has put a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the scope of a login.
    Login,
    /// Below the user's own service manager.
    Manager,
}

fn place(cgroups: &str) -> Option<Place> {
    let has = |start: &str, end: &str| cgroups.split(['/', '\n']).any(|part| part.starts_with(start) && part.ends_with(end));
    match (has("user@", ".service"), has("session-", ".scope")) {
        (true, _) => Some(Place::Manager),
        (false, true) => Some(Place::Login),
        (false, false) => None,
    }
}

/// logind's setting, asked of logind itself (org.freedesktop.login1(5)).
fn logind_kills() -> bool {
    let [service, object, interface] = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
    let asked = Command::new("busctl")
        .args(["--system", "--timeout=2", "get-property", service, object, interface, "KillUserProcesses"])
        .stdin(Stdio::null())
        .output();
    asked.is_ok_and(|answer| answer.stdout.trim_ascii() == b"b true")
}

fn verdict(place: Place, lingers: bool, kills: bool) -> Check {
    let what = "labs after logout".to_owned();
    match (place, lingers, kills) {
        (Place::Manager, false, _) => Check {
            what,
            good: true,
            found: "a lab that is started here ends when you log out, because systemd stops your desktop's programs".into(),
            fix: Some("loginctl enable-linger".into()),
        },
        (Place::Login, _, true) => Check {
            what,
            good: true,
            found: "a lab that is started here ends when you log out, because logind has KillUserProcesses=yes".into(),
            fix: Some("loginctl enable-linger && systemd-run --user --scope labctl up   (starts it outside of the session)".into()),
        },
        _ => Check { what, good: true, found: "keep running".into(), fix: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_control_group() {
        let login = "0::/user.slice/user-1000.slice/session-3.scope\n";
        let desktop = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-terminal-7.scope\n";
        assert_eq!((place(login), place(desktop)), (Some(Place::Login), Some(Place::Manager)));
        assert_eq!(place("0::/system.slice/cron.service\n9:name=systemd:/\n"), None);
    }

    #[test]
    fn what_ends_at_logout_is_told_with_the_way_out() {
        let ends = |place, lingers, kills| verdict(place, lingers, kills).fix.is_some();
        assert!(ends(Place::Manager, false, false) && !ends(Place::Manager, true, false));
        assert!(ends(Place::Login, true, true) && !ends(Place::Login, false, false));
    }
}
