//! `script`: runs a script from the controller on the host.

use super::remote::Parcel;
use super::{Action, Done};
use crate::data::Data;
use crate::template::str_methods::split;

impl Action {
    pub(super) async fn script(&self) -> Done {
        let command = match self.text("cmd") {
            Some(command) => command,
            None => self.need("_raw_params")?,
        };
        let name = split(&command, None, Some(1)).into_iter().next().unwrap_or_default();
        let path = self.local_file("files", &name)?;
        let mut args = self.args_without(&["cmd", "_raw_params"]);
        args.insert("_raw_params".into(), Data::from(command));
        self.deliver("script", args, Parcel::of_file(&path, self.scope.controller()).await?).await
    }
}
