//! `blockinfile`: lines between two markers.

use serde_json::json;

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, absent_in_check, lines_of};
use crate::modules::text::lossless::{decode, encode};
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
    names: &["blockinfile"],
    params: &[
        path("path").must().aka(&["dest", "destfile", "name"]),
        text("state").of(&["absent", "present"]).or("present"),
        text("marker").or("# {mark} ANSIBLE MANAGED BLOCK"),
        text("block").or("").aka(&["content"]),
        text("insertafter"),
        text("insertbefore"),
        flag("create"),
        flag("backup"),
        text("validate"),
        text("marker_begin").or("BEGIN"),
        text("marker_end").or("END"),
        flag("append_newline"),
        flag("prepend_newline"),
        text("encoding").or("utf-8"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["insertbefore", "insertafter"])?;
    let path = args.path("path").unwrap_or_default();
    let before = Edit::read(&path)?;
    let present = args.str("state") == "present";
    if before.is_none() {
        if !args.flag("create") {
            if task.check && present {
                return Ok(absent_in_check(&path).into());
            }
            let msg = format!("Path {} does not exist !", path.display());
            return Err(Fault::from(msg).with("rc", 257));
        }
        if !present {
            let msg = format!("File {} not present", path.display());
            return Ok(json!({"changed": false, "msg": msg}).into());
        }
    }
    let text = decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&text);
    let removed = rewrite(task, &mut lines, &text)?;
    let after = encode(&lines.concat());
    let msg = match &before {
        Some(before) if *before == after => "",
        None => "File created",
        Some(_) if removed => "Block removed",
        Some(_) => "Block inserted",
    };
    Ok(Done::from(Edit { path, before, after, msg: msg.to_owned() }.finish(task)?))
}

/// Puts the block where it belongs; returns whether there is none to put.
fn rewrite(task: &Task<'_>, lines: &mut Vec<String>, text: &str) -> Result<bool, Fault> {
    let args = &task.args;
    let present = args.str("state") == "present";
    let (after, before) = match (args.text("insertafter"), args.text("insertbefore")) {
        (None, None) => (Some("EOF"), None),
        given => given,
    };
    let mark = |word: &str| format!("{}\n", args.str("marker").replace("{mark}", word));
    let (begin, end) = (mark(args.str("marker_begin")), mark(args.str("marker_end")));
    let mut block = Vec::new();
    let body = args.str("block");
    if present && !body.is_empty() {
        block.push(begin.clone());
        block.extend(lines_of(body));
        if let Some(last) = block.last_mut()
            && !last.ends_with('\n')
        {
            last.push('\n');
        }
        block.push(end.clone());
    }
    let first = lines.iter().rposition(|line| *line == begin);
    let last = lines.iter().rposition(|line| *line == end);
    let mut at = match (first, last) {
        (Some(first), Some(last)) => {
            let (from, to) = (first.min(last), first.max(last));
            lines.drain(from..=to);
            from
        }
        _ => place(lines, text, after, before)?,
    };
    if at > 0 && !lines[at - 1].ends_with('\n') {
        lines[at - 1].push('\n');
    }
    if args.flag("prepend_newline") && present && at != 0 && lines[at - 1] != "\n" {
        lines.insert(at, "\n".to_owned());
        at += 1;
    }
    let length = block.len();
    let removed = block.is_empty();
    lines.splice(at..at, block);
    if args.flag("append_newline") && present && lines.get(at + length).is_some_and(|line| line != "\n") {
        lines.insert(at + length, "\n".to_owned());
    }
    Ok(removed)
}

fn place(lines: &[String], text: &str, after: Option<&str>, before: Option<&str>) -> Result<usize, Fault> {
    let anchor = match (after, before) {
        (Some("EOF"), _) | (None, None) => return Ok(lines.len()),
        (_, Some("BOF")) => return Ok(0),
        (Some(anchor), _) | (None, Some(anchor)) => anchor,
    };
    let pattern = Pattern::new(anchor)?;
    let inline = anchor.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
    let found = if inline.is_some_and(|(flags, _)| flags.contains('m')) {
        pattern.captures(text).and_then(|captures| captures.get(0)).map(|found| {
            let end = if after.is_some() { found.end() } else { found.start() };
            text[..end].matches('\n').count()
        })
    } else {
        lines.iter().rposition(|line| pattern.found(line.trim_end_matches(['\r', '\n'])))
    };
    Ok(match found {
        None => lines.len(),
        Some(at) if after.is_some() => (at + 1).min(lines.len()),
        Some(at) => at,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn a_block_comes_changes_and_goes() {
        let bench = Bench::new();
        bench.write("f", "one\ntwo");
        let path = bench.text_path("f");
        bench.converges("blockinfile", json!({"path": path, "block": "a\nb"}), true);
        assert_eq!(bench.read("f"), "one\ntwo\n# BEGIN ANSIBLE MANAGED BLOCK\na\nb\n# END ANSIBLE MANAGED BLOCK\n");
        bench.converges("blockinfile", json!({"path": path, "block": "c\n"}), true);
        assert!(bench.read("f").contains("BLOCK\nc\n# END"));
        let result = bench.converges("blockinfile", json!({"path": path, "state": "absent"}), true);
        assert_eq!((bench.read("f").as_str(), result["msg"].as_str()), ("one\ntwo\n", Some("Block removed")));
    }

    #[test]
    fn places_and_blank_lines() {
        let bench = Bench::new();
        bench.write("f", "one\ntwo\n");
        let args = json!({"path": bench.text_path("f"), "block": "x", "insertafter": "^one", "marker": "; {mark}",
            "prepend_newline": true, "append_newline": true});
        bench.converges("blockinfile", args, true);
        assert_eq!(bench.read("f"), "one\n\n; BEGIN\nx\n; END\n\ntwo\n");
        let args = json!({"path": bench.text_path("g"), "block": "x", "create": true, "insertbefore": "BOF"});
        assert_eq!(bench.converges("blockinfile", args, true)["msg"], "File created");
    }
}
