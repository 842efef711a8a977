//! Which image a node boots: image files beside the lab file, then those that come with labctl ([`shipped`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use labctl_image::outside::Outside;
use labctl_image::{Boot, BootImage, Event as StoreEvent, ImageError, Provenance, Store, StoredImage};
use labctl_lab::event::Event;
use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind};
use labctl_spec::image::Image;
use labctl_spec::lab::Lab;
use labctl_spec::load_image;
use serde::Serialize;

use crate::{project, shipped};

/// Opens the store.
pub fn store(home: &Home) -> Result<Store, Failure> {
    Store::open(home.store()).map_err(|why| Failure::new(Kind::Host, why.to_string()).hint(why.hint()))
}

/// Opens the store for a lab: downloads and builds reach the outside as its file says.
pub fn store_for(home: &Home, lab: &Lab) -> Result<Store, Failure> {
    Ok(store(home)?.by(Outside::of(&lab.network)))
}

/// Folders that are searched for image files, in order.
fn folders(lab_file: &Path) -> Vec<PathBuf> {
    let beside = lab_file.parent().unwrap_or(Path::new("."));
    vec![beside.join("images"), beside.join("../images")]
}

/// The image of that name and the folder that its relative paths are resolved against.
pub fn find(home: &Home, lab_file: &Path, name: &str) -> Result<(Image, PathBuf), Failure> {
    for folder in folders(lab_file) {
        let file = folder.join(format!("{name}.yml"));
        if file.is_file() {
            let image = load_image(&file).map_err(|why| project::from_load_error(&why))?;
            return Ok((image, folder));
        }
    }
    if shipped::names("images").any(|shipped| shipped == name) {
        let folder = shipped::folder(home)?.join("images");
        let image = load_image(&folder.join(format!("{name}.yml"))).map_err(|why| project::from_load_error(&why))?;
        return Ok((image, folder));
    }
    Err(Failure::new(Kind::NotFound, format!("{}: there is no image `{name}`", lab_file.display()))
        .hint(format!("known images: {}", known(lab_file).join(", "))))
}

/// Names of all images that a lab may use.
pub fn known(lab_file: &Path) -> Vec<String> {
    let mut names: BTreeSet<String> = shipped::names("images").map(str::to_owned).collect();
    for entry in folders(lab_file).iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.into_iter().collect()
}

/// All images of the lab, built or downloaded where missing.
pub async fn prepare(home: &Home, lab: &Lab, each: &(dyn Fn(Event) + Send + Sync)) -> Result<BTreeMap<String, BootImage>, Failure> {
    let names: BTreeSet<&str> = lab.nodes.iter().map(|node| node.image.as_str()).collect();
    // All names first: a missing image is detected before the first one is built.
    let found: Vec<_> = names.into_iter().map(|name| Ok((name, find(home, &lab.file, name)?))).collect::<Result<_, Failure>>()?;
    let store = store_for(home, lab)?;
    let mut images = BTreeMap::new();
    for (name, (image, folder)) in found {
        images.insert(name.to_owned(), make(&store, &image, &folder, each).await?);
    }
    Ok(images)
}

/// Builds or downloads one image, in the way to the outside that the store was opened with.
pub async fn build(
    home: &Home,
    store: &Store,
    lab_file: &Path,
    name: &str,
    each: &(dyn Fn(Event) + Send + Sync),
) -> Result<BootImage, Failure> {
    let (image, folder) = find(home, lab_file, name)?;
    make(store, &image, &folder, each).await
}

async fn make(store: &Store, image: &Image, folder: &Path, each: &(dyn Fn(Event) + Send + Sync)) -> Result<BootImage, Failure> {
    let what = format!("image {}", image.name);
    let made = store.image(image, folder, &report(&what, each)).await;
    made.map_err(|why| {
        let message = match why {
            // The others name the image themselves.
            ImageError::Store(_) => format!("{what}: {why}"),
            _ => why.to_string(),
        };
        Failure::new(Kind::Host, message).hint(why.hint())
    })
}

/// What is known of an image in the store.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Name of the image file that it was made from.
    pub name: String,
    /// Hash of everything that it was made from, in hex.
    pub id: String,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// Size that a guest sees, in bytes.
    pub virtual_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_unix: u64,
    /// How it boots.
    pub boots_by: &'static str,
    /// Where a baked image comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// The newest image in the store with that name, or with an id that begins so (at least six digits).
pub fn show(home: &Home, name: &str) -> Result<Shown, Failure> {
    let store = store(home)?;
    let found = store.images().into_iter().find(|image| image.name == name || (name.len() >= 6 && image.id.starts_with(name)));
    let image =
        found.ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no image `{name}` in the store")).hint("labctl image list"))?;
    Ok(Shown {
        provenance: store.provenance(&image.id),
        bytes: image.size,
        virtual_bytes: image.image.virtual_size,
        created_unix: image.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
        boots_by: match image.image.boot {
            Boot::Direct { .. } => "its kernel, loaded by QEMU",
            Boot::Firmware => "its boot loader",
        },
        name: image.name,
        id: image.id,
    })
}

/// Removes an image from the store, unless a lab's disks are based on it.
pub fn remove(home: &Home, store: &Store, image: &StoredImage) -> Result<(), Failure> {
    for name in home.lab_names() {
        let folder = home.lab(&name).folder().join("nodes");
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let uses = |text: Vec<u8>| String::from_utf8_lossy(&text).contains(&image.id);
            if std::fs::read(entry.path().join("image.json")).is_ok_and(uses) {
                return Err(Failure::new(Kind::Conflict, format!("the disks of lab `{name}` are based on image `{}`", image.name))
                    .hint(format!("labctl --lab {name} destroy")));
            }
        }
    }
    store.remove_image(&image.id).map(drop).map_err(|why| Failure::new(Kind::Host, why.to_string()))
}

/// Turns the store's events into the lab's.
pub fn report<'a>(what: &'a str, each: &'a (dyn Fn(Event) + Send + Sync)) -> impl Fn(StoreEvent) + Send + Sync + 'a {
    let step = std::sync::Mutex::new(String::new());
    move |event| {
        let mut step = step.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let progress = match event {
            StoreEvent::Step(next) => {
                *step = next;
                None
            }
            StoreEvent::Bytes { done, total } => total.map(|total| (done, total)),
            StoreEvent::Note(text) => return each(Event::Note { text: format!("{what}: {text}") }),
        };
        each(Event::Work { what: what.to_owned(), step: step.clone(), progress });
    }
}
