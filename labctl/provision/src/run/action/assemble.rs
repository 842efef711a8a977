//! `assemble`: joins fragments into one file.

use super::remote::Parcel;
use super::{Action, Done, Stop};
use crate::template::filters_pattern::pattern;

impl Action {
    pub(super) async fn assemble(&self) -> Done {
        if self.flag("remote_src", true)? {
            return self.remote("assemble", self.args.clone()).await;
        }
        let src = self.need("src")?;
        let folder = self.local_file("files", &src)?;
        let regex = self.text("regexp").map(|text| pattern(&text, false, false)).transpose().map_err(|error| error.to_string())?;
        let hidden = self.flag("ignore_hidden", false)?;
        let delimiter = self.text("delimiter").map(|text| text.replace("\\n", "\n"));
        let unreadable = |error: std::io::Error| Stop::Failed(format!("Source ({src}) can't be read: {error}"));
        let controller = self.scope.controller();
        let entries = controller.entries(&folder).map_err(unreadable)?;
        let mut names: Vec<String> = entries
            .iter()
            .filter_map(|entry| Some(entry.path.file_name()?.to_string_lossy().into_owned()))
            .filter(|name| !(hidden && name.starts_with('.')))
            .filter(|name| regex.as_ref().is_none_or(|regex| regex.is_match(name.as_str()).unwrap_or(false)))
            .collect();
        names.sort();
        let mut out: Vec<u8> = Vec::new();
        let mut first = true;
        for name in names {
            let path = folder.join(&name);
            if !controller.is_file(&path) {
                continue;
            }
            // A fragment without a newline at the end must not run into the next one.
            if !first && out.last().is_some_and(|last| *last != b'\n') {
                out.push(b'\n');
            }
            if let (false, Some(delimiter)) = (first, &delimiter) {
                out.extend(delimiter.as_bytes());
                if !delimiter.ends_with('\n') {
                    out.push(b'\n');
                }
            }
            out.extend(controller.read(&path).map_err(unreadable)?);
            first = false;
        }
        let args = self.args_without(&["src", "remote_src", "regexp", "delimiter", "ignore_hidden", "decrypt"]);
        self.deliver("copy", args, Parcel::of_bytes(out)).await
    }
}
