//! The arguments of `synchronize`, as the rsync(1) options that they stand for.

use std::path::Path;

use super::filter::Rule;
use crate::controller::Controller;
use crate::data::Data;
use crate::python;
use crate::run::action::{Action, Stop};

/// What to synchronize.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub recursive: bool,
    pub folders: bool,
    pub links: bool,
    pub copy_links: bool,
    pub perms: bool,
    pub times: bool,
    pub folder_times: bool,
    pub owner: bool,
    pub group: bool,
    pub checksum: bool,
    pub size_only: bool,
    pub update: bool,
    pub delete: bool,
    pub delete_excluded: bool,
    pub existing_only: bool,
    pub ignore_existing: bool,
    pub numeric_ids: bool,
    pub chmod: Vec<String>,
    /// `--chown`: names or numbers.
    pub user: Option<String>,
    pub user_group: Option<String>,
    pub rules: Vec<Rule>,
}

/// Arguments about how to call rsync and SSH, which do not apply here.
const WITHOUT_MEANING: &[&str] = &[
    "_local_rsync_path",
    "_local_rsync_password",
    "_substitute_controller",
    "compress",
    "delay_updates",
    "dest_port",
    "partial",
    "private_key",
    "rsync_path",
    "rsync_timeout",
    "set_remote_user",
    "ssh_connection_multiplexing",
    "use_ssh_args",
    "verify_host",
];

const KNOWN: &[&str] = &[
    "src",
    "dest",
    "mode",
    "archive",
    "checksum",
    "copy_links",
    "delete",
    "dirs",
    "existing_only",
    "group",
    "links",
    "owner",
    "perms",
    "recursive",
    "rsync_opts",
    "times",
];

impl Options {
    pub(super) fn of(action: &Action) -> Result<Self, Stop> {
        for name in action.args.keys() {
            if !KNOWN.contains(&&**name) && !WITHOUT_MEANING.contains(&&**name) {
                let supported = [KNOWN, WITHOUT_MEANING].concat().join(", ");
                let message =
                    format!("Unsupported parameters for (synchronize) module: {name}. Supported parameters include: {supported}.");
                return Err(Stop::Failed(message));
            }
        }
        let archive = action.flag("archive", true)?;
        let flag = |name: &str, default: bool| action.flag(name, default);
        let mut options = Self {
            recursive: flag("recursive", archive)?,
            folders: flag("dirs", false)?,
            links: flag("links", archive)?,
            copy_links: flag("copy_links", false)?,
            perms: flag("perms", archive)?,
            times: flag("times", archive)?,
            folder_times: true,
            owner: flag("owner", archive)?,
            group: flag("group", archive)?,
            checksum: flag("checksum", false)?,
            delete: flag("delete", false)?,
            existing_only: flag("existing_only", false)?,
            ..Self::default()
        };
        let given: Vec<String> = match action.args.get("rsync_opts") {
            None | Some(Data::Null) => Vec::new(),
            Some(Data::List(list)) => list.iter().map(python::str_of).collect(),
            Some(other) => python::str_of(other).split(',').map(str::to_owned).collect(),
        };
        options.read(&given, &action.play.play.folder, &action.scope.controller()).map_err(Stop::Failed)?;
        if options.delete && !options.recursive && !options.folders {
            return Err(Stop::Failed("delete=yes needs recursive=yes (or archive=yes)".to_owned()));
        }
        Ok(options)
    }

    /// rsync's own options. Those that only affect how it works are ignored.
    fn read(&mut self, given: &[String], folder: &Path, controller: &Controller) -> Result<(), String> {
        let mut given = given.iter().map(|option| option.trim()).filter(|option| !option.is_empty());
        while let Some(option) = given.next() {
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let mut value_of = || value.or_else(|| given.next()).map(unquoted).ok_or_else(|| format!("rsync_opts: {name} needs a value"));
            match name {
                "--exclude" => self.rules.push(Rule { include: false, pattern: value_of()? }),
                "--include" => self.rules.push(Rule { include: true, pattern: value_of()? }),
                "--exclude-from" | "--include-from" => {
                    let file = folder.join(value_of()?);
                    let text =
                        controller.read_to_string(&file).map_err(|why| format!("rsync_opts: cannot read {}: {why}", file.display()))?;
                    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
                    let include = name == "--include-from";
                    self.rules.extend(lines.map(|line| rule(line).unwrap_or(Rule { include, pattern: line.to_owned() })));
                }
                "--filter" | "-f" => {
                    let text = value_of()?;
                    let rule = rule(&text)
                        .ok_or_else(|| format!("rsync_opts: the filter '{text}' is not supported; write `- pattern` or `+ pattern`"))?;
                    self.rules.push(rule);
                }
                "--chmod" => self.chmod.extend(value_of()?.split(',').map(str::to_owned)),
                "--chown" => {
                    let text = value_of()?;
                    let (user, group) = text.split_once(':').unwrap_or((&text, ""));
                    self.user = Some(user.to_owned()).filter(|user| !user.is_empty()).or(self.user.take());
                    self.user_group = Some(group.to_owned()).filter(|group| !group.is_empty()).or(self.user_group.take());
                }
                "--delete" | "--delete-after" | "--delete-before" | "--delete-during" | "--del" | "--delete-delay" => self.delete = true,
                "--delete-excluded" => (self.delete, self.delete_excluded) = (true, true),
                "--existing" | "--ignore-non-existing" => self.existing_only = true,
                "--ignore-existing" => self.ignore_existing = true,
                "--checksum" => self.checksum = true,
                "--no-checksum" => self.checksum = false,
                "--size-only" => self.size_only = true,
                "--update" => self.update = true,
                "--numeric-ids" => self.numeric_ids = true,
                "--archive" => self.archive(),
                "--recursive" => self.recursive = true,
                "--dirs" => self.folders = true,
                "--links" => self.links = true,
                "--copy-links" => self.copy_links = true,
                "--perms" => self.perms = true,
                "--times" => self.times = true,
                "--owner" => self.owner = true,
                "--group" => self.group = true,
                "--omit-dir-times" => self.folder_times = false,
                "--no-recursive" | "--no-r" => self.recursive = false,
                "--no-links" | "--no-l" => self.links = false,
                "--no-perms" | "--no-p" => self.perms = false,
                "--no-times" | "--no-t" => self.times = false,
                "--no-owner" | "--no-o" => self.owner = false,
                "--no-group" | "--no-g" => self.group = false,
                "--timeout" | "--contimeout" | "--bwlimit" | "--compress-level" | "--rsync-path" | "--info" | "--out-format" => {
                    value_of()?;
                }
                "--no-motd" | "--stats" | "--progress" | "--verbose" | "--quiet" | "--itemize-changes" | "--human-readable"
                | "--compress" | "--partial" | "--delay-updates" | "--whole-file" | "--no-whole-file" | "--force" | "--mkpath"
                | "--protect-args" | "--specials" | "--devices" | "--no-specials" | "--no-devices" | "--no-D" | "--inc-recursive"
                | "--no-inc-recursive" | "--no-compress" | "--fsync" => {}
                short if short.len() > 1 && short.starts_with('-') && !short.starts_with("--") => self.letters(short)?,
                _ => return Err(format!("rsync_opts: {option} is not supported")),
            }
        }
        Ok(())
    }

    fn archive(&mut self) {
        self.recursive = true;
        self.links = true;
        self.perms = true;
        self.times = true;
        self.owner = true;
        self.group = true;
    }

    /// Single-letter options, written together.
    fn letters(&mut self, option: &str) -> Result<(), String> {
        for letter in option.chars().skip(1) {
            match letter {
                'a' => self.archive(),
                'r' => self.recursive = true,
                'd' => self.folders = true,
                'l' => self.links = true,
                'L' => self.copy_links = true,
                'p' => self.perms = true,
                't' => self.times = true,
                'o' => self.owner = true,
                'g' => self.group = true,
                'c' => self.checksum = true,
                'u' => self.update = true,
                'O' => self.folder_times = false,
                'v' | 'q' | 'h' | 'i' | 'z' | 'P' | 'W' | 'D' | 's' => {}
                _ => return Err(format!("rsync_opts: -{letter} is not supported")),
            }
        }
        Ok(())
    }
}

/// `- pattern` or `+ pattern`.
fn rule(text: &str) -> Option<Rule> {
    let (sign, pattern) = text.trim().split_once(' ')?;
    let include = match sign {
        "+" | "include" => true,
        "-" | "exclude" => false,
        _ => return None,
    };
    Some(Rule { include, pattern: pattern.trim().to_owned() })
}

/// Removes the quotes that some people write although no shell reads them.
fn unquoted(text: &str) -> String {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        options.read(&given.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(), Path::new("/"), &Controller::default())?;
        Ok(options)
    }

    #[test]
    fn options_are_understood_or_refused() {
        let options = read(&["--exclude=.git", "--include", "'*.c'", "--chown=app:", "-ac", "--no-o", "--chmod=D755,F644"]).unwrap();
        assert_eq!(options.rules, [Rule { include: false, pattern: ".git".into() }, Rule { include: true, pattern: "*.c".into() }]);
        assert!(options.checksum && options.recursive && options.group && !options.owner && options.user_group.is_none());
        assert_eq!((options.user.as_deref(), options.chmod.len()), (Some("app"), 2));
        assert_eq!(read(&["--exclude"]).unwrap_err(), "rsync_opts: --exclude needs a value");
        assert_eq!(read(&["--backup-dir=x"]).unwrap_err(), "rsync_opts: --backup-dir=x is not supported");
        assert_eq!(read(&["-X"]).unwrap_err(), "rsync_opts: -X is not supported");
    }
}
