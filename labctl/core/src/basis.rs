//! What a lab's machines depend on, determined once per command: the driver and its version, the accelerator, the images.

use std::collections::BTreeMap;

use labctl_image::BootImage;
use labctl_lab::Failure;
use labctl_lab::event::Each;
use labctl_lab::home::Home;
use labctl_lab::template::Shape;
use labctl_machine::accel::Finding;
use labctl_machine::driver_name::DriverName;
use labctl_machine::registry;
use labctl_spec::lab::{Lab, Node};

use crate::images;

/// What a lab's machines depend on.
pub struct Basis {
    /// What runs them.
    pub driver: DriverName,
    /// Its version line.
    pub driver_version: String,
    /// The accelerator that was tested and works.
    pub accel: Finding,
    /// The lab's images by name.
    pub images: BTreeMap<String, BootImage>,
}

impl Basis {
    /// Determines it; missing images are built or downloaded.
    pub async fn find(home: &Home, lab: &Lab, each: Each<'_>) -> Result<Self, Failure> {
        let notes = home.driver_notes();
        let name = DriverName::default();
        let driver = registry::find(&name)?;
        let driver_version = driver.version(&notes).await?;
        let accel = driver.accel(&notes, &driver_version).await?;
        Ok(Self { driver: name, driver_version, accel, images: images::prepare(home, lab, each).await? })
    }

    /// The shape of the template that a node is forked from; none if its image cannot become one, or if its driver cannot fork.
    pub fn shape(&self, node: &Node) -> Option<Shape> {
        registry::find(&self.driver).ok()?.loads()?;
        Shape::of(node, self.images.get(&node.image)?, self.accel.accel, &self.driver, &self.driver_version)
    }
}
