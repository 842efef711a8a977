//! The guest's start and end, by way of its init.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use labctl_wire::{AgentError, ErrorKind, Reply};

use super::failed;

/// ext4: grows a mounted file system to so many blocks (fs/ext4/ext4.h, `EXT4_IOC_RESIZE_FS`).
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

/// Tells systemd that the network and the port are ready (sd_notify(3)).
pub fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(why) = sent {
        eprintln!("labctl-agent: systemd could not be notified: {why}");
    }
}

/// Grows the root file system to its device, by one system call; does nothing if it has that size.
pub fn grow_root() -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let Some(device) = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        (place == "/" && kind == "ext4").then_some(device)
    }) else {
        return Ok(());
    };
    let name = device.trim_start_matches("/dev/");
    let sectors = fs::read_to_string(format!("/sys/class/block/{name}/size"))?;
    let sectors: u64 = sectors.trim().parse().map_err(io::Error::other)?;
    let root = File::open("/")?;
    let now = rustix::fs::fstatvfs(&root)?;
    let blocks = sectors * 512 / now.f_frsize;
    // `f_blocks` leaves out the file system's own structures: at most about 6 % with the default inode density.
    if now.f_blocks + now.f_blocks / 10 >= blocks {
        return Ok(());
    }
    // SAFETY: the descriptor is open and the call reads one u64 through the pointer.
    match unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw const blocks) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until systemd has started everything.
pub fn await_booted() -> Result<Reply, AgentError> {
    let output = Command::new("systemctl")
        .args(["is-system-running", "--wait"])
        .stdin(Stdio::null())
        .output()
        .map_err(failed("systemctl is-system-running"))?;
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let failed_units = if state == "running" { Vec::new() } else { failed_units()? };
    Ok(Reply::Booted { state, failed: failed_units })
}

fn failed_units() -> Result<Vec<String>, AgentError> {
    let output = Command::new("systemctl")
        .args(["list-units", "--state=failed", "--plain", "--no-legend"])
        .stdin(Stdio::null())
        .output()
        .map_err(failed("systemctl list-units"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// Asks systemd to power off or to reboot; returns once it has begun.
pub fn systemctl(verb: &str) -> Result<Reply, AgentError> {
    let output =
        Command::new("systemctl").args(["--no-block", verb]).stdin(Stdio::null()).output().map_err(failed(format!("systemctl {verb}")))?;
    if output.status.success() {
        return Ok(Reply::Done);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(AgentError { kind: ErrorKind::Io, message: format!("systemctl {verb}: {why}") })
}
