//! `vars_files`, which may depend on facts.

use std::sync::Arc;

use crate::data::{Data, Dict};
use crate::error::PlaybookError;
use crate::playbook::read_variables;
use crate::python;

use super::PlayRun;
use crate::lock::lock;

impl PlayRun {
    /// Reads the play's `vars_files` for each host. Before facts are known (`strict` unset), names that need them are skipped.
    pub(super) fn load_vars_files(self: &Arc<Self>, hosts: &[String], strict: bool) -> Result<(), PlaybookError> {
        if self.play.vars_files.is_empty() {
            return Ok(());
        }
        let wrong = |message: String| PlaybookError::Play { place: self.play.place.to_string(), message };
        let controller = self.run.controller();
        for host in hosts {
            let scope = self.scope(host, None, Dict::new());
            let mut vars = Dict::new();
            for entry in &self.play.vars_files {
                // A list gives alternatives: the first file that exists is read.
                let choices: Vec<Data> = match entry {
                    Data::List(list) => list.to_vec(),
                    other => vec![other.clone()],
                };
                let mut found = false;
                let mut missing = Vec::new();
                for choice in &choices {
                    let name = match scope.resolve(choice) {
                        Ok(name) => python::str_of(&name),
                        Err(error) if strict && choices.len() == 1 => {
                            return Err(wrong(error.message));
                        }
                        Err(_) => continue,
                    };
                    let path = [self.play.folder.join(&name), self.play.folder.join("vars").join(&name)]
                        .into_iter()
                        .find(|path| controller.is_file(path));
                    match path {
                        Some(path) => {
                            vars.extend(read_variables(&path, &controller)?);
                            found = true;
                            break;
                        }
                        None => missing.push(name),
                    }
                }
                if !found && strict {
                    return Err(wrong(format!("vars file {} was not found", missing.join(", "))));
                }
            }
            lock(&self.variables.vars_files).insert(host.clone(), Arc::new(vars));
        }
        Ok(())
    }
}
