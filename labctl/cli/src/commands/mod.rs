//! The commands, one file each: arguments and implementation.

mod autostart;
mod cat;
mod clone;
mod completion;
mod console;
mod cp;
mod dashboard;
mod destroy;
mod doctor;
mod env;
mod exec;
mod export;
mod graph;
pub mod habits;
mod halt;
#[cfg(test)]
mod help_tests;
mod hosts;
mod image;
mod image_bake;
mod image_show;
mod init;
mod inventory;
mod job;
mod layers;
mod list;
mod logs;
mod play;
mod provision;
mod prune;
mod reload;
mod resume;
mod scenario;
mod schema;
mod snapshot;
mod ssh;
mod ssh_config;
mod status;
mod supervisor;
mod suspend;
mod sync;
mod template;
#[cfg(test)]
mod told_tests;
mod top;
mod up;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use labctl_lab::Failure;

use crate::session::{Global, Session};

/// A real cluster on a laptop: boots virtual machines from one lab file, provisions them, breaks them on purpose.
#[derive(Debug, Parser)]
#[command(name = "labctl", version, max_term_width = 100, propagate_version = true, args_override_self = true)]
#[command(
    after_help = "Examples:\n  labctl init && labctl up         one plain machine in an empty folder\n  labctl init --demo && labctl up  a Consul and Nomad cluster of five\n  labctl status; labctl ssh NODE; labctl halt; labctl destroy\n\nExit codes: 0 done, 1 a fault of labctl's own, 2 wrong usage, 3 a wrong file or argument, 4 the host lacks something,\n5 not found, 6 in conflict with another command or lab, 7 a machine failed, 8 provisioning failed, 9 a scenario did not pass. `exec` and `ssh` give the command's own."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the lab (or some of its nodes) and provision new nodes
    Up(up::Args),
    /// Show the nodes, their addresses and published ports
    Status(status::Args),
    /// Show what the nodes use of processor and memory, and what more Nomad has room for
    Top(top::Args),
    /// Show all labs: their state, memory and folders
    List(list::Args),
    /// Shut nodes down
    Halt(halt::Args),
    /// Shut nodes down and start them again
    Reload(reload::Args),
    /// Save all nodes and stop their machines; `resume` or `up` continues from there
    Suspend(suspend::Args),
    /// Resume a suspended lab
    Resume(resume::Args),
    /// Save the whole lab, and rewind it in seconds
    Snapshot(snapshot::Args),
    /// Make copies of a lab, with the same internal addresses or in another subnet
    Clone(clone::Args),
    /// Remove nodes or the whole lab, leaving nothing behind
    Destroy(destroy::Args),
    /// Run the lab file's plays on the running nodes
    Provision(provision::Args),
    /// Run playbooks on the lab's nodes, or on machines in an inventory
    Play(play::Args),
    /// Plan, run, stop and render Nomad jobs
    Job(job::Args),
    /// Copy files and folders to a node, from a node, or between nodes
    Cp(cp::Args),
    /// Bring the lab file's `sync:` folders to the nodes, once or with every change
    Sync(sync::Args),
    /// Print files of a node
    Cat(cat::Args),
    /// Run a command in a node
    Exec(exec::Args),
    /// Log in to a node with SSH
    Ssh(ssh::Args),
    /// Print an ssh configuration for the lab's nodes
    SshConfig(ssh_config::Args),
    /// Print the lab as an inventory for Ansible
    Inventory(inventory::Args),
    /// Print the lab for another tool: Ansible, OpenSSH, Terraform
    Export(export::Args),
    /// Print variables for a shell: addresses of Nomad, Consul, Vault and of the nodes
    Env(env::Args),
    /// Print a picture of the lab, drawn from its lab file
    Graph(graph::Args),
    /// Attach to a node's serial console
    Console(console::Args),
    /// Show logs of the supervisor, a node, its console or a unit
    Logs(logs::Args),
    /// Show the lab live in the browser
    Dashboard(dashboard::Args),
    /// Manage the lab's names in the hosts file
    Hosts(hosts::Args),
    /// Run a chaos scenario against the lab
    #[command(alias = "chaos")]
    Scenario(scenario::Args),
    /// Start labs when the host boots or you log in
    Autostart(autostart::Args),
    /// Check the lab file, or other labctl files
    Validate(validate::Args),
    /// Write an example lab file into this folder
    Init(init::Args),
    /// List, build, download and remove images
    Image(image::Args),
    /// Find what this host lacks, and print the commands that install it
    Doctor(doctor::Args),
    /// Find machines and folders that no longer belong to a lab, and unfinished templates
    Prune(prune::Args),
    /// Print the JSON schema of a file format, for editors
    Schema(schema::Args),
    /// Print shell completion, or the manual page
    Completion(completion::Args),
    /// The process that owns a lab's machines; started by the other commands
    #[command(hide = true)]
    Supervisor(supervisor::Args),
}

/// Runs the command.
pub async fn run(session: &Session, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(args) => up::run(session, args).await,
        Command::Status(args) => status::run(session, args).await,
        Command::Top(args) => top::run(session, args).await,
        Command::List(args) => list::run(session, args).await,
        Command::Halt(args) => halt::run(session, args).await,
        Command::Reload(args) => reload::run(session, args).await,
        Command::Suspend(args) => suspend::run(session, args).await,
        Command::Resume(args) => resume::run(session, args).await,
        Command::Snapshot(args) => snapshot::run(session, args).await,
        Command::Clone(args) => clone::run(session, args).await,
        Command::Destroy(args) => destroy::run(session, args).await,
        Command::Provision(args) => provision::run(session, args).await,
        Command::Play(args) => play::run(session, args).await,
        Command::Job(args) => job::run(session, args).await,
        Command::Cp(args) => cp::run(session, args).await,
        Command::Sync(args) => sync::run(session, args).await,
        Command::Cat(args) => cat::run(session, args).await,
        Command::Exec(args) => exec::run(session, args).await,
        Command::Ssh(args) => ssh::run(session, args).await,
        Command::SshConfig(args) => ssh_config::run(session, args),
        Command::Inventory(args) => inventory::run(session, args),
        Command::Export(args) => export::run(session, args),
        Command::Env(args) => env::run(session, args),
        Command::Graph(args) => graph::run(session, args),
        Command::Console(args) => console::run(session, args).await,
        Command::Logs(args) => logs::run(session, args).await,
        Command::Dashboard(args) => dashboard::run(session, args).await,
        Command::Hosts(args) => hosts::run(session, args),
        Command::Scenario(args) => scenario::run(session, args).await,
        Command::Autostart(args) => autostart::run(session, args).await,
        Command::Validate(args) => validate::run(session, args),
        Command::Init(args) => init::run(session, args),
        Command::Image(args) => image::run(session, args).await,
        Command::Doctor(args) => doctor::run(session, args).await,
        Command::Prune(args) => prune::run(session, args).await,
        Command::Schema(args) => schema::run(session, args),
        Command::Completion(args) => completion::run(session, args),
        Command::Supervisor(args) => supervisor::run(args).await,
    }
}
