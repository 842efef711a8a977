//! `artifact` (labctl's own): installs a program that the role declares in `artifacts.yml`.

use super::remote::Parcel;
use super::{Action, Done, Stop};
use crate::data::{Data, Dict};
use crate::target::Content;

impl Action {
    pub(super) async fn artifact(&self) -> Done {
        let name = self.need("name")?;
        self.need("dest")?;
        let role = self
            .task
            .role
            .as_ref()
            .ok_or_else(|| Stop::Failed("artifact: only tasks of a role have artifacts (roles/ROLE/artifacts.yml)".to_owned()))?;
        let artifacts =
            self.play.run.setup.artifacts.clone().ok_or_else(|| Stop::Failed("artifact: this run has no artifact store".to_owned()))?;
        if let Some(Data::Float(number)) = self.args.get("version") {
            return Err(Stop::Failed(format!(
                "artifact: version {number} is a number, which has lost its last zeroes if it had any; put it in quotes"
            )));
        }
        let version = self.text("version");
        let found = artifacts.resolve(&role.path, &name, version.as_deref()).await?;
        let controller = self.scope.controller();
        // Record the declaration, and the program that it resolved to.
        let _ = controller.measure(&role.path.join("artifacts.yml"));
        controller.program(&role.path, &name, version.as_deref(), &found.sha256);
        let args: Dict = self.args_without(&["name", "version"]);
        let parcel = Parcel { content: Content::File(found.path), sha256: found.sha256, size: found.size };
        let mut answer = self.deliver("artifact", args, parcel).await?;
        answer.insert("version".into(), Data::from(found.version));
        Ok(answer)
    }
}
