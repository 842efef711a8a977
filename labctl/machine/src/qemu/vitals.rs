//! What can be seen of a running QEMU from outside.

use std::fs;

use serde_json::Value;

use super::Qemu;
use super::qmp::Qmp;
use crate::MachineError;

/// Thread ids of the virtual CPUs.
pub(super) async fn vcpus(qmp: &Qmp) -> Result<Vec<i32>, MachineError> {
    let cpus = qmp.execute("query-cpus-fast", Value::Null).await?;
    let ids = cpus.as_array().into_iter().flatten().filter_map(|cpu| i32::try_from(cpu["thread-id"].as_i64()?).ok());
    Ok(ids.collect())
}

impl Qemu {
    /// About how many bytes of its memory the machine has written, as the host's kernel counts them: not exact, for it may run. 0 if the
    /// system does not report it.
    pub fn written_memory(&self) -> u64 {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid())).unwrap_or_default();
        let file = self.machine().ram.file().map(|file| file.display().to_string());
        dirty_bytes(&smaps, self.machine().memory.0, file.as_deref())
    }
}

/// Bytes of private dirty pages (proc_pid_smaps(5)) in mappings of this file, or without one in mappings of this size.
fn dirty_bytes(smaps: &str, size: u64, file: Option<&str>) -> u64 {
    let mut sum = 0;
    let mut ours = false;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((begin, end)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let bytes = u64::from_str_radix(end, 16).ok().zip(u64::from_str_radix(begin, 16).ok()).map_or(0, |(end, begin)| end - begin);
            ours = match file {
                Some(file) => line.ends_with(file),
                None => bytes == size,
            };
        } else if ours && first == "Private_Dirty:" {
            sum += words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_was_written_is_that_of_its_mapping() {
        let smaps = "7e00-8000 rw-p 00000000 fe:00 12 /store/templates/1/ram\nRss: 200 kB\nPrivate_Dirty:       120 kB\n\
                     8000-8100 rw-p 00000000 00:00 0 \nPrivate_Dirty:       7 kB\nVmFlags: rd wr\n\
                     9000-9100 rw-p 00000000 fe:00 12 /store/templates/1/ram\nPrivate_Dirty:       4 kB\n";
        assert_eq!(dirty_bytes(smaps, 0x100, Some("/store/templates/1/ram")), 124 << 10);
        assert_eq!(dirty_bytes(smaps, 0x100, None), 11 << 10);
        assert_eq!(dirty_bytes("", 0x100, None), 0);
    }
}
