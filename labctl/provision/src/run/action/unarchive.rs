//! `unarchive`: an archive from the controller, unless it is already on the host or comes from a URL.

use super::remote::Parcel;
use super::{Action, Done};
use crate::data::Data;

impl Action {
    pub(super) async fn unarchive(&self) -> Done {
        let src = self.need("src")?;
        let remote = self.flag("remote_src", !self.flag("copy", true)?)?;
        if remote || src.contains("://") {
            return self.remote("unarchive", self.args.clone()).await;
        }
        let path = self.local_file("files", &src)?;
        let mut args = self.args_without(&["src", "copy", "remote_src"]);
        args.insert("src".into(), Data::from(path.display().to_string()));
        self.deliver("unarchive", args, Parcel::of_file(&path, self.scope.controller()).await?).await
    }
}
