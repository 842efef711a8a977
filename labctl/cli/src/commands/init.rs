//! `labctl init`.

use std::path::Path;
use std::process::ExitCode;

use labctl_core::project::LAB_FILE;
use labctl_core::{host_proxy, shipped};
use labctl_lab::{Failure, Kind};
use labctl_spec as spec;
use labctl_spec::ident::LabName;

use crate::session::Session;

/// Arguments of `labctl init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the lab [default: the folder's name]
    name: Option<String>,
    /// Write the demo lab: Consul and Nomad on five machines, a job, a load balancer
    #[arg(long, conflicts_with = "name")]
    demo: bool,
    /// Replace existing files
    #[arg(long, short)]
    force: bool,
}

pub fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let here = std::env::current_dir().map_err(Failure::io("the current folder"))?;
    if args.demo {
        let written = shipped::write_demo(&here, args.force)?;
        let proxy = take_proxy(&here.join(LAB_FILE))?;
        let names: Vec<String> = written.iter().map(|path| path.strip_prefix(&here).unwrap_or(path).display().to_string()).collect();
        session.out.result(&written, || format!("wrote {}: Consul and Nomad on five machines", names.join(" and ")));
        proxy.iter().for_each(|line| session.out.say(line));
        session.out.say("Next: labctl up");
        return Ok(ExitCode::SUCCESS);
    }
    let name: LabName = match &args.name {
        Some(name) => name.parse().map_err(|why: spec::ident::BadName| Failure::new(Kind::Input, why.to_string()))?,
        None => from_folder(&here.file_name().unwrap_or_default().to_string_lossy()),
    };
    let file = here.join(LAB_FILE);
    if file.exists() && !args.force {
        return Err(Failure::new(Kind::Conflict, format!("{} already exists", file.display())).hint("--force replaces it"));
    }
    labctl_lab::persist::write_public(&file, spec::example_lab(&name).as_bytes())?;
    let proxy = take_proxy(&file)?;
    session.out.say(&format!("wrote {}: one plain virtual machine, with everything else as comments", file.display()));
    proxy.iter().for_each(|line| session.out.say(line));
    session.out.say("Next: labctl up");
    Ok(ExitCode::SUCCESS)
}

/// Writes the proxy of this computer's environment into the new lab file; what to say about it.
fn take_proxy(file: &Path) -> Result<Vec<String>, Failure> {
    let Some(proxy) = host_proxy::find(|name| std::env::var(name).ok()) else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file).map_err(Failure::io(file.display()))?;
    labctl_lab::persist::write_public(file, proxy.add_to(&text).as_bytes())?;
    Ok(proxy.summary().into_iter().chain(proxy.notes).collect())
}

/// Derives a lab name from a folder name: characters that a name cannot contain become hyphens.
fn from_folder(folder: &str) -> LabName {
    let mut name: String = folder.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    name = name.trim_matches(|c: char| c == '-').chars().take(40).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-').to_owned();
    name.parse().or_else(|_| "lab".parse()).unwrap_or_else(|_: spec::ident::BadName| unreachable!("`lab` is a name"))
}

#[cfg(test)]
mod tests {
    use super::from_folder;

    #[test]
    fn folders_give_names() {
        for (folder, name) in [("My Lab_2", "my-lab-2"), ("123", "lab"), ("", "lab"), ("1a-", "a"), ("--x--", "x")] {
            assert_eq!(from_folder(folder).as_str(), name, "{folder}");
        }
    }
}
