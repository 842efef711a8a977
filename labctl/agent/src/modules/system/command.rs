//! `command`, `shell` and `raw`: run a command.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, list, on, path, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::{MOST_OUTPUT, Spawn};
use crate::modules::call::task::{Module, Task};
use crate::modules::system::clock::{delta, moment};
use crate::modules::text::shell_words;

pub(crate) const MODULE: Module = Module {
    names: &["command", "shell", "raw"],
    params: &[
        text("cmd"),
        list("argv"),
        path("chdir"),
        path("creates"),
        path("removes"),
        path("executable"),
        text("stdin"),
        on("stdin_add_newline"),
        on("strip_empty_ends"),
        on("expand_argument_vars"),
        flag("warn"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let name = task.call.module.rsplit('.').next().unwrap_or_default();
    let line = args.filled("_raw_params").or(args.filled("cmd"));
    let argv = args.list("argv");
    let shell = name != "command";
    if line.is_none() && argv.is_empty() {
        return Err(Fault::from("no command given").with("rc", 256));
    }
    if line.is_some() && !argv.is_empty() {
        return Err(Fault::from("only command or argv can be given, not both").with("rc", 256));
    }
    let words = match (line, shell) {
        (Some(line), true) => {
            let executable = args.filled("executable").unwrap_or("/bin/sh");
            vec![executable.to_owned(), "-c".to_owned(), line.to_owned()]
        }
        (Some(line), false) => shell_words(line).map_err(Fault::from)?,
        (None, _) => argv,
    };
    let cmd = match (shell, line) {
        (true, Some(line)) => Value::from(line),
        _ => json!(words),
    };
    let words = if shell || !args.flag("expand_argument_vars") { words } else { words.iter().map(|word| expand(word, task)).collect() };
    if words.first().is_none_or(String::is_empty) {
        return Err(Fault::from("no command given").with("rc", 256));
    }
    let cwd = args.filled("chdir").map(PathBuf::from);
    if let Some(cwd) = &cwd
        && !cwd.is_dir()
    {
        return Err(Fault::from(format!(
            "Unable to change directory before execution: [Errno 2] No such file or directory: '{}'",
            cwd.display()
        ))
        .with("cmd", cmd));
    }
    let within = |pattern: &str| cwd.clone().unwrap_or_default().join(pattern);
    if let Some(pattern) = args.filled("creates")
        && crate::modules::files::find_glob::any(&within(pattern))
    {
        return Ok(skipped(cmd, pattern, "exists", task.check));
    }
    if let Some(pattern) = args.filled("removes")
        && !crate::modules::files::find_glob::any(&within(pattern))
    {
        return Ok(skipped(cmd, pattern, "does not exist", task.check));
    }
    if task.check {
        let mut result = Map::new();
        let guarded = args.has("creates") || args.has("removes");
        result.insert("changed".into(), guarded.into());
        result.insert("cmd".into(), cmd);
        for key in ["stdout", "stderr"] {
            result.insert(key.into(), "".into());
        }
        result.insert("rc".into(), 0.into());
        result.insert("delta".into(), Value::Null);
        result.insert("start".into(), Value::Null);
        result.insert("end".into(), Value::Null);
        if guarded {
            result.insert("msg".into(), "Command would have run if not in check mode".into());
        } else {
            result.insert("skipped".into(), true.into());
            result.insert("msg".into(), "Command would have run if not in check mode".into());
        }
        return Ok(result.into());
    }
    execute(task, words, cmd, cwd.as_deref())
}

fn skipped(cmd: Value, pattern: &str, why: &str, check: bool) -> crate::modules::call::outcome::Done {
    let did = if check { "Would not" } else { "Did not" };
    json!({
        "changed": false, "cmd": cmd, "rc": 0, "stdout": format!("skipped, since {pattern} {why}"), "stderr": "",
        "delta": null, "start": null, "end": null, "msg": format!("{did} run command since '{pattern}' {why}"),
    })
    .into()
}

fn execute(task: &Task<'_>, words: Vec<String>, cmd: Value, cwd: Option<&Path>) -> Outcome {
    let args = &task.args;
    let mut spawn = Spawn::of(task, words);
    if let Some(cwd) = cwd {
        spawn = spawn.cwd(cwd);
    }
    if let Some(input) = args.text("stdin") {
        let newline = if args.flag("stdin_add_newline") { "\n" } else { "" };
        spawn = spawn.stdin(format!("{input}{newline}"));
    }
    if crate::modules::call::become_user::is_needed(task.root, task.call)? {
        spawn = spawn.by_user(task.root, task.call.become_user.as_deref().unwrap_or_default())?;
    }
    let (start, clock) = (SystemTime::now(), Instant::now());
    let output = spawn.run();
    let took = clock.elapsed();
    let output = match output {
        Ok(output) => output,
        Err(err) => {
            let number = err.raw_os_error().unwrap_or(257);
            let text = err.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let program = spawn.argv.first().cloned().unwrap_or_default();
            return Err(Fault::from(format!("[Errno {number}] {text}: b'{program}'"))
                .with_all(json!({"cmd": cmd, "rc": number, "stdout": "", "stderr": ""})));
        }
    };
    // `raw` returns the output unchanged, including the last line end.
    let raw = task.call.module.rsplit('.').next() == Some("raw");
    let strip = |text: String| match args.flag("strip_empty_ends") && !raw {
        true => text.trim_end_matches(['\r', '\n']).to_owned(),
        false => text,
    };
    let mut result = json!({
        "changed": true,
        "cmd": cmd,
        "rc": output.rc,
        "stdout": strip(output.out()),
        "stderr": strip(output.err()),
        "start": moment(start, false).long(),
        "end": moment(start + took, false).long(),
        "delta": delta(took),
        "msg": "",
    });
    if output.cut {
        result["warnings"] = json!([format!("output beyond {} MiB of a stream was discarded", MOST_OUTPUT >> 20)]);
    }
    if output.timed_out {
        return Err(Fault::from("the command exceeded its time limit").with_all(result));
    }
    if output.rc != 0 {
        result["changed"] = true.into();
        return Err(Fault::from("non-zero return code").with_all(result));
    }
    Ok(result.into())
}

/// Expands `$NAME` and `${NAME}` from the task's environment, like Python's `os.path.expandvars`; unknown ones are kept.
fn expand(word: &str, task: &Task<'_>) -> String {
    let word = match word.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            format!("{}{rest}", std::env::var("HOME").unwrap_or_else(|_| "/root".into()))
        }
        _ => word.to_owned(),
    };
    let mut text = String::with_capacity(word.len());
    let mut rest = word.as_str();
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (&braced[..end], end + 2),
                None => ("", 0),
            },
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let end = end.unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let value = task.call.environment.get(name).cloned().or_else(|| std::env::var(name).ok());
        match value.filter(|_| !name.is_empty()) {
            Some(value) => text.push_str(&value),
            None => text.push_str(&rest[at..at + 1 + length]),
        }
        rest = &after[length..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn results_of_commands() {
        let bench = Bench::new();
        let result = bench.run("command", json!({"_raw_params": "echo 'a  b' $NOPE"}));
        assert_eq!((result["stdout"].as_str(), result["rc"].as_i64()), (Some("a  b $NOPE"), Some(0)));
        assert_eq!(result["cmd"], json!(["echo", "a  b", "$NOPE"]));
        let result = bench.run("shell", json!({"cmd": "echo one; echo two >&2; pwd", "chdir": "/tmp"}));
        assert_eq!(result["stdout_lines"], json!(["one", "/tmp"]));
        assert_eq!((result["stderr"].as_str(), result["changed"].as_bool()), (Some("two"), Some(true)));
        let result = bench.run("command", json!({"argv": ["cat"], "stdin": "x"}));
        assert_eq!(result["stdout"], "x");
    }

    #[test]
    fn failures() {
        let bench = Bench::new();
        let reply = bench.call("shell", json!({"cmd": "echo out; exit 3"}), false);
        assert_eq!((reply.result["rc"].as_i64(), reply.result["stdout"].as_str()), (Some(3), Some("out")));
        assert_eq!(reply.result["msg"], "non-zero return code");
        let reply = bench.call("command", json!({"cmd": "no-such-thing-here"}), false);
        assert_eq!(reply.result["rc"], 2);
        assert_eq!(reply.result["msg"], "[Errno 2] No such file or directory: b'no-such-thing-here'");
        assert_eq!(bench.fault("command", json!({})), "no command given");
    }

    #[test]
    fn guards_and_check_mode() {
        let bench = Bench::new();
        bench.write("there", "");
        let creates = json!({"cmd": "false", "creates": bench.text_path("the*")});
        assert_eq!(bench.run("command", creates)["changed"], false);
        let removes = json!({"cmd": "false", "removes": bench.text_path("gone")});
        let result = bench.run("command", removes);
        assert!(result["msg"].as_str().unwrap().starts_with("Did not run command since '"), "{result}");
        let made = bench.text_path("made");
        let check = bench.call("shell", json!({"cmd": format!("touch {made}"), "creates": made}), true);
        assert_eq!(check.result["changed"], true);
        let check = bench.call("shell", json!({"cmd": format!("touch {made}")}), true);
        assert_eq!(check.result["skipped"], true);
        assert!(!bench.exists("made"));
    }
}
