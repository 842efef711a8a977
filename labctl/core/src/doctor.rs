//! What the host lacks, with the command that fixes it.

mod logout;

use labctl_image::missing::Missing;
use labctl_lab::Failure;
use labctl_lab::home::Home;
use labctl_machine::accel::Accel;
use labctl_machine::driver::Driver;
use labctl_machine::qemu::{self, QEMU};
use serde::Serialize;

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// Whether labctl can work with it as it is.
    pub good: bool,
    /// What was found.
    pub found: String,
    /// The command that fixes it.
    pub fix: Option<String>,
}

impl Check {
    fn good(what: &str, found: impl Into<String>) -> Self {
        Self { what: what.into(), good: true, found: found.into(), fix: None }
    }

    fn bad(what: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), good: false, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Checks everything. `fresh` tests the accelerator again.
pub async fn examine(home: &Home, fresh: bool) -> Result<Vec<Check>, Failure> {
    let mut checks = vec![qemu_version()];
    checks.extend(qemu_img());
    if checks[0].good {
        let notes = home.driver_notes();
        if fresh {
            QEMU.forget(&notes);
        }
        let finding = QEMU.accel(&notes, &QEMU.version(&notes).await?).await?;
        checks.push(match finding.accel {
            Accel::Tcg => Check {
                what: "accelerator".into(),
                good: true,
                found: format!("emulation (tcg), ten times slower: {}", finding.why),
                fix: finding.why.contains("/dev/kvm").then(kvm),
            },
            fast => Check::good("accelerator", format!("{}, proved by a probe guest", fast.as_str())),
        });
    }
    for missing in labctl_image::doctor::images() {
        checks.push(Check::bad(&missing.what, format!("missing; it {}", missing.why), missing.fix_command.unwrap_or(missing.fix)));
    }
    let optional = |what_for: &'static str| {
        move |missing: Missing| Check {
            what: missing.what,
            good: true,
            found: format!("missing; only needed for roles whose programs {what_for}"),
            fix: Some(missing.fix_command.unwrap_or(missing.fix)),
        }
    };
    checks.extend(labctl_image::doctor::releases().into_iter().map(optional("are a vendor's signed release")));
    let built = "are built here because the vendor's release cannot be reached";
    checks.extend(labctl_image::doctor::artifacts().into_iter().map(optional(built)));
    checks.push(privileged_ports());
    checks.extend(space(home));
    checks.extend(logout::check());
    checks.extend(
        crate::openness::of(home).into_iter().map(|found| Check::bad("store", found, format!("chmod -R o-w {}", home.store().display()))),
    );
    Ok(checks)
}

/// The command that lets this user use KVM.
fn kvm() -> String {
    let uid = rustix::process::geteuid().as_raw();
    match labctl_image::doctor::user_name(uid) {
        Some(name) => format!("sudo usermod -aG kvm {name}   (then log in again)"),
        // Only names can be members of a group.
        None => format!("sudo setfacl -m u:{uid}:rw /dev/kvm"),
    }
}

fn qemu_version() -> Check {
    let program = qemu::program();
    let Ok(output) = std::process::Command::new(program).arg("--version").stdin(std::process::Stdio::null()).output() else {
        return Check::bad("QEMU", format!("{program} is not installed"), "sudo apt-get install qemu-system-x86 qemu-utils");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("0");
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let version_number: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version_number >= (7, 2) {
        true => Check::good("QEMU", version),
        false => Check::bad(
            "QEMU",
            format!("{version}; 7.2 or newer is needed (-netdev stream)"),
            "upgrade QEMU, for example from your distribution's backports",
        ),
    }
}

/// Creates the nodes' disks; Debian ships it in a separate package.
fn qemu_img() -> Option<Check> {
    let tried = std::process::Command::new("qemu-img").arg("--version").stdin(std::process::Stdio::null()).output();
    tried.is_err().then(|| Check::bad("`qemu-img`", "missing; it makes the nodes' disks", "sudo apt-get install qemu-utils"))
}

/// What an image and a few nodes need initially.
const SPACE: u64 = 4 << 30;

/// Space for images, disks and saved memory.
fn space(home: &Home) -> Option<Check> {
    let store = home.store();
    let existing = store.ancestors().find(|folder| folder.exists())?;
    let about = rustix::fs::statvfs(existing).ok()?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let found = format!("{} GiB free in {}", free >> 30, existing.display());
    Some(match free < SPACE {
        true => Check::bad("disk space", found, "free some space, or set LABCTL_HOME to a folder on a larger disk"),
        false => Check::good("disk space", found),
    })
}

/// Ports below 1024 on loopback addresses: `http://frontend.lb.demo/` needs port 80.
fn privileged_ports() -> Check {
    let what = "ports below 1024";
    match std::net::TcpListener::bind(("127.64.255.254", 80)) {
        Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => Check {
            what: what.into(),
            good: true,
            found: "this user cannot publish them; use a higher port, as in publish: [\"8080:80\"], or allow it".into(),
            fix: Some("sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80".into()),
        },
        _ => Check::good(what, "can be published"),
    }
}
