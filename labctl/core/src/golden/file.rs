//! The image file of a baked image.

use std::path::{Path, PathBuf};

use labctl_lab::{Failure, Kind, persist};
use labctl_spec::image::ImageSource;
use labctl_spec::load_image;

/// Where an image's file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(PathBuf);

/// The place for an image beside a lab file: in its folder `images`, or that of the folder above if there is one. A file that was not written by a
/// bake is never replaced, and one that was only if that is wanted.
pub fn place(beside: &Path, name: &str, replace: bool) -> Result<Place, Failure> {
    let folder = beside.parent().unwrap_or(Path::new("."));
    let above = folder.join("../images");
    let folder = if !folder.join("images").is_dir() && above.is_dir() { above } else { folder.join("images") };
    let file = folder.join(format!("{name}.yml"));
    if !file.exists() {
        return Ok(Place(file));
    }
    let refuse = |why: &str, hint: &str| Err(Failure::new(Kind::Conflict, format!("{} {why}", file.display())).hint(hint));
    match load_image(&file) {
        Ok(image) if !matches!(image.source, ImageSource::Baked(_)) => refuse("is no baked image", "choose another name"),
        Err(_) => refuse("exists and cannot be read", "correct or remove it, or choose another name"),
        Ok(_) if !replace => refuse("exists already", "--replace bakes it again"),
        Ok(_) => Ok(Place(file)),
    }
}

impl Place {
    /// Writes the file; returns its path.
    pub fn write(&self, id: &str, description: &str) -> Result<&Path, Failure> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Failure::io(folder.display()))?;
        write(&self.0, id, description)?;
        Ok(&self.0)
    }
}

/// Writes an image file.
pub(super) fn write(file: &Path, id: &str, description: &str) -> Result<(), Failure> {
    // A JSON string is a YAML string, whatever is in it.
    let description = serde_json::Value::from(description);
    persist::write(file, format!("# Written by `labctl image bake`.\ndescription: {description}\nbaked:\n  id: {id}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_baked_image_is_replaced_and_only_if_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let lab = folder.path().join("hosts/lab.yml");
        std::fs::create_dir_all(folder.path().join("hosts")).unwrap();
        let beside = place(&lab, "web", false).unwrap();
        assert_eq!(beside, Place(folder.path().join("hosts/images/web.yml")));
        std::fs::create_dir_all(folder.path().join("images")).unwrap();
        let above = place(&lab, "web", false).unwrap();
        let id = "0123456789abcdef0123456789abcdef";
        let written = above.write(id, "from \"a\": b # c").unwrap();
        let image = load_image(written).unwrap();
        assert_eq!(image.description, "from \"a\": b # c");
        assert_eq!(image.source, ImageSource::Baked(labctl_spec::image::Baked { id: id.to_owned() }));
        let refused = place(&lab, "web", false).unwrap_err();
        assert!(refused.to_string().contains("exists already"), "{refused}");
        assert_eq!(place(&lab, "web", true).unwrap(), above);
        std::fs::write(folder.path().join("images/own.yml"), "bootstrap: {suite: bookworm}\n").unwrap();
        assert!(place(&lab, "own", true).unwrap_err().to_string().contains("is no baked image"));
    }
}
