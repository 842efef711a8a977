//! Checking files without changing anything.

use std::collections::BTreeSet;
use std::path::Path;

use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind};
use labctl_spec::lab::Lab;
use labctl_spec::mistake::Mistakes;
use labctl_spec::{examine_lab, load_artifacts, load_image, load_scenario};
use serde::Serialize;
use tempfile::TempDir;

use crate::provisioning::{self, ListedTask, Options, What};
use crate::{images, project};

/// A one-line summary of a valid file.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What kind of file it is.
    pub kind: &'static str,
    /// Its contents in a few words.
    pub text: String,
    /// What will fail when it runs, such as a task whose module is not supported.
    pub notes: Vec<String>,
}

impl Summary {
    fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text, notes: Vec::new() }
    }
}

/// Whether the plays of a lab file are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plays {
    /// Including all files that they name.
    Read,
    /// Not at all: none of them will run.
    Left,
}

/// The lab of a file without errors, its images and its plays included, as far as that can be checked without a machine, and the tasks of
/// the plays; otherwise the errors of all files at once.
pub fn lab(home: &Home, file: &Path, plays: Plays) -> Result<(Lab, Vec<ListedTask>), Failure> {
    let examined = examine_lab(file, &images::known(file)).map_err(|why| project::from_load_error(&why))?;
    let mut wrong: Vec<String> = Vec::new();
    if !examined.faults.is_empty() {
        wrong.push(Mistakes(examined.faults).to_string());
    }
    let mut tasks = Vec::new();
    if let Some(lab) = &examined.lab {
        let names: BTreeSet<&str> = lab.nodes.iter().map(|node| node.image.as_str()).collect();
        // A missing image has already been reported with its line.
        let faulty = |name: &&str| images::find(home, file, name).err().filter(|why| why.kind == Kind::Input);
        wrong.extend(names.iter().filter_map(faulty).map(|why| why.message));
        if plays == Plays::Read {
            match provisioning::list(home, lab, &What::Lab, Options::default()) {
                Ok(listed) => tasks = listed,
                Err(why) => wrong.push(why.message),
            }
        }
    }
    match examined.lab {
        Some(lab) if wrong.is_empty() => Ok((lab, tasks)),
        _ => Err(Failure::new(Kind::Input, wrong.join("\n")).hint("nothing was changed; correct the file and repeat the command")),
    }
}

/// A home for checks, which change nothing: the user's, or for as long as the folder lives a temporary one, if the user's cannot be written.
pub fn home() -> Result<(Home, Option<TempDir>), Failure> {
    match Home::open() {
        Err(why) if why.kind == Kind::Host => {
            let folder = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
            Ok((Home::at(&folder.path().join("data"), &folder.path().join("run"))?, Some(folder)))
        }
        opened => Ok((opened?, None)),
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
    let (lab, tasks) = lab(home, &file.canonicalize().map_err(Failure::io(file.display()))?, Plays::Read)?;
    let nodes = if lab.nodes.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", lab.nodes.len()) };
    let text = format!("lab `{}`, {nodes} in {}; all good", lab.name, lab.network.subnet);
    // Roles for many systems have tasks that never run here: not an error, but a misspelled module looks the same.
    let mut notes: Vec<String> = tasks.into_iter().filter_map(|task| task.unsupported).collect();
    notes.dedup();
    Ok(Summary { notes, ..Summary::new("lab", text) })
}
