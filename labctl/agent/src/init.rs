//! Process 1 of the initrd: kernel modules, the root file system, the node's identity, then the guest's own init.
//!
//! One static program instead of a shell with a dozen helpers: under emulation every process costs 22 ms. The initrd holds
//! `/modules/order` with the module files in load order, `/labctl/identity.json` if this is the node's first boot, and this program as
//! `/init`. The kernel's command line contains `root=`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labctl_wire::Identity;
use rustix::mount::{MountFlags, mount, mount_move};

use crate::identity;

/// Where the root file system is mounted before it becomes the root.
const SYSROOT: &str = "/sysroot";

/// How long to wait for the root device.
const DEVICE_DEADLINE: Duration = Duration::from_secs(30);

/// The service that keeps the agent running. It is placed in /run, so that the image needs no knowledge of labctl and every boot gets the
/// agent of the labctl that started it.
const UNIT: &str = "[Unit]
Description=labctl agent
DefaultDependencies=no
Before=sysinit.target network-pre.target network.target network-online.target ssh.service
Wants=network-pre.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/run/labctl/agent serve
Restart=always
RestartSec=100ms
KillMode=process
OOMScoreAdjust=-900
StandardOutput=null
StandardError=file:/dev/kmsg
";

/// Boots the guest; returns only on failure.
pub fn run() -> io::Error {
    match prepare() {
        Ok(init) => exec(&init),
        Err(why) => why,
    }
}

fn prepare() -> io::Result<CString> {
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(place)?;
        mount(kind, place, kind, MountFlags::NOSUID, None)?;
    }
    load_modules();
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let root = argument(&command_line, "root").unwrap_or("/dev/vda");
    await_device(root)?;
    fs::create_dir_all(SYSROOT)?;
    mount(root, SYSROOT, "ext4", MountFlags::NOATIME, None).map_err(|why| io::Error::other(format!("mount {root}: {why}")))?;
    let run = format!("{SYSROOT}/run");
    fs::create_dir_all(&run)?;
    mount("tmpfs", &run, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?;
    install_agent(Path::new(&run))?;
    take_identity(Path::new(SYSROOT))?;
    for place in ["/dev", "/proc", "/sys"] {
        mount_move(place, format!("{SYSROOT}{place}").as_str())?;
    }
    enter_root()?;
    CString::new(argument(&command_line, "init").unwrap_or("/sbin/init")).map_err(io::Error::other)
}

/// The value of `name=` on the kernel's command line.
fn argument<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Loads the modules listed in `/modules/order`. A module that fails is reported and skipped: the boot may not need it.
fn load_modules() {
    let order = fs::read_to_string("/modules/order").unwrap_or_default();
    for name in order.split_whitespace() {
        let loaded = fs::File::open(format!("/modules/{name}"))
            .and_then(|file| rustix::system::finit_module(&file, c"", 0).map_err(io::Error::from));
        if let Err(why) = loaded {
            eprintln!("labctl-agent: module {name}: {why}");
        }
    }
}

/// Waits for a device node. There is no udev yet and devtmpfs cannot be watched, so this polls; drivers usually have it ready at once.
fn await_device(device: &str) -> io::Result<()> {
    let deadline = Instant::now() + DEVICE_DEADLINE;
    while !Path::new(device).exists() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the root device {device} did not appear")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn install_agent(run: &Path) -> io::Result<()> {
    let folder = run.join("labctl");
    fs::create_dir_all(&folder)?;
    let agent = folder.join("agent");
    fs::copy("/init", &agent)?;
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
    let units = run.join("systemd/system");
    let wants = units.join("sysinit.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(units.join("labctl-agent.service"), UNIT)?;
    symlink("../labctl-agent.service", wants.join("labctl-agent.service"))
}

/// Writes the identity's files into the root before anything there runs, so that host name, keys and machine-id are right from the start.
fn take_identity(root: &Path) -> io::Result<()> {
    let Ok(text) = fs::read("/labctl/identity.json") else { return Ok(()) };
    let mut identity: Identity = serde_json::from_slice(&text).map_err(io::Error::other)?;
    // The initrd is as old as the machine's start: a guest that reboots must not be set back to that time. The kernel has the time from
    // the machine's clock.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    if u128::from(identity.clock_ns) < now {
        identity.clock_ns = 0;
    }
    identity::mend_kernel(&identity)?;
    let before = identity::kept(root);
    let user = before.as_ref().and_then(|before| before.user.clone());
    if let Err(why) = identity::user::write(root, user.as_ref(), &identity) {
        eprintln!("labctl-agent: {why}");
        // The controller sees that the guest has no such user, tries again once the guest runs, and reports what is wrong.
        identity.user = user;
    }
    identity::write_files(root, before.as_ref(), &identity)
}

/// Makes the mounted root the root of this process and frees the initrd's memory.
fn enter_root() -> io::Result<()> {
    for leftover in ["/init", "/modules", "/labctl"] {
        let _ = fs::remove_file(leftover).or_else(|_| fs::remove_dir_all(leftover));
    }
    std::env::set_current_dir(SYSROOT)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")
}

fn exec(init: &CString) -> io::Error {
    let arguments = [init.as_ptr(), std::ptr::null()];
    let environment = [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(), std::ptr::null()];
    // SAFETY: path, arguments and environment are null-terminated and live until the call, which returns only on failure.
    unsafe { libc::execve(init.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::argument;

    #[test]
    fn finds_arguments_on_the_command_line() {
        let line = "console=ttyS0 root=/dev/vda1 rootflags=x quiet\n";
        assert_eq!(argument(line, "root"), Some("/dev/vda1"));
        assert_eq!(argument(line, "init"), None);
        assert_eq!(argument(line, "quiet"), None);
    }
}
