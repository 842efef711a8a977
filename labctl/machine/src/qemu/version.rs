//! QEMU's version, queried once for each program.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::argv::program;
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
}

/// QEMU's version line, such as `QEMU emulator version 7.2.22 (Debian ...)`: saved state fits only the version that
/// wrote it. Read from `cache` if the program has not changed since it was queried, because starting it for this takes
/// a tenth of the time of a fork.
pub(super) async fn version(cache: &Path) -> Result<String, MachineError> {
    let asked = found();
    if let (Some(asked), Some(known)) = (&asked, cache::read::<Answer>(cache))
        && known.asked == *asked
    {
        return Ok(known.version);
    }
    let output = Command::new(program()).arg("--version").stdin(Stdio::null()).output().await;
    let output = output.map_err(MachineError::start(program()))?;
    let version = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
    if let Some(asked) = asked.filter(|_| output.status.success()) {
        cache::write(cache, &Answer { asked, version: version.clone() })?;
    }
    Ok(version)
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
        cache::write(&kept, &Answer { asked, version: "kept".into() }).unwrap();
        assert_eq!(version(&kept).await.unwrap(), "kept");
        let other = Asked { size: 1, ..found().unwrap() };
        cache::write(&kept, &Answer { asked: other, version: "old".into() }).unwrap();
        assert_eq!(version(&kept).await.unwrap(), told);
        fs::write(&kept, "{").unwrap();
        assert_eq!(version(&kept).await.unwrap(), told);
    }
}
