//! `fetch`: copies a file from the host to the controller.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::Digest;

use super::{Action, Done, Stop, result};
use crate::data::Data;
use crate::target::TargetError;
use crate::template::filters_paths::{expand_user, normal};

impl Action {
    pub(super) async fn fetch(&self) -> Done {
        if self.check {
            return Ok(result([
                ("changed", false.into()),
                ("skipped", true.into()),
                ("msg", "check mode not (yet) supported for this module".into()),
            ]));
        }
        let src = self.need("src")?;
        let controller = self.scope.controller();
        controller.uncovered("copies a file to the controller (fetch)");
        let mut dest = expand_user(&self.need("dest")?, &controller);
        let flat = self.flag("flat", false)?;
        let required = self.flag("fail_on_missing", true)?;
        let bytes = match self.target()?.get(&src).await {
            Ok(bytes) => bytes,
            Err(TargetError::Unreachable(message)) => return Err(Stop::Unreachable(message)),
            Err(TargetError::Failed(message)) if required => {
                return Err(Stop::Failed(format!("the remote file does not exist or can't be read: {message}")));
            }
            Err(TargetError::Failed(message)) => {
                return Ok(result([
                    ("changed", false.into()),
                    ("file", src.into()),
                    ("msg", format!("{message}, not transferring, ignored").into()),
                ]));
            }
        };
        if flat {
            if dest.ends_with('/') {
                dest.push_str(src.rsplit('/').next().unwrap_or_default());
            }
        } else {
            // HOST/PATH below the folder, never outside it.
            let inside = normal(Path::new("/").join(src.trim_start_matches('/')).as_path());
            dest = format!("{}/{}{}", dest.trim_end_matches('/'), self.host, inside.display());
        }
        let path = PathBuf::from(&dest);
        let path = if path.is_absolute() { path } else { self.play.play.folder.join(path) };
        let sum = hex::encode(sha1::Sha1::digest(&bytes));
        let same = controller.read(&path).is_ok_and(|old| old == bytes);
        if !same {
            write(&path, &bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(result([
            ("changed", (!same).into()),
            ("checksum", Data::str(&sum)),
            ("dest", path.display().to_string().into()),
            ("md5sum", hex::encode(md5::Md5::digest(&bytes)).into()),
            ("remote_checksum", sum.into()),
            ("file", src.into()),
        ]))
    }
}

/// Writes a file atomically.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    // Like any new file: subject to the umask.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
