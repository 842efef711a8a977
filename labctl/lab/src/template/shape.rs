//! What a template's saved state depends on.

use labctl_guest::AGENT_SHA256;
use labctl_image::{Boot, BootImage};
use labctl_machine::accel::Accel;
use labctl_machine::driver_name::DriverName;
use labctl_machine::machine::{self, Files, Machine, Ram};
use labctl_machine::{MachineError, registry};
use labctl_spec::ident::MacAddr;
use labctl_spec::lab::Node;
use labctl_spec::size::Size;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::guest_kernel::command_line;

/// Everything that goes into a template: two nodes of equal shape are forked from the same template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Name of the image file, for display.
    pub name: String,
    /// The image.
    pub image: BootImage,
    /// Accelerator.
    pub accel: Accel,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// Size of the disk.
    pub disk: Size,
    /// The driver. Left out if it is the usual one, so that the keys of older templates stay.
    #[serde(default, skip_serializing_if = "DriverName::is_default")]
    pub driver: DriverName,
    /// Its version line: saved state fits only the version that wrote it.
    #[serde(rename = "qemu")]
    pub driver_version: String,
    /// The host's processor, if guests see it.
    pub processor: String,
}

impl Shape {
    /// The shape of a node. None if its image cannot become a template: an image with its own boot loader is configured by its first boot.
    pub fn of(node: &Node, image: &BootImage, accel: Accel, driver: &DriverName, version: &str) -> Option<Self> {
        matches!(image.boot, Boot::Direct { .. }).then(|| Self {
            name: node.image.clone(),
            image: image.clone(),
            accel,
            cpus: node.cpus,
            memory: node.memory,
            disk: Size(node.disk.0.max(image.virtual_size)),
            driver: driver.clone(),
            driver_version: version.to_owned(),
            processor: if accel == Accel::Tcg { String::new() } else { processor() },
        })
    }

    /// Hash of the shape, labctl's agent and the machine's devices, in hex.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&serde_json::to_vec(self).unwrap_or_default());
        add(AGENT_SHA256.as_bytes());
        hash.update(self.board().unwrap_or_default());
        hex::encode(hash.finalize())[..32].to_owned()
    }

    /// What its machine is made of, in its driver's words. Fails if the driver cannot load memory.
    fn board(&self) -> Result<Vec<u8>, MachineError> {
        let machine = self.machine(&Files::new("s".as_ref(), 0, "f".as_ref()), "ram".into(), "disk".into());
        Ok(registry::find(&self.driver)?.loads_for("a template")?.board(&machine))
    }

    /// The machine that becomes the template. It has a NIC, which is never up.
    pub fn machine(&self, files: &Files, ram: std::path::PathBuf, disk: std::path::PathBuf) -> Machine {
        let Boot::Direct { kernel, .. } = &self.image.boot else { unreachable!("a shape is of an image that boots directly") };
        Machine {
            driver: self.driver.clone(),
            label: format!("labctl:template/{}", self.name),
            uuid: TEMPLATE_UUID.to_owned(),
            accel: self.accel,
            cpus: self.cpus,
            memory: self.memory,
            ram: Ram::Shared(ram),
            mac: MacAddr([0x52, 0x54, 0, 0, 0, 0]),
            seed: None,
            boot: machine::Boot::Direct { kernel: kernel.clone(), initrd: disk.with_file_name("initrd"), append: command_line(self.accel) },
            disk,
            files: files.clone(),
        }
    }
}

/// UUID of machines that are about to become templates; forks have their own.
const TEMPLATE_UUID: &str = "00000000-0000-4000-8000-7e3f1a7e0000";

/// The host's processor by name and features (proc_cpuinfo(5)); state that was saved on a different processor may not run here.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fields = ["vendor_id", "cpu family", "model\t", "model name", "stepping", "microcode", "flags"];
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if fields.iter().any(|field| line.starts_with(field)) {
            lines.push(line);
        }
    }
    hex::encode(Sha256::digest(lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            name: "debian".into(),
            image: BootImage {
                id: "1".into(),
                disk: "/i/disk".into(),
                format: labctl_spec::image::DiskFormat::Raw,
                virtual_size: 1 << 30,
                boot: Boot::Direct { kernel: "/i/kernel".into(), modules: "/i/modules".into() },
            },
            accel: Accel::Tcg,
            cpus: 1,
            memory: Size::mib(512),
            disk: Size::mib(4096),
            driver: DriverName::default(),
            driver_version: "QEMU 7".into(),
            processor: String::new(),
        }
    }

    #[test]
    fn every_part_changes_the_key() {
        let base = shape();
        let changed = [
            Shape { image: BootImage { id: "2".into(), ..base.image.clone() }, ..base.clone() },
            Shape { accel: Accel::Kvm, ..base.clone() },
            Shape { cpus: 2, ..base.clone() },
            Shape { memory: Size::mib(513), ..base.clone() },
            Shape { disk: Size::mib(4097), ..base.clone() },
            Shape { driver_version: "QEMU 8".into(), ..base.clone() },
            Shape { processor: "x".into(), ..base.clone() },
        ];
        let keys: std::collections::BTreeSet<String> = changed.iter().chain([&base]).map(Shape::key).collect();
        assert_eq!(keys.len(), changed.len() + 1);
        assert_eq!(base.key(), shape().key());
    }
}
