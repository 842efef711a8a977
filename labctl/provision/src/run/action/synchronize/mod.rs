//! `synchronize`: makes a folder on one machine identical to one on another, without rsync on either.
//!
//! ```text
//! source's agent: list ─┐
//!                       ├─▶ compare ─▶ source's agent: pack ─▶ one transfer ─▶ destination's agent: apply
//! dest's agent:   list ─┘     (what is left out, deleted, sent)
//! ```
//! One message per side if nothing differs. The controller has an agent too.

mod filter;
mod options;
mod plan;

use std::path::Path;
use std::sync::Arc;

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value, json};

use self::options::Options;
use self::plan::{Entry, Listing};
use super::{Action, Done, Stop, result};
use crate::data::{Data, dict_from_json};
use crate::run::connection;
use crate::target::{Connection, Content, Target};
use crate::template::filters_paths::expand_user;

/// A machine and the user that works on it.
struct Side {
    target: Arc<dyn Target>,
    become_user: Option<String>,
}

impl Action {
    pub(super) async fn synchronize(&self) -> Done {
        let options = Options::of(self)?;
        let (src, dest) = (self.need("src")?, self.need("dest")?);
        let pull = match self.text("mode").as_deref() {
            None | Some("push") => false,
            Some("pull") => true,
            Some(other) => return Err(Stop::Failed(format!("value of mode must be one of: pull, push, got: {other}"))),
        };
        for text in [&src, &dest] {
            if text.starts_with("rsync://") || text.contains("::") {
                return Err(Stop::Failed(format!("{text}: rsync daemons are not supported")));
            }
        }
        let (near, far) = self.sides(pull)?;
        let near_is_controller = near.1;
        let (near, far) = (near.0, far);
        let near_path = |path: &str| -> String {
            // As in Ansible: a relative path on the controller is in the role's files or the playbook's folder.
            match near_is_controller {
                true => self.near_path(path, !pull),
                false => path.to_owned(),
            }
        };
        let (source, target, src, dest) = match pull {
            false => (&near, &far, near_path(&src), dest),
            true => (&far, &near, src, near_path(&dest)),
        };
        let local = near_is_controller && !pull;
        // The controller's agent reads files unseen by this process. Record them before and after, so that changes in between are noticed.
        let note = || {
            if local {
                self.scope.controller().tree(Path::new(src.trim_end_matches('/')), options.copy_links)
            }
        };
        note();
        let done = self.between(&options, source, target, &src, &dest, if pull { '>' } else { '<' }, local).await;
        note();
        done
    }

    /// The machine where rsync would run (and whether it is the controller), and the task's host.
    fn sides(&self, pull: bool) -> Result<((Side, bool), Side), Stop> {
        let side = |connection: &Connection, become_user: Option<String>| -> Result<Side, Stop> {
            let target = self.play.run.machine(connection, &self.scope.controller());
            let target = target.ok_or_else(|| Stop::Failed(format!("there is no machine '{}' to run this task on", connection.host)))?;
            Ok(Side { target, become_user })
        };
        let delegated = self.task.keywords.get("delegate_to").is_some();
        let home = match delegated {
            true => connection::of(&self.task, &self.host, &self.scope, &self.scope).map_err(|why| Stop::Failed(why.to_string()))?,
            false => self.machine.clone(),
        };
        let near = match (delegated && !self.machine.local, pull) {
            (true, _) => (side(&self.machine, None)?, false),
            (false, true) => (side(&Connection { host: "localhost".to_owned(), local: true, ..Connection::default() }, None)?, true),
            (false, false) => {
                let target = self.play.run.reader();
                let target = target.ok_or_else(|| Stop::Failed("there is no agent for the controller to read its files".to_owned()))?;
                (Side { target, become_user: None }, true)
            }
        };
        Ok((near, side(&home, self.become_user.clone())?))
    }

    fn near_path(&self, path: &str, existing: bool) -> String {
        let expanded = expand_user(path, &self.scope.controller());
        if expanded.starts_with('/') {
            return expanded;
        }
        let slash = if expanded.ends_with('/') { "/" } else { "" };
        let found = existing.then(|| self.local_file("files", expanded.trim_end_matches('/')).ok()).flatten();
        let absolute = found.unwrap_or_else(|| self.play.play.folder.join(&expanded));
        format!("{}{slash}", absolute.display().to_string().trim_end_matches('/'))
    }

    #[allow(clippy::too_many_arguments, reason = "two sides with their paths")]
    async fn between(&self, options: &Options, source: &Side, target: &Side, src: &str, dest: &str, arrow: char, local: bool) -> Done {
        // `folder/` means its contents; `folder` means the folder itself, below the destination.
        let contents = src.ends_with('/');
        let trimmed = src.trim_end_matches('/');
        let (src_base, root) = match (contents || trimmed.is_empty(), trimmed.rsplit_once('/')) {
            (false, Some((above, name))) => (if above.is_empty() { "/" } else { above }, name),
            (false, None) => (".", trimmed),
            (true, _) => (if trimmed.is_empty() { "/" } else { trimmed }, ""),
        };
        let roots = vec![root.to_owned()];
        let mut ask =
            json!({"path": src_base, "_op": "list", "_roots": roots, "_recursive": options.recursive, "_follow": options.copy_links});
        // Without times, only checksums remain to compare by.
        let sums = options.checksum || !options.times && !options.size_only;
        ask["_checksum"] = json!(sums);
        let mut here: Listing = self.list(source, ask).await?;
        if here.entries.is_empty() {
            return Err(Stop::Failed(format!("rsync: link_stat \"{src}\" failed: No such file or directory")));
        }
        // A single file may be renamed; the destination folder is then the parent of the new name.
        let single = here.entries.len() == 1 && here.entries[0].kind != "d";
        let (base, name) = match dest.trim_end_matches('/').rsplit_once('/') {
            Some((above, name)) if single && !dest.ends_with('/') => (if above.is_empty() { "/" } else { above }, Some(name)),
            _ => (dest.trim_end_matches('/'), None),
        };
        let base = if base.is_empty() { "/" } else { base };
        let mut paths: Vec<String> = here.entries.iter().map(|entry| entry.path.clone()).collect();
        let mut base = base.to_owned();
        let mut renamed = None;
        if let Some(name) = name {
            let probe = self.list(target, json!({"path": dest, "_op": "list"})).await?;
            if probe.folder {
                base = dest.to_owned();
            } else {
                renamed = Some((here.entries[0].path.clone(), name.to_owned()));
                here.entries[0].path = name.to_owned();
                paths = vec![name.to_owned()];
            }
        }
        let names = |of: fn(&Entry) -> Option<&String>, asked: &Option<String>| -> Vec<String> {
            let mut names: Vec<String> = here.entries.iter().filter_map(of).chain(asked).cloned().collect();
            names.sort();
            names.dedup();
            names
        };
        let mut ask = json!({
            "path": base, "_op": "list", "_checksum": sums,
            "_users": names(|entry| entry.user.as_ref(), &options.user),
            "_groups": names(|entry| entry.group.as_ref(), &options.user_group),
        });
        match options.delete && !single {
            true => ask["_roots"] = json!(roots),
            false => ask["_paths"] = json!(paths),
        }
        let there = self.list(target, ask).await?;
        if there.exists && !there.folder {
            return Err(Stop::Failed(format!("the destination {base} is not a folder")));
        }
        for (asked, known) in [(&options.user, &there.users), (&options.user_group, &there.groups)] {
            if let Some(name) = asked.as_ref().filter(|name| !known.contains_key(*name) && name.parse::<u32>().is_err()) {
                return Err(Stop::Failed(format!("rsync_opts: --chown names '{name}', which is unknown there")));
            }
        }
        let plan = plan::compare(options, &here.entries, &there, &roots, arrow);
        let lines = plan.lines.clone();
        if !lines.is_empty() && !self.check {
            let wanted = plan.wanted.clone();
            let original: Vec<String> = wanted
                .iter()
                .map(|path| renamed.as_ref().filter(|(_, new)| new == path).map_or_else(|| path.clone(), |(old, _)| old.clone()))
                .collect();
            let make_base = !there.exists;
            let mut args = json!({"path": base, "_op": "apply", "_make_base": make_base});
            if wanted.is_empty() {
                args["_steps"] = json!(plan.steps(&[]));
            } else {
                let (sizes, sha256, size) = self.transfer(source, target, src_base, &original, local).await?;
                args["_steps"] = json!(plan.steps(&sizes));
                args["_sha256"] = json!(sha256);
                args["_size"] = json!(size);
            }
            let reply = self.ask(target, args).await?;
            if reply.needs_content {
                return Err(Stop::Failed("the agent requests content again that it was already sent".to_owned()));
            }
        }
        let text = lines.join("\n");
        let mut out = result([
            ("changed", (!lines.is_empty()).into()),
            ("rc", Data::Int(0)),
            ("cmd", Data::from(format!("synchronize {src} {dest}"))),
            ("msg", Data::from(if text.is_empty() { String::new() } else { format!("{text}\n") })),
            ("stdout_lines", lines.iter().map(String::as_str).collect::<Vec<_>>().into()),
        ]);
        if self.diff {
            let diff = json!({"prepared": text});
            out.insert("diff".into(), crate::data::Data::map(dict_from_json(diff.as_object().unwrap_or(&Map::new()))));
        }
        Ok(out)
    }

    /// Transfers the contents of all files to the other side at once; returns their sizes, the SHA-256 and the size of the whole.
    async fn transfer(
        &self,
        source: &Side,
        target: &Side,
        base: &str,
        paths: &[String],
        local: bool,
    ) -> Result<(Vec<u64>, String, u64), Stop> {
        let packed = self.ask(source, json!({"path": base, "_op": "pack", "_paths": paths})).await?.result;
        let text = |key: &str| packed.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (pack, sha256) = (text("pack"), text("sha256"));
        let size = packed.get("size").and_then(Value::as_u64).unwrap_or_default();
        let sizes =
            packed.get("sizes").and_then(Value::as_array).map_or_else(Vec::new, |sizes| sizes.iter().filter_map(Value::as_u64).collect());
        let content = match local {
            true => Ok(Content::File(pack.clone().into())),
            false => source.target.get(&pack).await.map(|bytes| Content::Bytes(Arc::new(bytes))),
        };
        let sent = match content {
            Ok(content) => {
                let spool = ModuleCall::spool_path_in(&target.target.state(), &sha256);
                target.target.put(content, &sha256, &spool).await
            }
            Err(why) => Err(why),
        };
        let dropped = self.ask(source, json!({"path": pack, "_op": "drop"})).await;
        sent?;
        dropped?;
        Ok((sizes, sha256, size))
    }

    async fn list(&self, side: &Side, args: Value) -> Result<Listing, Stop> {
        let reply = self.ask(side, args).await?;
        serde_json::from_value(Value::Object(reply.result)).map_err(|why| Stop::Failed(format!("the agent's list cannot be parsed: {why}")))
    }

    async fn ask(&self, side: &Side, args: Value) -> Result<ModuleReply, Stop> {
        let Value::Object(args) = args else { return Err(Stop::Failed("arguments must be a mapping".to_owned())) };
        let call = ModuleCall {
            module: "synchronize".to_owned(),
            args,
            become_user: side.become_user.clone(),
            environment: self.environment.clone(),
            timeout_ms: self.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            ..ModuleCall::default()
        };
        let reply = side.target.call(call).await?;
        if reply.result.get("failed") == Some(&Value::Bool(true)) {
            let why = reply.result.get("msg").and_then(Value::as_str).unwrap_or("no reason given");
            return Err(Stop::Failed(why.to_owned()));
        }
        Ok(reply)
    }
}
