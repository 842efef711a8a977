//! `labctl image`.

use std::process::ExitCode;

use labctl_core::images;
use labctl_lab::{Failure, Kind};
use serde::Serialize;

use super::{image_bake as bake, image_show, layers, template};
use crate::output::Table;
use crate::session::Session;

/// Arguments of `labctl image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with images.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the images in the store and those that can be made
    #[command(visible_alias = "ls")]
    List,
    /// Build or download images now [default: those of the lab]
    #[command(visible_alias = "pull")]
    Build {
        /// Names of image files
        names: Vec<String>,
    },
    /// Manage templates: booted, saved machines that nodes are forked from
    Template {
        #[command(subcommand)]
        action: template::Action,
    },
    /// Show the baked layers in the store: templates on which the tasks tagged `bake` have already run
    Layers {
        /// Show what a node is forked from, and why
        #[arg(long, value_name = "NODE")]
        why: Option<String>,
    },
    /// Make an image of a provisioned machine: with roles on a base image, or of a node
    Bake(bake::Args),
    /// Show what an image in the store is, and where it comes from
    Show {
        /// Name or id
        name: String,
    },
    /// Remove images from the store, by name or id
    Rm {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: String,
    size: u64,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let store = images::store(&home)?;
    match args.action {
        Action::List => {
            let listed: Vec<Listed> =
                store.images().into_iter().map(|image| Listed { name: image.name, id: image.id, size: image.size }).collect();
            session.out.result(&listed, || {
                let mut table = Table::new(&["IMAGE", "ID", "SIZE"]);
                for image in &listed {
                    table.row([image.name.clone(), image.id.chars().take(12).collect(), format!("{} MiB", image.size >> 20)]);
                }
                let file = session.lab_file(&home).unwrap_or_default();
                for name in images::known(&file).into_iter().filter(|name| !listed.iter().any(|image| image.name == *name)) {
                    table.row([name, "-".into(), "not built".into()]);
                }
                table.render()
            });
        }
        Action::Build { names } => {
            let each = |event| session.out.event(&event);
            let file = session.lab_file(&home);
            // The lab's proxy and authorities count for images that are named, too. Without a lab, the environment's proxy does.
            let lab = if names.is_empty() || file.is_ok() { Some(session.lab(&home)?) } else { None };
            let store = match &lab {
                Some(lab) => images::store_for(&home, lab)?,
                None => store,
            };
            let names = match lab.filter(|_| names.is_empty()) {
                Some(lab) => lab.nodes.into_iter().map(|node| node.image).collect(),
                None => names,
            };
            for name in names {
                images::build(&home, &store, file.as_deref().unwrap_or(std::path::Path::new("lab.yml")), &name, &each).await?;
            }
            session.out.finish();
        }
        Action::Template { action } => template::run(session, action).await?,
        Action::Bake(args) => bake::run(session, args).await?,
        Action::Show { name } => image_show::run(session, &home, &name)?,
        Action::Layers { why } => layers::run(session, why).await?,
        Action::Rm { names } => {
            for name in names {
                let found: Vec<_> = store.images().into_iter().filter(|image| image.name == name || image.id.starts_with(&name)).collect();
                if found.is_empty() {
                    return Err(Failure::new(Kind::NotFound, format!("there is no image `{name}` in the store")).hint("labctl image list"));
                }
                for image in found {
                    images::remove(&home, &store, &image)?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
