//! `include_tasks` and `include_role`: determine what to include; the flow of the play loads it.

use super::{Action, Done, Stop, result};
use crate::data::{Data, Dict};
use crate::python;

impl Action {
    pub(super) fn include(&self) -> Done {
        // `apply` stays unevaluated: it belongs to the included tasks.
        let mut args = Dict::new();
        for (key, value) in &self.args {
            let value = if &**key == "apply" { value.clone() } else { self.scope.resolve(value).map_err(|error| error.to_string())? };
            if !matches!(value, Data::Omit) {
                args.insert(key.clone(), value);
            }
        }
        let text = |name: &str| args.get(name).map(python::str_of);
        let what = if &*self.task.action == "include_role" {
            text("name")
                .or_else(|| text("role"))
                .or_else(|| text("_raw_params"))
                .ok_or_else(|| Stop::Failed("'name' is a required field for include_role.".to_owned()))?
        } else {
            let name = text("file")
                .or_else(|| text("_raw_params"))
                .ok_or_else(|| Stop::Failed("No file specified for include_tasks".to_owned()))?;
            let path = self.play.loader.find_tasks(&name, &self.task.folder, self.task.role.as_deref());
            match path {
                Some(path) => path.display().to_string(),
                // `ignore_errors` of the include has no effect here: its tasks are unknown.
                None => {
                    let message = format!("Could not find or access '{name}'");
                    return Ok(result([
                        ("failed", true.into()),
                        ("changed", false.into()),
                        ("msg", message.into()),
                        ("_ansible_fatal", true.into()),
                    ]));
                }
            }
        };
        Ok(result([("changed", false.into()), ("include", what.into()), ("include_args", Data::map(args))]))
    }
}
