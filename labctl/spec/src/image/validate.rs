//! The semantic checks of an image file: exactly one source; valid URLs, checksums and packages.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Baked, Bootstrap, Cloud, Image, ImageFile, ImageSource};
use crate::lab::files::absolute;
use crate::names;
use crate::report::Report;
use crate::size::Size;

/// Minimum size of a root file system: a minimal Debian with a kernel takes about 600 MiB.
const LEAST_SIZE: Size = Size(1 << 30);
const MOST_SIZE: Size = Size(16 << 40);

pub(super) fn image(plain: ImageFile, file: &Path, report: &mut Report) -> Option<Image> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !names::is_stem(&name) {
        let hint = "use letters, digits, dots, hyphens and underscores";
        report.add("", format!("the file name `{name}` is not a valid image name"), hint);
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let bootstrap = plain.bootstrap.inspect(|bootstrap| self::bootstrap(bootstrap, report));
    let cloud = plain.cloud.map(|cloud| self::cloud(cloud, folder, report));
    let baked = plain.baked.inspect(|baked| self::baked(baked, report));
    let hint = "give exactly one of `bootstrap` (built from packages), `cloud` (downloaded) and `baked` (written by `labctl image bake`)";
    let mut sources: Vec<(&str, ImageSource)> = Vec::new();
    sources.extend(bootstrap.map(|source| ("/bootstrap", ImageSource::Bootstrap(source))));
    sources.extend(cloud.map(|source| ("/cloud", ImageSource::Cloud(source))));
    sources.extend(baked.map(|source| ("/baked", ImageSource::Baked(source))));
    for (at, _) in sources.iter().skip(1) {
        report.add(at, "the image has more than one source", hint);
    }
    // A source that was dropped because of its own fault is still in the file.
    if sources.is_empty() && report.keys("").iter().all(|key| *key == "description") {
        report.add("", "the image has no source", hint);
    }
    let (_, source) = sources.into_iter().next()?;
    Some(Image { name, description: plain.description.unwrap_or_default(), source })
}

/// Whether a text is an http or https URL.
pub(crate) fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
}

fn bootstrap(bootstrap: &Bootstrap, report: &mut Report) {
    if !names::is_stem(&bootstrap.suite) {
        let hint = "write a Debian suite, such as `bookworm`";
        report.add("/bootstrap/suite", format!("`{}` is not a suite", bootstrap.suite), hint);
    }
    if let Some(mirror) = bootstrap.mirror.as_deref().filter(|mirror| !is_url(mirror)) {
        let hint = "write an address such as `http://mirror.example/debian`";
        report.add("/bootstrap/mirror", format!("`{mirror}` is not an http or https address"), hint);
    }
    let mut seen = BTreeSet::new();
    for (position, package) in bootstrap.packages.iter().enumerate() {
        let at = format!("/bootstrap/packages/{position}");
        // Debian Policy 5.6.1, plus `:architecture` or `=version` as apt accepts them.
        let good = package.len() >= 2
            && package.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && package.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | ':' | '=' | '~'));
        if !good {
            report.add(&at, format!("`{package}` is not a package name"), "write one package per entry, such as `curl`");
        } else if !seen.insert(package) {
            report.add(&at, format!("`{package}` is listed twice"), "remove one");
        }
    }
    if let Some(size) = bootstrap.size.filter(|size| *size < LEAST_SIZE || *size > MOST_SIZE) {
        let hint = format!("allowed: {LEAST_SIZE} to {MOST_SIZE}");
        report.add("/bootstrap/size", format!("{size} is not a valid size for a root file system"), hint);
    }
}

fn baked(baked: &Baked, report: &mut Report) {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if baked.id.len() != 32 || !baked.id.bytes().all(digit) {
        let hint = "it is 32 hex digits in lower case; `labctl image bake` writes this file";
        report.add("/baked/id", format!("`{}` is not the id of an image", baked.id), hint);
    }
}

fn cloud(mut cloud: Cloud, folder: &Path, report: &mut Report) -> Cloud {
    if !is_url(&cloud.url) {
        if cloud.url.contains("://") {
            let reason = format!("`{}` is not an http or https address", cloud.url);
            report.add("/cloud/url", reason, "write an http or https address, or a path relative to this file");
        } else {
            let path = absolute(folder, Path::new(&cloud.url));
            if !path.is_file() {
                let hint = "the path is relative to this file; correct it, or write an http or https address";
                report.add("/cloud/url", format!("{} does not exist", path.display()), hint);
            }
            match path.into_os_string().into_string() {
                Ok(path) => cloud.url = path,
                Err(_) => report.add("/cloud/url", "the path is not UTF-8", "move the image to another folder"),
            }
        }
    }
    if let Err(reason) = checksum(&cloud.checksum) {
        report.add("/cloud/checksum", reason, "write `sha256:` and 64, or `sha512:` and 128 hexadecimal digits");
    }
    cloud.checksum = cloud.checksum.to_ascii_lowercase();
    if let Some(kernel) = &mut cloud.kernel {
        let path = absolute(folder, kernel);
        if !path.is_file() {
            let hint = "the path is relative to this file; correct it";
            report.add("/cloud/kernel", format!("{} does not exist", path.display()), hint);
        }
        *kernel = path;
    }
    cloud
}

fn checksum(text: &str) -> Result<(), String> {
    let (kind, digits) = text.split_once(':').ok_or_else(|| format!("`{text}` does not name its checksum type"))?;
    let length = match kind {
        "sha256" => 64,
        "sha512" => 128,
        _ => return Err(format!("`{kind}` is not a supported checksum type")),
    };
    if digits.len() != length {
        return Err(format!("a {kind} has {length} hexadecimal digits, this one has {}", digits.chars().count()));
    }
    if digits.chars().all(|c| c.is_ascii_hexdigit()) { Ok(()) } else { Err(format!("a {kind} contains only hexadecimal digits")) }
}
