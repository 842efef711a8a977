//! `copy`: text, a file or folder on the controller, or a file that is already on the host.

use std::path::{Path, PathBuf};

use super::remote::{Parcel, json_flag};
use super::{Action, Done, Stop, result};
use crate::controller::{Controller, Entry};
use crate::data::{Data, Dict};
use crate::{json, python};

/// Text up to this size is sent with the call.
const INLINE: usize = 64 << 10;

impl Action {
    pub(super) async fn copy(&self) -> Done {
        let dest = self.need("dest")?;
        let has_content = self.args.get("content").is_some_and(|content| !matches!(content, Data::Null));
        if !has_content && self.text("src").is_none() {
            return Err(Stop::Failed("src (or content) is required".to_owned()));
        }
        if has_content && self.text("src").is_some() {
            return Err(Stop::Failed("src and content are mutually exclusive".to_owned()));
        }
        if has_content {
            return self.copy_text(&dest).await;
        }
        if self.flag("remote_src", false)? {
            return self.remote("copy", self.args.clone()).await;
        }
        let src = self.need("src")?;
        let path = self.local_file("files", &src)?;
        if self.scope.controller().is_folder(&path) {
            return self.copy_folder(&src, &path, &dest).await;
        }
        let mut args = self.args_without(&["src", "local_follow", "decrypt"]);
        args.insert("src".into(), Data::from(path.display().to_string()));
        self.deliver("copy", args, Parcel::of_file(&path, self.scope.controller()).await?).await
    }

    async fn copy_text(&self, dest: &str) -> Done {
        if dest.ends_with('/') {
            return Err(Stop::Failed("can not use content with a dir as dest".to_owned()));
        }
        let content = self.args.get("content").cloned().unwrap_or_default();
        // Mappings and lists are written as JSON.
        let text = match &content {
            Data::Map(_) | Data::List(_) => {
                json::compact(&content, &json::Options { indent: None, sort_keys: false, ensure_ascii: true, separators: None })
            }
            other => python::str_of(other),
        };
        let mut args = self.args_without(&["content"]);
        if text.len() <= INLINE {
            args.insert("content".into(), text.into());
            return self.remote("copy", args).await;
        }
        self.deliver("copy", args, Parcel::of_bytes(text.into_bytes())).await
    }

    /// Copies a folder: only its contents if the path ends with a slash, otherwise the folder itself.
    async fn copy_folder(&self, src: &str, path: &Path, dest: &str) -> Done {
        let mut base = PathBuf::from(dest);
        if !src.ends_with('/') {
            base.push(path.file_name().unwrap_or_default());
        }
        let mut entries = Vec::new();
        walk(&self.scope.controller(), path, path, &mut entries).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut changed = false;
        let mut folders = vec![PathBuf::new()];
        folders.extend(entries.iter().filter(|(_, is_dir)| *is_dir).map(|(relative, _)| relative.clone()));
        for relative in folders {
            let mut args = Dict::new();
            for key in ["owner", "group", "attributes", "selevel", "serole", "setype", "seuser"] {
                if let Some(value) = self.args.get(key) {
                    args.insert(key.into(), value.clone());
                }
            }
            if let Some(mode) = self.args.get("directory_mode") {
                args.insert("mode".into(), mode.clone());
            }
            args.insert("path".into(), Data::from(base.join(&relative).display().to_string().trim_end_matches('/').to_owned()));
            args.insert("state".into(), Data::str("directory"));
            let answer = self.remote("file", args).await?;
            if json_flag(&answer, "failed") {
                return Ok(answer);
            }
            changed |= json_flag(&answer, "changed");
        }
        for (relative, _) in entries.iter().filter(|(_, is_dir)| !*is_dir) {
            let local = path.join(relative);
            let mut args = self.args_without(&["src", "local_follow", "decrypt", "directory_mode"]);
            args.insert("src".into(), Data::from(local.display().to_string()));
            args.insert("dest".into(), Data::from(base.join(relative).display().to_string()));
            let answer = self.deliver("copy", args, Parcel::of_file(&local, self.scope.controller()).await?).await?;
            if json_flag(&answer, "failed") {
                return Ok(answer);
            }
            changed |= json_flag(&answer, "changed");
        }
        Ok(result([("changed", changed.into()), ("src", path.display().to_string().into()), ("dest", dest.into())]))
    }
}

/// All entries below a folder, relative to it, sorted; folders before their contents.
fn walk(controller: &Controller, root: &Path, folder: &Path, out: &mut Vec<(PathBuf, bool)>) -> std::io::Result<()> {
    for Entry { path, is_folder } in controller.entries(folder)? {
        out.push((path.strip_prefix(root).unwrap_or(&path).to_path_buf(), is_folder));
        if is_folder {
            walk(controller, root, &path, out)?;
        }
    }
    Ok(())
}
