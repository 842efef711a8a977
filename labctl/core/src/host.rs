//! What the host must provide for a lab.

use std::fs;
use std::path::Path;

use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind, node_folder};
use labctl_spec::lab::Lab;
use labctl_spec::size::Size;

/// Free disk space that a lab's overlays need initially, at least, per node.
const DISK_PER_NODE: Size = Size::mib(256);

/// Refuses a lab that exceeds the host's resources.
pub fn check(home: &Home, lab: &Lab) -> Result<(), Failure> {
    check_memory(lab, total_memory())?;
    let lab_home = home.lab(&lab.name);
    let new = lab.nodes.iter().filter(|node| node_folder::is_new(&lab_home, &node.name)).count();
    check_disk(new, &home.labs())
}

/// Raises this process's and its children's limit of open files to the hard limit: the usual soft limit of 1024 is there for programs that
/// use select(2) (getrlimit(2)), and a lab of 100 nodes with their connections exceeds it.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // The kernel does not refuse this; if it did, smaller labs would still work.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Marks whatever this process was started with besides the three standard streams as its own: otherwise every machine would hold the pipes
/// and sockets of the program that started labctl for as long as it runs. To be called before there are threads.
pub fn keep_descriptors() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|number: &i32| *number > 2);
        let Some(number) = number else { continue };
        // SAFETY: it is borrowed for this one call. It was open when the folder was read, and only this thread could have closed it.
        let descriptor = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
        // Nothing can be done about one that cannot be marked.
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
}

/// The host's memory, if known.
fn total_memory() -> Option<Size> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Size(kib << 10))
}

fn check_memory(lab: &Lab, total: Option<Size>) -> Result<(), Failure> {
    let wanted = Size(lab.nodes.iter().map(|node| node.memory.0).sum());
    match total {
        Some(total) if wanted > total => Err(Failure::new(
            Kind::Host,
            format!("{}: the nodes need {wanted} of memory in total, but this host has {} MiB", lab.file.display(), total.as_mib()),
        )
        .hint("give the nodes less `memory`, or reduce a `count`")),
        _ => Ok(()),
    }
}

/// Room for the disks of that many new nodes.
fn check_disk(new: usize, folder: &Path) -> Result<(), Failure> {
    let Some(existing) = folder.ancestors().find(|folder| folder.exists()) else { return Ok(()) };
    let about = rustix::fs::statvfs(existing).map_err(|why| Failure::io(existing.display())(why.into()))?;
    let free = Size(about.f_bavail * about.f_frsize);
    let wanted = Size(DISK_PER_NODE.0 * new as u64);
    if free < wanted {
        let message =
            format!("{}: {} MiB free, but the lab's new nodes need at least {} MiB", existing.display(), free.as_mib(), wanted.as_mib());
        return Err(Failure::new(Kind::Host, message).hint("free some space, or set LABCTL_HOME to a folder on a larger disk"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_the_hosts_is_refused() {
        let text = "name: big\nnodes:\n  - name: a\n    count: 3\n    memory: 4G\n";
        let lab = labctl_spec::parse_lab(text, Path::new("/big.yml")).unwrap();
        let why = check_memory(&lab, Some(Size::mib(8192))).unwrap_err();
        assert_eq!(why.message, "/big.yml: the nodes need 12G of memory in total, but this host has 8192 MiB");
        assert_eq!(why.kind, Kind::Host);
        check_memory(&lab, Some(Size::mib(16384))).unwrap();
        check_memory(&lab, None).unwrap();
    }
}
