//! Folders of labctl's that others can change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use labctl_lab::home::Home;

/// One sentence for each folder of the store that other users of this host can write to: what they put there, machines of this home boot.
/// A store may be shared, but only for reading. (labctl's own folders are closed to others when they are made or used.)
pub fn of(home: &Home) -> Vec<String> {
    let store = home.store();
    let below = fs::read_dir(store).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut folders: Vec<_> = std::iter::once(store.to_owned()).chain(below).collect();
    folders.sort();
    folders.iter().filter(|folder| is_open(folder)).map(|folder| sentence(folder)).collect()
}

fn is_open(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|about| about.mode() & 0o002 != 0)
}

fn sentence(folder: &Path) -> String {
    format!("{0}: every user of this host can change what machines boot from it; close it with: chmod -R o-w {0}", folder.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_store_that_others_can_write_to_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let images = home.store().join("images");
        fs::create_dir_all(&images).unwrap();
        let set = |mode| fs::set_permissions(&images, fs::Permissions::from_mode(mode)).unwrap();
        set(0o755);
        assert_eq!(of(&home), Vec::<String>::new(), "readable by others is all right");
        set(0o757);
        let told = of(&home);
        assert!(told.len() == 1 && told[0].starts_with(&format!("{}: every user", images.display())), "{told:?}");
    }
}
