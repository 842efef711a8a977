//! What a lab's machines depend on, determined once per command: QEMU's version, the accelerator, the images.

use std::collections::BTreeMap;

use labctl_image::BootImage;
use labctl_lab::Failure;
use labctl_lab::event::Each;
use labctl_lab::home::Home;
use labctl_lab::template::Shape;
use labctl_machine::proof::{self, Finding};
use labctl_machine::qemu;
use labctl_spec::lab::{Lab, Node};

use crate::images;

/// What a lab's machines depend on.
pub struct Basis {
    /// QEMU's version line.
    pub qemu: String,
    /// The accelerator that was tested and works.
    pub accel: Finding,
    /// The lab's images by name.
    pub images: BTreeMap<String, BootImage>,
}

impl Basis {
    /// Determines it; missing images are built or downloaded.
    pub async fn find(home: &Home, lab: &Lab, each: Each<'_>) -> Result<Self, Failure> {
        let qemu = qemu::version(&home.qemu()).await?;
        let accel = proof::find(&home.accel(), &qemu, home.scratch()).await?;
        Ok(Self { qemu, accel, images: images::prepare(home, lab, each).await? })
    }

    /// The shape of the template that a node is forked from; none if its image cannot become one.
    pub fn shape(&self, node: &Node) -> Option<Shape> {
        Shape::of(node, self.images.get(&node.image)?, self.accel.accel, &self.qemu)
    }
}
