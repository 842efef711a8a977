//! Boot and shutdown of the guest, through its init system.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use labctl_wire::{AgentError, Reply};

use super::units::{connect, refused};
use crate::systemd::CallError;

/// ext4: grows a mounted file system to this many blocks (fs/ext4/ext4.h, `EXT4_IOC_RESIZE_FS`).
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

/// Tells systemd that the network and the port are ready (sd_notify(3)).
pub fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(why) = sent {
        eprintln!("labctl-agent: systemd could not be notified: {why}");
    }
}

/// Grows the root file system to the size of its device, by one system call; does nothing if it already has that size.
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
    // `f_blocks` excludes the file system's own structures: at most about 6 % with the default inode density.
    if now.f_blocks + now.f_blocks / 10 >= blocks {
        return Ok(());
    }
    // SAFETY: the descriptor is open and the call reads one u64 through the pointer.
    match unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw const blocks) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How long systemd may be unreachable while it re-executes itself.
const ABSENCE: Duration = Duration::from_secs(10);

/// Waits until systemd has finished booting.
pub fn await_booted() -> Result<Reply, AgentError> {
    await_booted_under(Path::new("/"))
}

fn await_booted_under(root: &Path) -> Result<Reply, AgentError> {
    let mut systemd = connect(root)?;
    let state = loop {
        match systemd.started_state() {
            Ok(state) => break state,
            // systemd closes its connections when it re-executes itself, which a unit may request during boot.
            Err(CallError::Io(why)) if why.kind() != io::ErrorKind::WouldBlock => systemd = reconnect(root)?,
            Err(why) => return Err(refused("SystemState")(why)),
        }
    };
    let failed = if state == "running" { Vec::new() } else { systemd.failed_units().map_err(refused("failed units"))? };
    Ok(Reply::Booted { state, failed })
}

/// Checks every 20 ms for the new systemd: the return of a socket produces no event.
fn reconnect(root: &Path) -> Result<crate::systemd::Systemd, AgentError> {
    let deadline = Instant::now() + ABSENCE;
    loop {
        match connect(root) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}

/// Asks systemd to start `poweroff.target` or `reboot.target`; returns once that has started.
pub fn leave_by(target: &str) -> Result<Reply, AgentError> {
    connect(Path::new("/"))?.leave_by(target).map(|()| Reply::Done).map_err(refused(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::test_peer::{Answer, Arg, play, text};

    #[test]
    fn the_end_of_the_boot_is_awaited_over_a_reexecution() {
        let folder = tempfile::tempdir().unwrap();
        let mut states = vec!["degraded", "starting", "initializing"];
        play(folder.path(), move |call| match call.member.as_str() {
            "Get" => {
                let state = states.pop().unwrap_or("degraded");
                let reply = Answer::Reply("v", vec![text(state)]);
                match state {
                    "initializing" => vec![reply, Answer::Close],
                    "starting" => {
                        vec![reply, Answer::Signal("UnitNew", "s", vec![text("x")]), Answer::Signal("StartupFinished", "", vec![])]
                    }
                    _ => vec![reply],
                }
            }
            _ => {
                let unit = ["web.service", "", "loaded", "failed", "failed", "", "/unit"].map(text);
                let unit = unit.into_iter().chain([Arg::Unsigned(0), text(""), text("/")]).collect();
                vec![Answer::Reply("a(ssssssouso)", vec![Arg::List(vec![Arg::List(unit)])])]
            }
        });
        let Reply::Booted { state, failed } = await_booted_under(folder.path()).unwrap() else { panic!("another reply") };
        assert_eq!((state.as_str(), failed), ("degraded", vec!["web.service".to_owned()]));
    }
}
