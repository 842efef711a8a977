//! What every command needs: the user's folders, the lab, and the output.

use std::path::{Path, PathBuf};

use clap::Args;
use labctl_core::project;
use labctl_core::validation::{self, Plays};
use labctl_lab::client::Supervisor;
use labctl_lab::home::{Home, LabHome};
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::Lab;

use crate::output::Output;

/// Options that every command accepts.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Lab file, the name of one in hosts/, or of a lab that was brought up before [default: lab.yml here or above, or
    /// in hosts/ the only one, or the only one that is up]
    #[arg(long, short = 'L', global = true, value_name = "FILE|NAME", env = "LABCTL_LAB", hide_env_values = true)]
    pub lab: Option<String>,
    /// Print events and results as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only warnings and failures
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print diagnostic events too, and have a supervisor that this command starts write them to its log
    #[arg(long, global = true)]
    pub debug: bool,
}

/// The session of one command.
pub struct Session {
    lab: Option<String>,
    /// The output.
    pub out: Output,
}

impl Session {
    /// Creates a session from the options.
    pub fn new(global: &Global) -> Self {
        Self { lab: global.lab.clone(), out: Output::new(global.json, global.quiet) }
    }

    /// The user's folders.
    pub fn home(&self) -> Result<Home, Failure> {
        Home::open()
    }

    /// Path of the selected lab file.
    pub fn lab_file(&self, home: &Home) -> Result<PathBuf, Failure> {
        project::find(home, self.lab.as_deref())
    }

    /// The lab, read from its file and checked.
    pub fn lab(&self, home: &Home) -> Result<Lab, Failure> {
        self.read(home, project::load)
    }

    /// The lab, if its file, its images and its plays are valid. Used before doing anything to it.
    pub fn sound_lab(&self, home: &Home, plays: Plays) -> Result<Lab, Failure> {
        self.read(home, |file| Ok(validation::lab(home, file, plays)?.0))
    }

    fn read(&self, home: &Home, load: impl FnOnce(&Path) -> Result<Lab, Failure>) -> Result<Lab, Failure> {
        match self.named(home)?.filter(|record| record.clone_of.is_some()) {
            Some(clone) => clone.own_lab(load(&clone.lab.file)?),
            None => load(&self.lab_file(home)?),
        }
    }

    /// The same session for another lab, by file or name.
    pub fn about(&self, lab: &str) -> Self {
        Self { lab: Some(lab.to_owned()), out: self.out.clone() }
    }

    /// The record of the lab, if the lab was given by name.
    fn named(&self, home: &Home) -> Result<Option<Record>, Failure> {
        match self.lab.as_deref().map(str::parse::<LabName>) {
            Some(Ok(name)) => Record::load(&home.lab(&name)),
            _ => Ok(None),
        }
    }

    /// The lab as it was brought up, for commands on what exists, whatever the file says now. A lab that was never
    /// brought up is read from its file.
    pub fn known_lab(&self, home: &Home) -> Result<Lab, Failure> {
        if let Some(record) = self.named(home)? {
            return Ok(record.existing_lab());
        }
        let file = self.lab_file(home)?;
        match project::recorded(home, &file)? {
            Some(record) => Ok(record.existing_lab()),
            None => project::load(&file),
        }
    }

    /// The record of the lab; a failure if the lab was never brought up.
    pub fn record(&self, home: &Home) -> Result<Record, Failure> {
        let lab = self.known_lab(home)?;
        Record::load(&home.lab(&lab.name))?
            .ok_or_else(|| Failure::new(Kind::Conflict, format!("lab `{}` has not been brought up yet", lab.name)).hint("labctl up"))
    }

    /// The lab's supervisor, started or replaced if necessary.
    pub async fn supervisor(&self, home: &LabHome, lab: &LabName) -> Result<Supervisor, Failure> {
        let supervisor = Supervisor::ensure(home, lab, &|event| self.out.event(&event)).await;
        self.out.finish();
        supervisor
    }

    /// Nodes named individually or by group, in the order of the lab file; empty if none are named, which means all.
    pub fn nodes(&self, lab: &Lab, names: &[String], limit: Option<&str>) -> Result<Vec<NodeName>, Failure> {
        let groups = lab.groups();
        let mut wanted = Vec::new();
        for name in names.iter().map(String::as_str).chain(limit.iter().flat_map(|limit| limit.split(','))) {
            let found = lab.nodes.iter().find(|node| node.name.as_str() == name).map(|node| vec![node.name.clone()]);
            wanted.extend(found.or_else(|| groups.get(name).cloned()).ok_or_else(|| unknown(lab, name))?);
        }
        Ok(lab.nodes.iter().map(|node| node.name.clone()).filter(|name| wanted.contains(name)).collect())
    }

    /// The one node with that name.
    pub fn node(&self, lab: &Lab, name: &str) -> Result<NodeName, Failure> {
        match &self.nodes(lab, &[name.to_owned()], None)?[..] {
            [node] => Ok(node.clone()),
            several => {
                let names: Vec<&str> = several.iter().map(NodeName::as_str).collect();
                Err(Failure::new(Kind::Input, format!("`{name}` is a group; this needs one node"))
                    .hint(format!("one of {}", names.join(", "))))
            }
        }
    }
}

fn unknown(lab: &Lab, name: &str) -> Failure {
    let nodes: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    let groups: Vec<String> = lab.groups().into_keys().collect();
    Failure::new(Kind::NotFound, format!("lab `{}` has no node or group `{name}`", lab.name)).hint(format!(
        "nodes: {}; groups: {}",
        nodes.join(", "),
        groups.join(", ")
    ))
}
