//! QEMU's version, and whether it was built with a filter for its own system calls: queried once for each program.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::argv::{SANDBOX, program};
use crate::{MachineError, cache};

/// The program that was queried, as it was then.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    path: PathBuf,
    inode: u64,
    size: u64,
    /// When its inode was last changed (stat(2)): seconds, nanoseconds.
    changed: (i64, i64),
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    asked: Asked,
    version: String,
    /// Whether it accepts [`SANDBOX`]. Missing in notes of older versions, which are therefore not read.
    sandbox: bool,
}

/// What this process has found out or read about the filter, for all machines that it starts.
static HAS_SANDBOX: OnceCell<bool> = OnceCell::const_new();

/// QEMU's version line, such as `QEMU emulator version 7.2.22 (Debian ...)`: saved state fits only the version that
/// wrote it. Read from `cache` if the program has not changed since it was queried, because starting it for this takes
/// a tenth of the time of a fork.
pub(super) async fn version(cache: &Path) -> Result<String, MachineError> {
    let asked = found();
    if let (Some(asked), Some(known)) = (&asked, cache::read::<Answer>(cache))
        && known.asked == *asked
    {
        let _ = HAS_SANDBOX.set(known.sandbox);
        return Ok(known.version);
    }
    let (version, sandbox) = query().await?;
    let _ = HAS_SANDBOX.set(sandbox);
    if let Some(asked) = asked.filter(|_| !version.is_empty()) {
        cache::write(cache, &Answer { asked, version: version.clone(), sandbox })?;
    }
    Ok(version)
}

/// Whether QEMU can filter its own system calls. A process that has asked for the version knows it already.
pub(super) async fn has_sandbox() -> bool {
    *HAS_SANDBOX.get_or_init(|| async { query().await.is_ok_and(|(_, sandbox)| sandbox) }).await
}

/// The version line, empty if it gives none, and whether it accepts [`SANDBOX`]: a build without the filter refuses that option before it
/// comes to the next one.
async fn query() -> Result<(String, bool), MachineError> {
    for (options, sandbox) in [(SANDBOX.as_slice(), true), ([].as_slice(), false)] {
        let output = Command::new(program()).args(options).arg("--version").stdin(Stdio::null()).output().await;
        let output = output.map_err(MachineError::start(program()))?;
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            return Ok((text.lines().next().unwrap_or_default().trim().to_owned(), sandbox));
        }
    }
    Ok((String::new(), false))
}

/// The program that would be started; `None` if it is a script, which may run any other program.
fn found() -> Option<Asked> {
    let folders = std::env::var_os("PATH")?;
    let path = std::env::split_paths(&folders).map(|folder| folder.join(program())).find(|path| path.is_file())?;
    let mut begin = [0; 2];
    fs::File::open(&path).and_then(|mut file| file.read_exact(&mut begin)).ok()?;
    let about = fs::metadata(&path).ok().filter(|_| begin != *b"#!")?;
    Some(Asked { path, inode: about.ino(), size: about.size(), changed: (about.ctime(), about.ctime_nsec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_program_is_asked_and_the_same_one_is_not() {
        let Some(asked) = found() else {
            labctl_skip::skip!("qemu", "{} is not installed, or is a script", program());
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("qemu.json");
        let told = version(&kept).await.unwrap();
        assert!(told.contains("version"), "{told}");
        cache::write(&kept, &Answer { asked, version: "kept".into(), sandbox: false }).unwrap();
        assert_eq!(version(&kept).await.unwrap(), "kept");
        let other = Asked { size: 1, ..found().unwrap() };
        cache::write(&kept, &Answer { asked: other, version: "old".into(), sandbox: false }).unwrap();
        assert_eq!(version(&kept).await.unwrap(), told);
        fs::write(&kept, "{").unwrap();
        assert_eq!(version(&kept).await.unwrap(), told);
    }
}
