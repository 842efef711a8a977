//! Verbs of Vagrant, Docker, Compose, Podman, Multipass and Lima. One that means the same here is an alias. Any other gets a hint at the
//! command that does it. Nothing ever guesses at a command that destroys.

mod hints;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches};
use labctl_lab::{Failure, Kind};

use super::Cli;
use crate::output::Output;

/// Commands and what other tools call them.
const ALIASES: &[(&str, &[&str])] = &[
    ("up", &["start"]),
    ("halt", &["stop"]),
    ("reload", &["restart"]),
    ("status", &["ps"]),
    ("ssh", &["shell"]),
    ("list", &["ls", "global-status"]),
    ("cp", &["copy", "transfer", "scp"]),
    ("sync", &["rsync"]),
];

/// Commands that remove or discard something. A word that is only similar never leads to one of them.
const DESTROYING: &[&str] = &["destroy", "prune", "rm", "delete", "remove", "restore", "rewind"];

/// Exit code for wrong usage, the same as clap's.
const USAGE: u8 = 2;

/// The command line's grammar, with the aliases. A command's own help names them in one line.
pub fn command() -> Command {
    Cli::command().mut_subcommands(|command| match ALIASES.iter().find(|(name, _)| *name == command.get_name()) {
        Some((_, verbs)) => called(command, verbs),
        None => command,
    })
}

fn called(command: Command, verbs: &[&'static str]) -> Command {
    let also = format!("Also called: {}", verbs.join(", "));
    let after = match command.get_after_help() {
        Some(text) => format!("{text}\n\n{also}"),
        None => also,
    };
    command.visible_aliases(verbs.iter().copied()).after_help(after)
}

/// Parses this process's command line. Help, the version and mistakes are printed here; then the exit code is returned.
pub fn parse() -> Result<Cli, ExitCode> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let mut error = match try_parse(&given) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    if let Some((verb, hint)) = hint(&error, &given) {
        let json = given.iter().any(|word| word == "--json");
        let failure = Failure::new(Kind::Input, format!("labctl has no command `{verb}`")).hint(hint);
        Output::new(json, false).failure(&failure);
        return Err(ExitCode::from(USAGE));
    }
    forget_destroying(&mut error);
    error.exit()
}

fn try_parse(given: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(given)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// For a verb that other tools have: the verb with the commands before it, and what to use instead.
fn hint(error: &clap::Error, given: &[OsString]) -> Option<(String, &'static str)> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let mut path = String::new();
    let mut within = command();
    for word in given.iter().skip(1).filter_map(|word| word.to_str()).take_while(|word| word != verb) {
        if let Some(found) = within.find_subcommand(word).cloned() {
            path += &format!("{} ", found.get_name());
            within = found;
        }
    }
    let wanted = format!("{path}{verb}");
    let (_, hint) = hints::HINTS.iter().find(|(known, _)| *known == wanted)?;
    Some((wanted, hint))
}

/// Takes commands that destroy out of clap's suggestions for a misspelled one.
fn forget_destroying(error: &mut clap::Error) {
    if let Some(ContextValue::Strings(mut names)) = error.remove(ContextKind::SuggestedSubcommand) {
        names.retain(|name| !DESTROYING.contains(&name.as_str()));
        if !names.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(names));
        }
    }
}
