//! `include_vars`: reads a variables file or a folder of them.

use std::path::{Path, PathBuf};

use super::{Action, Done, Stop, result};
use crate::controller::Controller;
use crate::data::{Data, Dict};
use crate::playbook::read_variables;
use crate::python;
use crate::template::filters_pattern::pattern;

impl Action {
    pub(super) fn include_vars(&self) -> Done {
        let mut vars = Dict::new();
        let mut files = Vec::new();
        let controller = self.scope.controller();
        if let Some(folder) = self.text("dir") {
            let folder = self.local_file("vars", &folder)?;
            let depth = self.text("depth").and_then(|depth| depth.parse().ok()).filter(|depth: &usize| *depth > 0).unwrap_or(usize::MAX);
            let wanted =
                self.text("files_matching").map(|text| pattern(&text, false, false)).transpose().map_err(|error| error.to_string())?;
            let ignored: Vec<String> = self
                .args
                .get("ignore_files")
                .and_then(Data::as_list)
                .map(|list| list.iter().map(python::str_of).collect())
                .unwrap_or_default();
            let extensions: Vec<String> = match self.args.get("extensions").and_then(Data::as_list) {
                Some(list) => list.iter().map(python::str_of).collect(),
                None => ["json", "yaml", "yml"].map(String::from).to_vec(),
            };
            for path in tree(&folder, depth, &controller) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let good = path.extension().is_some_and(|extension| extensions.iter().any(|known| known.as_str() == extension));
                let matching = wanted.as_ref().is_none_or(|regex| regex.is_match(name.as_str()).unwrap_or(false));
                if good && matching && !ignored.contains(&name) {
                    vars.extend(read_variables(&path, &controller).map_err(|fault| fault.to_string())?);
                    files.push(path.display().to_string());
                }
            }
        } else {
            let name = self
                .text("file")
                .or_else(|| self.text("_raw_params"))
                .ok_or_else(|| Stop::Failed("missing required arguments: file".to_owned()))?;
            let path = self.local_file("vars", &name)?;
            vars = read_variables(&path, &controller).map_err(|fault| fault.to_string())?;
            files.push(path.display().to_string());
        }
        let facts = match self.text("name") {
            Some(name) => [(name.as_str().into(), Data::map(vars))].into_iter().collect(),
            None => vars,
        };
        Ok(result([("changed", false.into()), ("ansible_facts", Data::map(facts)), ("ansible_included_var_files", files.into())]))
    }
}

fn tree(folder: &Path, depth: usize, controller: &Controller) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = controller.entries(folder).unwrap_or_default().into_iter().map(|entry| entry.path).collect();
    let mut out: Vec<PathBuf> = entries.iter().filter(|path| controller.is_file(path)).cloned().collect();
    if depth > 1 {
        out.extend(entries.iter().filter(|path| controller.is_folder(path)).flat_map(|path| tree(path, depth - 1, controller)));
    }
    out
}
