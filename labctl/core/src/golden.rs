//! Golden images (`labctl image bake`): a machine is provisioned, everything that makes it one particular machine is removed, and its disk
//! becomes an image that labs can name.
//!
//! ```text
//! roles:  base image ─▶ builder, provisioned ──────────────┐
//! a node: its disk ─▶ draft image ─▶ builder ──────────────┴▶ cleaned, shut down ─▶ flattened ─▶ image file, template
//! ```
//!
//! The builder is the only node of a lab of its own, so a bake that was killed leaves a lab that can be seen and destroyed; the next bake of the
//! same image destroys it first.

mod file;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use labctl_image::{BootImage, Provenance};
use labctl_lab::client::Supervisor;
use labctl_lab::event::{Each, Event};
use labctl_lab::home::Home;
use labctl_lab::node_folder::disk;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind, persist};
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::lab::{Lab, parse_lab};
use labctl_spec::size::Size;
use labctl_wire::Exec;
use serde_json::json;

use crate::{images, lifecycle, project, template};

pub use file::{Place, place};

/// Removes what makes the builder one particular machine.
const CLEAN: &str = include_str!("golden/clean.sh");

/// Longest list of packages, in bytes.
const LIST: usize = 4 << 20;

/// What to bake.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name of the new image.
    pub name: String,
    /// The image that its builder boots.
    pub base: String,
    /// Roles to run on it.
    pub roles: Vec<String>,
    /// The builder's memory; default: a node's.
    pub memory: Option<Size>,
    /// Paths in the guest to remove, besides what is removed anyway.
    pub remove: Vec<String>,
}

/// A node's disk as an image that only its builder uses.
#[derive(Debug, Clone)]
pub struct Draft {
    image: BootImage,
    base: String,
    node: String,
}

impl Draft {
    /// The node, as `LAB/NODE`.
    pub fn node(&self) -> &str {
        &self.node
    }
}

/// Takes a draft from a node, which must be off.
pub async fn draft(home: &Home, record: &Record, node: &NodeName, name: &str, each: Each<'_>) -> Result<Draft, Failure> {
    let folder = home.lab(&record.lab.name).node(node);
    let image: BootImage = persist::read_json(&folder.join("image.json"))?
        .ok_or_else(|| Failure::new(Kind::Conflict, format!("{node} has never been started")).hint(format!("labctl up {node}")))?;
    let base = record.node(node)?.image.clone();
    let from = format!("{}/{node}", record.lab.name);
    let provenance = Provenance { node: Some(from.clone()), ..Provenance::default() };
    let image = add(home, &draft_name(name), disk::file(&folder)?, image, provenance, each).await?;
    Ok(Draft { image, base, node: from })
}

fn draft_name(name: &str) -> String {
    format!("{name}.draft")
}

/// A lab with one node that becomes an image.
#[derive(Debug)]
pub struct Builder<'a> {
    home: &'a Home,
    recipe: Recipe,
    lab: Lab,
    draft: Option<Draft>,
}

impl<'a> Builder<'a> {
    /// Prepares the builder's lab; `beside` is the lab file whose roles and images it uses. A builder that a killed bake left is removed.
    pub async fn prepare(home: &'a Home, beside: &Path, recipe: Recipe, draft: Option<Draft>, each: Each<'_>) -> Result<Self, Failure> {
        let name = lab_name(&recipe.name)?;
        if home.lab(&name).folder().exists() {
            each(Event::Note { text: format!("removing lab `{name}`, which an interrupted bake left") });
            lifecycle::destroy(home, &name, &[], each).await?;
        }
        home.lab(&name).make()?;
        let lab = lay_out(&home.lab(&name).folder().join("bake"), beside, &name, &recipe, draft.as_ref());
        let builder = |lab| Self { home, recipe, lab, draft };
        match lab {
            Ok(lab) => Ok(builder(lab)),
            Err(why) => {
                lifecycle::destroy(home, &name, &[], each).await?;
                Err(why)
            }
        }
    }

    /// Its lab: one node, on which the recipe's roles are the lab's only play.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Makes the image of the provisioned builder, and shuts it down.
    pub async fn finish(&self, supervisor: &Supervisor, each: Each<'_>) -> Result<BootImage, Failure> {
        let node = &self.lab.nodes[0].name;
        let work = |step: &str| {
            each(Event::Work { what: format!("image {}", self.recipe.name), step: step.to_owned(), progress: None });
        };
        work("removing what belongs to one machine");
        let agent = supervisor.agent(node).await?;
        let packages = agent.output(exec(&["dpkg-query", "-W", "-f", "${Package} ${Version}\\n"]), LIST).await?;
        let mut clean = vec!["sh", "-c", CLEAN, "clean"];
        clean.extend(self.recipe.remove.iter().map(String::as_str));
        let cleaned = agent.output(exec(&clean), LIST).await?;
        if cleaned.code != 0 {
            let said = String::from_utf8_lossy(&cleaned.stderr).trim().to_owned();
            return Err(Failure::new(Kind::Machine, format!("the builder could not be cleaned: {said}")));
        }
        work("shutting down");
        lifecycle::halt(self.home, &self.lab.name, &[], false, each).await?;
        let folder = self.home.lab(&self.lab.name).node(node);
        let base: BootImage =
            persist::read_json(&folder.join("image.json"))?.ok_or_else(|| Failure::new(Kind::Internal, "the builder has no image"))?;
        let (name, id, from) = match &self.draft {
            Some(draft) => (draft.base.clone(), draft.image.id.clone(), Some(draft.node.clone())),
            None => (self.recipe.base.clone(), base.id.clone(), None),
        };
        let provenance = Provenance {
            base: name,
            base_id: id,
            node: from,
            roles: self.recipe.roles.clone(),
            packages: String::from_utf8_lossy(&packages.stdout).lines().map(str::to_owned).collect(),
            labctl: env!("CARGO_PKG_VERSION").to_owned(),
        };
        add(self.home, &self.recipe.name, disk::file(&folder)?, base, provenance, each).await
    }

    /// Removes the builder, and the draft that it booted.
    pub async fn remove(&self, each: Each<'_>) -> Result<(), Failure> {
        lifecycle::destroy(self.home, &self.lab.name, &[], each).await?;
        let store = images::store(self.home)?;
        for draft in store.images().into_iter().filter(|image| image.name == draft_name(&self.recipe.name)) {
            images::remove(self.home, &store, &draft)?;
        }
        Ok(())
    }
}

/// Makes the template that nodes with the new image are forked from.
pub async fn template(home: &Home, beside: &Path, recipe: &Recipe, each: Each<'_>) -> Result<(), Failure> {
    let text = lab_text(&lab_name(&recipe.name)?, &recipe.name, &Recipe { roles: Vec::new(), ..recipe.clone() });
    template::build(home, &read(&text, beside)?, each).await
}

async fn add(
    home: &Home,
    name: &str,
    disk: PathBuf,
    base: BootImage,
    provenance: Provenance,
    each: Each<'_>,
) -> Result<BootImage, Failure> {
    let what = format!("image {name}");
    let report = images::report(&what, each);
    let made = images::store(home)?.add_baked(name, disk, base, provenance, &report).await;
    made.map_err(|why| Failure::new(Kind::Host, why.to_string()).hint(why.hint()))
}

fn exec(argv: &[&str]) -> Exec {
    Exec { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Exec::default() }
}

/// The builder's lab is named after its image.
fn lab_name(image: &str) -> Result<LabName, Failure> {
    let plain: String = image.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("bake-{plain}").parse().map_err(|_| {
        Failure::new(Kind::Input, format!("`{image}` is no name for an image"))
            .hint("use at most 50 letters, digits, dots, hyphens and underscores")
    })
}

/// Writes the builder's lab file, with the roles and images of the lab file that it stands beside.
fn lay_out(folder: &Path, beside: &Path, name: &LabName, recipe: &Recipe, draft: Option<&Draft>) -> Result<Lab, Failure> {
    let (hosts, theirs) = (folder.join("hosts"), beside.parent().unwrap_or(Path::new(".")));
    fs::create_dir_all(&hosts).map_err(Failure::io(hosts.display()))?;
    let link = |from: PathBuf, to: PathBuf| match from.is_dir() {
        true => symlink(&from, &to).map_err(Failure::io(to.display())),
        false => Ok(()),
    };
    link(theirs.join("roles"), hosts.join("roles"))?;
    link(theirs.join("../roles"), folder.join("roles"))?;
    let base = match draft {
        Some(draft) => {
            let images = hosts.join("images");
            fs::create_dir(&images).map_err(Failure::io(images.display()))?;
            file::write(&images.join("draft.yml"), &draft.image.id, "a draft")?;
            "draft"
        }
        None => {
            link(theirs.join("images"), hosts.join("images"))?;
            link(theirs.join("../images"), folder.join("images"))?;
            &recipe.base
        }
    };
    let (text, file) = (lab_text(name, base, recipe), hosts.join("bake.yml"));
    persist::write(&file, text.as_bytes())?;
    read(&text, &file)
}

fn read(text: &str, file: &Path) -> Result<Lab, Failure> {
    parse_lab(text, file).map_err(|why| project::from_load_error(&why.into()))
}

/// The text of the builder's lab file; JSON is YAML.
fn lab_text(name: &LabName, image: &str, recipe: &Recipe) -> String {
    let mut node = json!({ "name": "builder", "image": image });
    if let Some(memory) = recipe.memory {
        node["memory"] = json!(memory.to_string());
    }
    let mut lab = json!({ "name": name, "nodes": [node] });
    if !recipe.roles.is_empty() {
        lab["provision"] = json!([{ "name": "Roles of the image", "hosts": "all", "roles": recipe.roles }]);
    }
    lab.to_string()
}
