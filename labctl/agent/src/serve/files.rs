//! Files copied to and from the guest.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use labctl_wire::{AgentError, CHUNK, ErrorKind, Put, Reply, Stream};
use sha2::{Digest, Sha256};

use super::channel::{Channel, Input};
use super::failed;
use crate::accounts;

/// A temporary file that is removed unless it was renamed into place.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the request's input to a file: complete and under its final name, or not at all.
pub fn put(put: &Put, channel: &Channel) -> Result<Reply, AgentError> {
    let path = Path::new(&put.path);
    let (true, Some(folder), Some(name)) = (path.is_absolute(), path.parent(), path.file_name()) else {
        return Err(AgentError { kind: ErrorKind::Invalid, message: format!("`{}` is not an absolute file path", put.path) });
    };
    let root = Path::new("/");
    let owner = put.owner.as_deref().map(|owner| accounts::user_id(root, owner)).transpose().map_err(failed("owner"))?;
    let group = put.group.as_deref().map(|group| accounts::group_id(root, group)).transpose().map_err(failed("group"))?;
    fs::create_dir_all(folder).map_err(failed(folder.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".labctl-{}-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], ""));
    let temporary = Temporary(folder.join(hidden));
    let write = failed(temporary.0.display().to_string());
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary.0).map_err(write)?;
    let mut hash = Sha256::new();
    let mut size = 0u64;
    while let Input::Data(bytes) = channel.next_input()? {
        hash.update(&bytes);
        size += bytes.len() as u64;
        file.write_all(&bytes).map_err(failed(&put.path))?;
    }
    let sha256 = hex(&hash.finalize());
    if size != put.size {
        return Err(invalid(format!("{}: received {size} bytes, {} were announced", put.path, put.size)));
    }
    if let Some(wanted) = put.sha256.as_ref().filter(|wanted| **wanted != sha256) {
        return Err(invalid(format!("{}: received SHA-256 {sha256}, {wanted} was announced", put.path)));
    }
    file.set_permissions(fs::Permissions::from_mode(put.mode)).map_err(failed(&put.path))?;
    if owner.is_some() || group.is_some() {
        chown(&temporary.0, owner, group).map_err(failed(&put.path))?;
    }
    file.sync_all().map_err(failed(&put.path))?;
    fs::rename(&temporary.0, path).map_err(failed(&put.path))?;
    Ok(Reply::Written { sha256 })
}

fn invalid(message: String) -> AgentError {
    AgentError { kind: ErrorKind::Invalid, message }
}

/// Streams a file.
pub fn get(path: &Path, channel: &Channel) -> Result<Reply, AgentError> {
    let shown = path.display().to_string();
    let mut file = File::open(path).map_err(failed(&shown))?;
    let about = file.metadata().map_err(failed(&shown))?;
    if about.is_dir() {
        return Err(invalid(format!("{shown} is a folder")));
    }
    let mut hash = Sha256::new();
    let mut size = 0;
    loop {
        let mut chunk = vec![0; CHUNK];
        let length = file.read(&mut chunk).map_err(failed(&shown))?;
        if length == 0 {
            break;
        }
        chunk.truncate(length);
        hash.update(&chunk);
        size += length as u64;
        channel.send_when_allowed(Stream::Out, chunk)?;
    }
    Ok(Reply::Read { size, mode: about.mode() & 0o7777, sha256: hex(&hash.finalize()) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
