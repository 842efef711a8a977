//! The image file (`images/NAME.yml`): what a node boots.

mod validate;

pub(crate) use validate::is_url;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{self, LoadError};
use crate::mistake::Mistakes;
use crate::size::Size;

/// An image file as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// One-line description.
    pub description: Option<String>,
    /// Bootstrapped from distribution packages.
    pub bootstrap: Option<Bootstrap>,
    /// A vendor's cloud image, configured by a NoCloud seed.
    pub cloud: Option<Cloud>,
    /// Made from a provisioned machine by `labctl image bake`, which writes this file.
    pub baked: Option<Baked>,
}

/// Loads an image file; the image's name is the file's stem.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read, else every fault in it.
pub fn load_image(path: &Path) -> Result<Image, LoadError> {
    Ok(parse_image(&load::read(path)?, path)?)
}

/// Parses the text of an image file. Paths in it are relative to `file`'s folder and must exist; `file` itself is not read.
///
/// # Errors
/// Every fault, in line order.
pub fn parse_image(text: &str, file: &Path) -> Result<Image, Mistakes> {
    let (plain, mut report) = load::plain::<ImageFile>(text, file)?;
    let image = plain.and_then(|plain| validate::image(plain, file, &mut report));
    report.finish(image)
}

/// A validated image: exactly one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Name: the file's stem.
    pub name: String,
    /// One-line description.
    pub description: String,
    /// Where it comes from.
    pub source: ImageSource,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Built from packages.
    Bootstrap(Bootstrap),
    /// Downloaded.
    Cloud(Cloud),
    /// Made from a provisioned machine.
    Baked(Baked),
}

/// How to build a Debian image from distribution packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Debian suite, such as `bookworm`.
    pub suite: String,
    /// Mirror; default: the one that the host's own apt uses for Debian, otherwise mmdebstrap's default.
    pub mirror: Option<String>,
    /// Packages in addition to the base that every image needs (kernel, systemd, openssh-server, sudo, curl, iproute2 ...; not cron and not Python).
    #[serde(default)]
    pub packages: Vec<String>,
    /// Size of the root file system; nodes may enlarge it. Default: 2G.
    pub size: Option<Size>,
}

/// Which cloud image to download.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// http or https URL to download it from, or a path relative to the image file (absolute once validated).
    pub url: String,
    /// Its checksum: `sha256:HEX` or `sha512:HEX`.
    pub checksum: String,
    /// Format of the file; default: qcow2.
    #[serde(default)]
    pub format: DiskFormat,
    /// A kernel to boot directly, relative to the image file (absolute once validated); default: the image's own boot loader.
    pub kernel: Option<PathBuf>,
}

/// Which baked image to take from the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baked {
    /// Its id in the store: 32 hex digits. It follows from the content of its disk.
    pub id: String,
}

/// Format of a disk image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU's own format.
    #[default]
    Qcow2,
    /// A raw copy of the disk, sector by sector.
    Raw,
}

impl DiskFormat {
    /// What QEMU calls it.
    pub fn qemu_name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}
