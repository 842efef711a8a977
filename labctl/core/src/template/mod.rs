//! Templates: machines that were booted once and saved, from which nodes are forked.
//!
//! ```text
//! store/templates/KEY/
//!   template.json     what it was made from
//!   ram               memory; forks map it privately
//!   state             devices, QEMU's own format
//!   disk.qcow2        overlay on the image's disk, as the guest left it
//!   overlay.qcow2     empty overlay on disk.qcow2; a fork's disk is a copy of it
//!   used              its modification time says when a node was last forked
//!   homes/            links to the homes whose nodes were
//! ```
//!
//! KEY is a hash of everything that the saved state depends on, so a template never has to be checked for staleness: what
//! changed has another key. A template is made in a folder beside and renamed, so it is there whole or not at all.

pub(crate) mod build;
mod shape;
mod store;
pub(crate) mod unfinished;

pub use build::make;
pub use shape::Shape;
pub use store::{Template, Templates};

use std::collections::BTreeMap;

use labctl_image::BootImage;
use labctl_machine::accel::Accel;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;

use crate::home::Home;
use crate::lifecycle::Each;
use crate::record::Record;
use crate::{Failure, images};

/// Which template each of `nodes` is forked from. Templates that several nodes lack are made; a node that is alone with a missing
/// one boots by itself meanwhile, and its supervisor makes the template afterwards: that is no slower.
pub async fn prepare(
    home: &Home,
    record: &Record,
    nodes: &[NodeName],
    images: &BTreeMap<String, BootImage>,
    accel: Accel,
    each: Each<'_>,
) -> Result<Plan, Failure> {
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    let templates = Templates::of(home);
    let mut wanted: BTreeMap<String, (Shape, Vec<NodeName>)> = BTreeMap::new();
    for name in nodes {
        let node = record.node(name)?;
        let Some(image) = images.get(&node.image) else { continue };
        let Some(shape) = Shape::of(node, image, accel, &qemu) else { continue };
        wanted.entry(shape.key()).or_insert_with(|| (shape, Vec::new())).1.push(name.clone());
    }
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    for (key, (shape, nodes)) in wanted {
        match templates.find(&key) {
            Some(template) => {
                template.touch(home);
                plan.forks.extend(nodes.into_iter().map(|node| (node, template.clone())));
            }
            None if nodes.len() > 1 => missing.push((shape, nodes)),
            None => plan.later.push(shape),
        }
    }
    let made = missing.iter().map(|(shape, _)| build::make(home, shape, each));
    for (made, (_, nodes)) in futures_util::future::join_all(made).await.into_iter().zip(&missing) {
        let template = made?;
        plan.forks.extend(nodes.iter().map(|node| (node.clone(), template.clone())));
    }
    Ok(plan)
}

/// The template of a node's shape, if it was made.
pub async fn stock(home: &Home, lab: &Lab, node: &NodeName, each: Each<'_>) -> Result<Option<Template>, Failure> {
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    let accel = labctl_machine::accel::find(&home.accel(), &qemu, home.scratch()).await?.accel;
    let images = images::prepare(home, lab, each).await?;
    let shape = lab.node(node).and_then(|node| Shape::of(node, images.get(&node.image)?, accel, &qemu));
    Ok(shape.and_then(|shape| Templates::of(home).find(&shape.key())))
}

/// Makes the templates that a lab's nodes lack.
pub async fn build(home: &Home, lab: &Lab, each: Each<'_>) -> Result<(), Failure> {
    let qemu = labctl_machine::qemu::version(&home.qemu()).await?;
    let accel = labctl_machine::accel::find(&home.accel(), &qemu, home.scratch()).await?.accel;
    let images = images::prepare(home, lab, each).await?;
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    for node in &lab.nodes {
        if let Some(shape) = images.get(&node.image).and_then(|image| Shape::of(node, image, accel, &qemu)) {
            shapes.insert(shape.key(), shape);
        }
    }
    let made = shapes.values().map(|shape| make(home, shape, each));
    futures_util::future::join_all(made).await.into_iter().try_for_each(|made| made.map(drop))
}

/// What is forked, and from what.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// The template of each node that is forked.
    pub forks: BTreeMap<NodeName, Template>,
    /// What should become templates once there is time.
    pub later: Vec<Shape>,
}
