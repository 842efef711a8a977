//! Builds a Debian image from distribution packages: mmdebstrap makes the root folder, mke2fs turns it into a disk.
//!
//! The disk is one ext4 file system without a partition table or boot loader: QEMU loads the kernel, which is copied
//! out next to it. When run as root, the folder is made in place. Otherwise mmdebstrap works in a user namespace
//! (`unshare`) and produces an archive, because its mapped users may not enter a home folder. A second namespace, in
//! which the caller is root, unpacks the archive and makes the disk with the right owners.

mod apt;
mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use labctl_spec::image::{Bootstrap, Image};
use labctl_spec::size::Size;

use crate::build::{Build, Parts};
use crate::child::{self, Ended};
use crate::error::ImageError;
use crate::files;
use crate::progress::Event;
use crate::store_error::{StoreError, at};
use crate::{doctor, free, missing, modules, space, tree};

/// Packages that every guest has, whatever else the image file lists.
const BASE: [&str; 16] = [
    "ca-certificates",
    "curl",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "less",
    "login",
    "openssh-server",
    "passwd",
    "procps",
    "sudo",
    "systemd-sysv",
    // The kernel package depends on an initrd generator; this is the smallest, and the image never runs it.
    "tiny-initramfs",
    "tzdata",
    "udev",
];

/// Runs before the first package is unpacked.
const PREPARE: &str = include_str!("bootstrap/prepare.sh");
/// Runs when all packages are installed.
const TUNE: &str = include_str!("bootstrap/tune.sh");

/// Default size of the root file system.
const SIZE: Size = Size(2 << 30);

/// Peak disk usage of a build in bytes: packages, root folder, archive, disk.
const NEEDED: u64 = 1400 << 20;
/// A safe estimate for each additional package, dependencies included.
const NEEDED_PER_PACKAGE: u64 = 48 << 20;

/// Everything that determines the image, in a form that can be hashed.
pub(crate) fn inputs(bootstrap: &Bootstrap) -> serde_json::Value {
    serde_json::json!({
        "bootstrap": 1,
        "arch": std::env::consts::ARCH,
        "suite": bootstrap.suite,
        "mirror": bootstrap.mirror,
        "packages": packages(bootstrap),
        "size": size(bootstrap).0,
        "prepare": PREPARE,
        "tune": TUNE,
        "modules": modules::WANTED,
    })
}

fn size(bootstrap: &Bootstrap) -> Size {
    bootstrap.size.unwrap_or(SIZE)
}

/// Base and requested packages, sorted and deduplicated, because their order makes no difference.
fn packages(bootstrap: &Bootstrap) -> Vec<String> {
    let kernel = match std::env::consts::ARCH {
        "aarch64" => "linux-image-cloud-arm64",
        _ => "linux-image-cloud-amd64",
    };
    let mut packages: Vec<String> = BASE.map(str::to_string).to_vec();
    packages.push(kernel.to_string());
    packages.extend(bootstrap.packages.iter().cloned());
    packages.sort();
    packages.dedup();
    packages
}

/// Rejects values that would confuse the tools, before running anything.
fn check(image: &Image, bootstrap: &Bootstrap) -> Result<(), ImageError> {
    let invalid = |field, reason: String| ImageError::Invalid { image: image.name.clone(), field, reason };
    let plain = |text: &str, also: &[u8]| {
        !text.is_empty()
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
    };
    if !plain(&bootstrap.suite, b"-._") {
        return Err(invalid("suite", format!("`{}` is not a suite name, such as `bookworm`", bootstrap.suite)));
    }
    if let Some(bad) = bootstrap.packages.iter().find(|name| !plain(name, b"+-.:=~")) {
        return Err(invalid("packages", format!("`{bad}` is not a package name")));
    }
    if let Some(mirror) = &bootstrap.mirror {
        let web = mirror.starts_with("http://") || mirror.starts_with("https://");
        if !web || mirror.contains(char::is_whitespace) {
            return Err(invalid("mirror", format!("`{mirror}` is not a mirror address (http:// or https://)")));
        }
    }
    if size(bootstrap) < Size::mib(768) {
        return Err(invalid("size", format!("{} is too small for a Debian system: at least 768M", size(bootstrap))));
    }
    Ok(())
}

/// Builds the image in the build's folder; returns its parts.
pub(crate) fn build(image: &Image, bootstrap: &Bootstrap, build: &Build<'_>) -> Result<Parts, ImageError> {
    check(image, bootstrap)?;
    let needed = NEEDED + NEEDED_PER_PACKAGE * bootstrap.packages.len() as u64;
    space::require(&format!("image `{}`", image.name), &build.folder, needed)?;
    for tool in [&missing::MMDEBSTRAP, &missing::MKE2FS] {
        missing::need(tool).map_err(|missing| build.missing(missing))?;
    }
    let as_root = rustix::process::geteuid().is_root();
    if !as_root {
        doctor::namespaces().map_err(|missing| build.missing(missing))?;
    }

    let root = build.folder.join("root");
    let archive = build.folder.join("root.tar");
    build.progress.event(Event::Step(format!(
        "installing {} packages of Debian {} (log: {})",
        packages(bootstrap).len(),
        bootstrap.suite,
        build.log.display()
    )));
    let mut command = if as_root { in_own_mounts("mmdebstrap") } else { Command::new("mmdebstrap") };
    command
        .arg("--variant=minbase")
        .arg(if as_root { "--mode=root" } else { "--mode=unshare" })
        .arg(if as_root { "--format=directory" } else { "--format=tar" })
        .arg(format!("--include={}", packages(bootstrap).join(",")))
        .arg(format!("--setup-hook={PREPARE}"))
        .arg(format!("--customize-hook={TUNE}\n{}", apt::guest_sources(bootstrap)));
    let mirror = apt::mirror(bootstrap, build.outside.has_proxy(), build.progress);
    for option in &mirror.options {
        command.arg(format!("--aptopt={option}"));
    }
    let certificates = build.outside.lead(&mut command).map_err(at("write certificates for", &build.folder))?;
    if let Some(file) = &certificates {
        command.arg(format!("--aptopt=Acquire::https::CAInfo \"{}\"", file.path().display()));
    }
    if let Some(keyring) = apt::keyring() {
        command.arg(format!("--keyring={}", keyring.display()));
    }
    command.arg(&bootstrap.suite).arg(if as_root { &root } else { &archive }).args(&mirror.sources);
    finished(build, "mmdebstrap", child::run(command, &build.lock, &build.log)?)?;

    build.progress.event(Event::Step(format!("making the disk of image `{}`", image.name)));
    let disk = build.folder.join("disk.raw");
    let making = disk::Making { root: &root, archive: (!as_root).then_some(archive.as_path()), disk: &disk, size: size(bootstrap) };
    finished(build, "mke2fs", disk::make(&making, &build.lock, &build.log)?)?;

    let kernel = build.folder.join("kernel");
    let version = copy_kernel(image, &root, &kernel)?;
    let cpio = modules::archive(&root.join("usr/lib/modules").join(&version))
        .map_err(|reason| ImageError::Unusable { image: image.name.clone(), reason })?;
    let path = build.folder.join("modules.cpio");
    fs::write(&path, cpio).map_err(at("write", &path))?;

    tree::remove_tree(&root)?;
    files::remove_file(&archive)?;
    Ok(Parts {
        disk: "disk.raw".into(),
        format: labctl_spec::image::DiskFormat::Raw,
        virtual_size: size(bootstrap).0,
        kernel: Some("kernel".into()),
        modules: Some("modules.cpio".into()),
    })
}

/// A program in its own mount and PID namespaces, which disappear when it exits. mmdebstrap mounts `/proc`, `/sys` and
/// devices in the root folder, and must never leave them mounted: the next build would delete through them. Where even
/// root may not create namespaces (in most containers), mmdebstrap mounts nothing either.
fn in_own_mounts(program: &str) -> Command {
    let wrap = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    let allowed = Command::new("unshare")
        .args(wrap)
        .arg("true")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(wrap).arg(program);
    command
}

/// Copies the newest kernel out; returns its version.
fn copy_kernel(image: &Image, root: &Path, to: &Path) -> Result<String, ImageError> {
    let boot = root.join("boot");
    let mut kernels: Vec<(PathBuf, String)> = fs::read_dir(&boot)
        .map_err(at("read", &boot))?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_string();
            Some((entry.path(), version))
        })
        .collect();
    kernels.sort_by(|a, b| a.1.cmp(&b.1));
    let Some((path, version)) = kernels.pop() else {
        return Err(ImageError::Unusable { image: image.name.clone(), reason: "its packages contain no kernel".to_string() });
    };
    fs::copy(&path, to).map_err(at("copy", &path))?;
    Ok(version)
}

fn finished(build: &Build<'_>, program: &str, ended: Ended) -> Result<(), ImageError> {
    match ended {
        Ended::Well => Ok(()),
        Ended::NotFound => Err(build.missing(missing::unknown(program))),
        Ended::Badly { disk_full: true, .. } => Err(StoreError::NoSpace {
            what: format!("image `{}`", build.name),
            path: build.folder.clone(),
            needed: NEEDED,
            available: free::available(&build.folder).unwrap_or(0),
        }
        .into()),
        Ended::Badly { status, lines, .. } => {
            Err(ImageError::Failed { image: build.name.clone(), program: program.to_string(), status, lines, log: build.log.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(packages: &[&str]) -> Bootstrap {
        Bootstrap { suite: "bookworm".into(), mirror: None, packages: packages.iter().map(|name| name.to_string()).collect(), size: None }
    }

    fn refused(bootstrap: Bootstrap) -> String {
        let image =
            Image { name: "x".into(), description: String::new(), source: labctl_spec::image::ImageSource::Bootstrap(bootstrap.clone()) };
        check(&image, &bootstrap).unwrap_err().to_string()
    }

    #[test]
    fn order_and_repetition_of_packages_make_no_difference() {
        assert_eq!(inputs(&bootstrap(&["jq", "nginx"])), inputs(&bootstrap(&["nginx", "jq", "jq", "curl"])));
        assert_ne!(inputs(&bootstrap(&["jq"])), inputs(&bootstrap(&[])));
    }

    #[test]
    fn an_unstated_size_is_the_default_size() {
        let mut stated = bootstrap(&[]);
        stated.size = Some(Size(2 << 30));
        assert_eq!(inputs(&stated), inputs(&bootstrap(&[])));
    }

    #[test]
    fn what_is_no_name_never_reaches_a_command_line() {
        assert!(refused(bootstrap(&["--hook=x"])).contains("`--hook=x`"));
        assert!(refused(bootstrap(&["a,b"])).contains("`a,b`"));
        let mut bad = bootstrap(&[]);
        bad.suite = "-x".into();
        assert!(refused(bad).contains("suite"));
        let mut bad = bootstrap(&[]);
        bad.mirror = Some("ftp://x".into());
        assert!(refused(bad).contains("mirror"));
        let mut bad = bootstrap(&[]);
        bad.size = Some(Size::mib(100));
        assert!(refused(bad).contains("100M is too small"));
    }
}
