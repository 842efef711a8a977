//! Checking files without doing anything.

use std::path::Path;

use labctl_spec::{load_artifacts, load_image, load_scenario};
use serde::Serialize;

use crate::home::Home;
use crate::{Failure, images, project, provisioning};

/// What a good file says, in a line.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What kind of file it is.
    pub kind: &'static str,
    /// Its contents in a few words.
    pub text: String,
    /// What will fail if it comes to it, such as a task whose module is not supported.
    pub notes: Vec<String>,
}

impl Summary {
    fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text, notes: Vec::new() }
    }
}

/// Checks a file: `artifacts.yml` by its name, images and scenarios by their folder or their keys, anything else as a lab file.
pub fn check(home: &Home, file: &Path) -> Result<Summary, Failure> {
    let load = |why: labctl_spec::LoadError| project::from_load_error(&why);
    let text = labctl_spec::read(file).map_err(load)?;
    let key = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name}:")));
    if file.file_name().is_some_and(|name| name == "artifacts.yml") {
        let artifacts = load_artifacts(file).map_err(load)?;
        return Ok(Summary::new("artifacts", format!("{} artifacts; all good", artifacts.len())));
    }
    if key("method") || key("steady_state") {
        let scenario = load_scenario(file, None).map_err(load)?;
        return Ok(Summary::new("scenario", format!("scenario `{}`, {} steps; all good", scenario.name, scenario.method.len())));
    }
    if key("bootstrap") || key("cloud") {
        let image = load_image(file).map_err(load)?;
        return Ok(Summary::new("image", format!("image `{}`; all good", image.name)));
    }
    let lab = project::load(&file.canonicalize().map_err(Failure::io(file.display()))?)?;
    for node in &lab.nodes {
        images::find(home, &lab.file, &node.image)?;
    }
    let tasks = provisioning::check(home, &lab)?;
    let nodes = if lab.nodes.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", lab.nodes.len()) };
    let text = format!("lab `{}`, {nodes} in {}; all good", lab.name, lab.network.subnet);
    // Roles for many systems have tasks that never run here: no fault, but a misspelt module looks the same.
    let mut notes: Vec<String> = tasks.into_iter().filter_map(|task| task.unsupported).collect();
    notes.dedup();
    Ok(Summary { notes, ..Summary::new("lab", text) })
}
