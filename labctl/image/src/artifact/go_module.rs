//! Builds a program from a Go module with the host's Go client, in a temporary module that only requires it. Go's
//! checksum database checks every module in the build. Environment settings that would disable it are overridden or
//! refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use labctl_spec::artifact::GoModuleSource;

use super::error::Failure;
use super::{Wanted, elf, go_toolchain};
use crate::child::{self, Ended};
use crate::files;
use crate::missing::{self, Tool};
use crate::progress::Event;
use crate::store_error::{StoreError, at};

/// A build does not start with less free space than this: roughly what the packages and the link of a large program
/// take.
const NEEDED: u64 = 1 << 30;

/// The compiler that cgo runs.
const CC: Tool = Tool { program: "cc", package: "gcc libc6-dev", why: "builds Go programs that use C" };

pub(super) fn fetch(wanted: &Wanted<'_>, source: &GoModuleSource) -> Result<(), Failure> {
    let source = &GoModuleSource { module_version: wanted.fill(&source.module_version), ..source.clone() };
    check(source).map_err(Failure::Source)?;
    let go = go_toolchain::find(source.go.as_deref())?;
    if source.cgo {
        missing::need(&CC)?;
    }
    if setting(&go, "GOSUMDB").as_deref() == Some("off") {
        return Err(Failure::Source("GOSUMDB is off, so the modules would not be verified".into()));
    }
    crate::space::require(&wanted.artifact.name, &wanted.folder, NEEDED)?;
    let folder = wanted.folder.join("go");
    // A previous source may have left its own files.
    files::remove_folder(&folder)?;
    files::create_folder(&folder)?;
    let mod_file = folder.join("go.mod");
    fs::write(&mod_file, go_mod(source)).map_err(at("write", &mod_file))?;

    wanted.progress.event(Event::Step(format!(
        "building {} from {}@{} (a large program takes minutes; log: {})",
        wanted.artifact.name,
        source.module,
        source.module_version,
        wanted.log.display()
    )));
    let package = source.package.as_ref().unwrap_or(&source.module);
    let mut command = Command::new(&go);
    command.args(["build", "-mod=mod", "-trimpath", "-buildvcs=false"]);
    let tags = tags(source);
    if !tags.is_empty() {
        command.arg(format!("-tags={}", tags.join(",")));
    }
    command.arg(format!("-ldflags={}", ldflags(source))).arg("-o").arg(&wanted.to).arg(package);
    command
        .current_dir(&folder)
        .env("CGO_ENABLED", if source.cgo { "1" } else { "0" })
        .env("GOOS", "linux")
        .env("GOARCH", architecture())
        // Keep out any project around the build folder and the user's flags. Go may fetch the exact toolchain version.
        .env("GO111MODULE", "on")
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "auto")
        // Nothing is exempt from the checksum database.
        .env("GONOSUMDB", "")
        .env("GONOSUMCHECK", "")
        .env("GOPRIVATE", "")
        .env("GOINSECURE", "");
    let _certificates = wanted.outside.lead(&mut command).map_err(at("write certificates for", &wanted.folder))?;
    match child::run(command, &wanted.lock, &wanted.log)? {
        Ended::Well => elf::require_static(&wanted.to).map_err(Failure::Source),
        Ended::NotFound => Err(Failure::Source(format!("{} has disappeared", go.display()))),
        Ended::Badly { disk_full: true, .. } => Err(Failure::Store(StoreError::NoSpace {
            what: format!("building {}", wanted.artifact.name),
            path: wanted.folder.clone(),
            needed: NEEDED,
            available: crate::free::available(&wanted.folder).unwrap_or(0),
        })),
        Ended::Badly { status, lines, .. } => {
            Err(Failure::Source(format!("go build: {status}: {} (log: {})", lines.join("; "), wanted.log.display())))
        }
    }
}

/// Rejects values that would break out of a go.mod line or be parsed as an option.
fn check(source: &GoModuleSource) -> Result<(), String> {
    let word = |field: &str, text: &str| {
        let good =
            !text.is_empty() && !text.starts_with('-') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-_+~@!".contains(&b));
        if good { Ok(()) } else { Err(format!("{field} `{text}` is not a Go name or version")) }
    };
    word("module", &source.module)?;
    word("module_version", &source.module_version)?;
    source.package.iter().try_for_each(|package| word("package", package))?;
    source.tags.iter().try_for_each(|tag| word("tags", tag))?;
    source.go.iter().try_for_each(|go| {
        let known = go_toolchain::Version::parse(go).is_some() && word("go", go).is_ok();
        if known { Ok(()) } else { Err(format!("go `{go}` is not a version of Go, such as 1.20")) }
    })?;
    for (from, to) in &source.replace {
        word("replace", from)?;
        match to.split_whitespace().collect::<Vec<_>>()[..] {
            [path, version] => word("replace", path).and(word("replace", version))?,
            _ => {
                return Err(format!("replace `{from}` must be a module's path and version, not `{to}`"));
            }
        }
    }
    source.exclude.iter().try_for_each(|(path, version)| word("exclude", path).and(word("exclude", version)))
}

/// A go.mod (go.dev/ref/mod) that requires only the module itself; `go build -mod=mod` completes it.
fn go_mod(source: &GoModuleSource) -> String {
    let mut text = format!(
        "module labctl.invalid/artifact\n\ngo {}\n\nrequire {} {}\n",
        source.go.as_deref().unwrap_or("1.21"),
        source.module,
        source.module_version
    );
    for (from, to) in &source.replace {
        text.push_str(&format!("replace {from} => {to}\n"));
    }
    for (path, version) in &source.exclude {
        text.push_str(&format!("exclude {path} {version}\n"));
    }
    text
}

/// The module's own tags. With cgo, also the tags that avoid the C library's name and user lookups, which need shared
/// libraries at run time even in a static program.
fn tags(source: &GoModuleSource) -> Vec<String> {
    let mut tags = source.tags.clone();
    if source.cgo {
        tags.extend(["netgo", "osusergo"].map(String::from));
    }
    tags.dedup();
    tags
}

fn ldflags(source: &GoModuleSource) -> String {
    let mut flags = "-s -w".to_string();
    if source.cgo {
        flags.push_str(" -linkmode external -extldflags -static");
    }
    if let Some(more) = &source.ldflags {
        flags.push(' ');
        flags.push_str(more);
    }
    flags
}

/// Go's name for this machine's architecture, which is also the guests'.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A setting of the Go client, from the environment or the user's `go env -w`.
fn setting(go: &Path, name: &str) -> Option<String> {
    let output = Command::new(go)
        .args(["env", name])
        .env("GOTOOLCHAIN", "local")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> GoModuleSource {
        GoModuleSource {
            module: "example.com/nomad".into(),
            module_version: "v1.6.1".into(),
            package: None,
            replace: [("example.com/a".to_string(), "example.com/b v0.1.0".to_string())].into(),
            exclude: [("example.com/c".to_string(), "v3.0.0+incompatible".to_string())].into(),
            tags: vec!["ui".into()],
            ldflags: None,
            go: Some("1.20".into()),
            cgo: true,
        }
    }

    #[test]
    fn the_module_file_names_what_was_declared() {
        assert_eq!(
            go_mod(&source()),
            "module labctl.invalid/artifact\n\ngo 1.20\n\nrequire example.com/nomad v1.6.1\n\
             replace example.com/a => example.com/b v0.1.0\nexclude example.com/c v3.0.0+incompatible\n"
        );
    }

    #[test]
    fn c_is_linked_statically_and_looks_nothing_up_at_run_time() {
        assert_eq!(ldflags(&source()), "-s -w -linkmode external -extldflags -static");
        assert_eq!(tags(&source()), ["ui", "netgo", "osusergo"]);
        let plain = GoModuleSource { cgo: false, ldflags: Some("-X main.v=1".into()), ..source() };
        assert_eq!(ldflags(&plain), "-s -w -X main.v=1");
        assert_eq!(tags(&plain), ["ui"]);
    }

    #[test]
    fn nothing_breaks_out_of_a_line() {
        assert_eq!(check(&source()), Ok(()));
        let bad = [
            GoModuleSource { module: "a\nreplace x => y v1".into(), ..source() },
            GoModuleSource { module: "-toolexec=x".into(), ..source() },
            GoModuleSource { package: Some("-o".into()), ..source() },
            GoModuleSource { replace: [("a".to_string(), "../local".to_string())].into(), ..source() },
            GoModuleSource { tags: vec!["a b".into()], ..source() },
            GoModuleSource { go: Some("new".into()), ..source() },
        ];
        for source in bad {
            assert!(check(&source).is_err(), "{source:?}");
        }
    }
}
