//! `lineinfile`: ensures that a line is in a file, or is not.

use serde_json::Value;

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, absent_in_check, lines_of};
use crate::modules::text::lossless::{decode, encode};
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
    names: &["lineinfile"],
    params: &[
        path("path").must().aka(&["dest", "destfile", "name"]),
        text("state").of(&["absent", "present"]).or("present"),
        text("regexp").aka(&["regex"]),
        text("search_string"),
        text("line").aka(&["value"]),
        text("encoding").or("utf-8"),
        flag("backrefs"),
        text("insertafter"),
        text("insertbefore"),
        flag("create"),
        flag("backup"),
        flag("firstmatch"),
        text("validate"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["insertbefore", "insertafter"])?;
    args.exclusive(&["regexp", "search_string"])?;
    args.exclusive(&["backrefs", "search_string"]).or_else(|fault| if args.flag("backrefs") { Err(fault) } else { Ok(()) })?;
    let path = args.path("path").unwrap_or_default();
    let before = Edit::read(&path)?;
    let present = args.str("state") == "present";
    if present {
        if args.flag("backrefs") && !args.has("regexp") {
            return Err("regexp is required with backrefs=true".into());
        }
        if !args.has("line") {
            return Err("line is required with state=present".into());
        }
    } else if !args.has("regexp") && !args.has("search_string") && !args.has("line") {
        return Err("one of line, search_string, or regexp is required with state=absent".into());
    }
    if before.is_none() {
        if !present {
            return Ok(serde_json::json!({"changed": false, "msg": "file not present"}).into());
        }
        if !args.flag("create") {
            if task.check {
                return Ok(absent_in_check(&path).into());
            }
            let msg = format!("Destination {} does not exist !", path.display());
            return Err(Fault::from(msg).with("rc", 257));
        }
    }
    let text = decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&text);
    let mut found = None;
    let msg = if present {
        put(task, &mut lines)?.to_owned()
    } else {
        let count = remove(task, &mut lines)?;
        found = Some(count);
        if count > 0 { format!("{count} line(s) removed") } else { String::new() }
    };
    let after = if msg.is_empty() && before.is_some() { before.clone().unwrap_or_default() } else { encode(&lines.concat()) };
    let mut result = Edit { path, before, after, msg }.finish(task)?;
    result.entry("backup").or_insert(Value::from(""));
    if let Some(found) = found {
        result.insert("found".into(), found.into());
    }
    Ok(Done::from(result))
}

fn bare(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn remove(task: &Task<'_>, lines: &mut Vec<String>) -> Result<usize, Fault> {
    let args = &task.args;
    let regexp = args.text("regexp").map(Pattern::new).transpose()?;
    let all = lines.len();
    lines.retain(|line| match (&regexp, args.text("search_string")) {
        (Some(regexp), _) => !regexp.found(bare(line)),
        (None, Some(needle)) => !line.contains(needle),
        (None, None) => bare(line) != args.str("line"),
    });
    Ok(all - lines.len())
}

/// Where the line belongs; follows Ansible's algorithm, so that its odd cases give the same result.
fn put(task: &Task<'_>, lines: &mut Vec<String>) -> Result<&'static str, Fault> {
    let args = &task.args;
    let line = args.str("line");
    let (after, before) = (args.text("insertafter"), args.text("insertbefore"));
    let regexp = args.text("regexp").map(Pattern::new).transpose()?;
    let anchor = match (after, before) {
        (Some(after), _) if !matches!(after, "BOF" | "EOF") => Some(Pattern::new(after)?),
        (_, Some(before)) if before != "BOF" => Some(Pattern::new(before)?),
        _ => None,
    };
    let first = args.flag("firstmatch");
    let mut hit = None;
    if regexp.is_some() || args.has("search_string") {
        for (number, current) in lines.iter().enumerate() {
            let found = match (&regexp, args.text("search_string")) {
                (Some(regexp), _) => regexp.found(bare(current)),
                (None, needle) => needle.is_some_and(|needle| current.contains(needle)),
            };
            if found {
                hit = Some(number);
                if first {
                    break;
                }
            }
        }
    }
    let matched = hit.is_some();
    let mut place = None;
    if !matched {
        for (number, current) in lines.iter().enumerate() {
            if bare(current) == line {
                hit = Some(number);
            } else if anchor.as_ref().is_some_and(|anchor| anchor.found(bare(current))) {
                place = Some(if after.is_some() { number + 1 } else { number });
                if first {
                    break;
                }
            }
        }
    }
    let whole = format!("{line}\n");
    if let Some(number) = hit {
        let mut new = match (&regexp, args.flag("backrefs") && matched) {
            (Some(regexp), true) => match regexp.captures(bare(&lines[number])) {
                Some(captures) => regexp.expand(line, &captures)?,
                None => line.to_owned(),
            },
            _ => line.to_owned(),
        };
        if !new.ends_with('\n') {
            new.push('\n');
        }
        if lines[number] == new {
            return Ok("");
        }
        lines[number] = new;
        return Ok("line replaced");
    }
    if args.flag("backrefs") {
        return Ok("");
    }
    if before == Some("BOF") || after == Some("BOF") {
        lines.insert(0, whole);
        return Ok("line added");
    }
    let Some(place) = place.filter(|_| after != Some("EOF")) else {
        end_last(lines);
        lines.push(whole);
        return Ok("line added");
    };
    if after.is_some() && lines.get(place).is_some_and(|next| bare(next) == line) {
        return Ok("");
    }
    if place == lines.len() {
        end_last(lines);
    }
    lines.insert(place, whole);
    Ok("line added")
}

fn end_last(lines: &mut [String]) {
    if let Some(last) = lines.last_mut()
        && !last.ends_with(['\n', '\r'])
    {
        last.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn lines_replace_add_and_go() {
        for (start, args, wanted) in [
            ("a=1\nb=2\n", json!({"regexp": "^a=", "line": "a=3"}), "a=3\nb=2\n"),
            ("a=1\na=2\n", json!({"regexp": "^a=", "line": "a=3"}), "a=1\na=3\n"),
            ("a=1\na=2\n", json!({"regexp": "^a=", "line": "a=3", "firstmatch": true}), "a=3\na=2\n"),
            ("x", json!({"line": "y"}), "x\ny\n"),
            ("x\nz\n", json!({"line": "y", "insertafter": "^x"}), "x\ny\nz\n"),
            ("x\nz\n", json!({"line": "y", "insertbefore": "^z"}), "x\ny\nz\n"),
            ("x\n", json!({"line": "y", "insertbefore": "BOF"}), "y\nx\n"),
            ("x\n", json!({"line": "y", "insertafter": "^none"}), "x\ny\n"),
            ("k: 1\n", json!({"regexp": r"^(\w+): (\d)$", "line": r"\1: <\2>", "backrefs": true}), "k: <1>\n"),
            ("a\nb\na\n", json!({"line": "a", "state": "absent"}), "b\n"),
            ("ab\nb\n", json!({"search_string": "a", "state": "absent"}), "b\n"),
            ("ab\nb\n", json!({"search_string": "a", "line": "c"}), "c\nb\n"),
        ] {
            let bench = Bench::new();
            bench.write("f", start);
            let mut args = args;
            args["path"] = bench.text_path("f").into();
            let first = bench.call("lineinfile", args.clone(), true);
            assert_eq!(first.result["changed"], true, "{args}");
            assert_eq!(bench.read("f"), start, "{args}");
            let done = bench.run("lineinfile", args.clone());
            assert_eq!(done["changed"], true);
            assert_eq!(bench.read("f"), wanted, "{args}");
        }
    }

    #[test]
    fn converges_and_creates() {
        let bench = Bench::new();
        let args = json!({"path": bench.text_path("n/f"), "line": "x", "create": true, "mode": "0600"});
        let result = bench.converges("lineinfile", args, true);
        assert_eq!(result["msg"], "line added and ownership, perms or SE linux context changed");
        assert_eq!(bench.read("n/f"), "x\n");
        let missing = bench.text_path("g");
        assert_eq!(bench.fault("lineinfile", json!({"path": missing, "line": "x"})), format!("Destination {missing} does not exist !"));
        let mode = json!({"path": bench.text_path("n/f"), "line": "x", "mode": "0644"});
        let result = bench.converges("lineinfile", mode, true);
        assert_eq!(result["msg"], "ownership, perms or SE linux context changed");
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let bench = Bench::new();
        bench.write("f", b"\xff\xfe\nold\n");
        bench.converges("lineinfile", json!({"path": bench.text_path("f"), "regexp": "^old", "line": "new"}), true);
        assert_eq!(std::fs::read(bench.path("f")).unwrap(), b"\xff\xfe\nnew\n");
    }
}
