//! `ini_file`: options in sections.

use crate::modules::call::arguments::{flag, list, on, path, raw, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};

pub(crate) const MODULE: Module = Module {
    names: &["ini_file"],
    params: &[
        path("path").must().aka(&["dest"]),
        text("section"),
        raw("section_has_values"),
        text("option"),
        text("value"),
        list("values"),
        flag("backup"),
        text("state").of(&["absent", "present"]).or("present"),
        on("exclusive"),
        flag("no_extra_spaces"),
        flag("ignore_spaces"),
        flag("allow_no_value"),
        on("modify_inactive_option"),
        on("create"),
        flag("follow"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["value", "values"])?;
    let path = args.path("path").unwrap_or_default();
    let before = Edit::read(&path)?;
    if before.is_none() && !args.flag("create") && !task.check {
        let msg = format!("Destination {} does not exist!", path.display());
        return Err(Fault::from(msg).with("rc", 257));
    }
    let text = before.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let mut lines = lines_of(&text);
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push('\n');
    }
    let msg = rewrite(task, &mut lines)?;
    let changed = msg != "OK";
    let after = if changed { lines.concat().into_bytes() } else { before.clone().unwrap_or_default() };
    let before = if changed { before } else { before.or(Some(Vec::new())) };
    let edit = Edit { path: path.clone(), before, after, msg: msg.to_owned() };
    let mut result = edit.finish(task)?;
    result.insert("path".into(), path.to_string_lossy().into());
    Ok(Done::from(result))
}

/// Option and value of a line; `commented` if it stands behind a comment sign.
fn parse(line: &str) -> Option<(String, Option<String>, bool)> {
    let bare = line.trim();
    let commented = bare.starts_with(['#', ';']);
    let body = bare.trim_start_matches(['#', ';']).trim_start();
    if body.is_empty() || body.starts_with('[') {
        return None;
    }
    match body.split_once('=') {
        Some((key, value)) => Some((key.trim().to_owned(), Some(value.trim().to_owned()), commented)),
        None => Some((body.to_owned(), None, commented)),
    }
}

fn rewrite(task: &Task<'_>, lines: &mut Vec<String>) -> Result<&'static str, Fault> {
    let args = &task.args;
    let section = args.filled("section");
    let present = args.str("state") == "present";
    let header = |line: &str| line.trim().strip_prefix('[').and_then(|l| l.split(']').next()).map(str::to_owned);
    let start = match section {
        None => Some(0),
        Some(name) => lines.iter().position(|line| header(line).as_deref() == Some(name)).map(|at| at + 1),
    };
    let Some(option) = args.filled("option") else {
        return Ok(match (start, present, section) {
            (None, true, Some(name)) => {
                begin(lines, name);
                "section added"
            }
            (Some(start), false, Some(_)) => {
                let end = lines[start..].iter().position(|l| header(l).is_some()).map_or(lines.len(), |n| start + n);
                lines.drain(start - 1..end);
                "section removed"
            }
            _ => "OK",
        });
    };
    let mut values: Vec<Option<String>> = match args.text("value") {
        Some(value) => vec![Some(value.to_owned())],
        None => args.list("values").into_iter().map(Some).collect(),
    };
    if values.is_empty() && args.flag("allow_no_value") {
        values.push(None);
    }
    if present && values.is_empty() {
        return Err("Parameter 'value(s)' must be defined if state=present and 'allow_no_value' is False".into());
    }
    let equals = if args.flag("no_extra_spaces") { "=" } else { " = " };
    let render = |value: &Option<String>| match value {
        Some(value) => format!("{option}{equals}{value}\n").replace(" \n", "\n"),
        None => format!("{option}\n"),
    };
    let Some(start) = start else {
        if !present {
            return Ok("OK");
        }
        begin(lines, section.unwrap_or_default());
        lines.extend(values.iter().map(render));
        return Ok("section and option added");
    };
    let end = lines[start..].iter().position(|line| header(line).is_some()).map_or(lines.len(), |n| start + n);
    let hits = |commented: bool| -> Vec<usize> {
        (start..end).filter(|at| parse(&lines[*at]).is_some_and(|(key, _, off)| key == option && off == commented)).collect()
    };
    let active = hits(false);
    let had = |at: &usize| parse(&lines[*at]).and_then(|(_, value, _)| value);
    if !present {
        let gone: Vec<usize> =
            active.iter().copied().filter(|at| args.flag("exclusive") || values.is_empty() || values.contains(&had(at))).collect();
        for at in gone.iter().rev() {
            lines.remove(*at);
        }
        return Ok(if gone.is_empty() { "OK" } else { "option changed" });
    }
    let ignore = args.flag("ignore_spaces");
    let fits = |at: &usize, value: &Option<String>| {
        if ignore { had(at) == *value } else { lines[*at].trim_end() == render(value).trim_end() }
    };
    let mut kept = Vec::new();
    let mut open: Vec<&Option<String>> = Vec::new();
    for value in &values {
        match active.iter().find(|at| !kept.contains(*at) && fits(at, value)) {
            Some(at) => kept.push(*at),
            None => open.push(value),
        }
    }
    let mut free: Vec<usize> = match args.flag("exclusive") {
        true => active.iter().copied().filter(|at| !kept.contains(at)).collect(),
        false => active.iter().copied().filter(|at| values.contains(&had(at)) && !kept.contains(at)).collect(),
    };
    if active.is_empty() && args.flag("modify_inactive_option") {
        free = hits(true).into_iter().take(open.len()).collect();
    }
    if open.is_empty() && free.is_empty() {
        return Ok("OK");
    }
    let mut msg = "option changed";
    let mut insert = Vec::new();
    for value in open {
        if free.is_empty() {
            insert.push(render(value));
            msg = "option added";
        } else {
            lines[free.remove(0)] = render(value);
        }
    }
    let mut tail = end;
    for at in free.iter().rev() {
        lines.remove(*at);
        tail -= 1;
    }
    while tail > start && lines[tail - 1].trim().is_empty() {
        tail -= 1;
    }
    lines.splice(tail..tail, insert);
    Ok(msg)
}

fn begin(lines: &mut Vec<String>, name: &str) {
    if lines.last().is_some_and(|line| !line.trim().is_empty()) {
        lines.push("\n".to_owned());
    }
    lines.push(format!("[{name}]\n"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn options_are_set_added_and_removed() {
        let bench = Bench::new();
        bench.write("f", "[a]\nx = 1\n;y = 2\n\n[b]\nz=3\n");
        let path = bench.text_path("f");
        let with = |extra: serde_json::Value| {
            let mut args = json!({"path": path, "section": "a"});
            args.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            args
        };
        assert_eq!(bench.converges("ini_file", with(json!({"option": "x", "value": "2"})), true)["msg"], "option changed");
        bench.converges("ini_file", with(json!({"option": "y", "value": "5"})), true);
        assert_eq!(bench.converges("ini_file", with(json!({"option": "n", "value": "6"})), true)["msg"], "option added");
        assert_eq!(bench.read("f"), "[a]\nx = 2\ny = 5\nn = 6\n\n[b]\nz=3\n");
        bench.converges("ini_file", with(json!({"option": "x", "state": "absent"})), true);
        let new = json!({"path": path, "section": "c", "option": "k", "value": "v", "no_extra_spaces": true});
        assert_eq!(bench.converges("ini_file", new, true)["msg"], "section and option added");
        assert_eq!(bench.read("f"), "[a]\ny = 5\nn = 6\n\n[b]\nz=3\n\n[c]\nk=v\n");
        bench.converges("ini_file", json!({"path": path, "section": "b", "state": "absent"}), true);
        assert!(!bench.read("f").contains("[b]"));
        let many = json!({"path": path, "section": "c", "option": "k", "values": ["v", "w"], "no_extra_spaces": true});
        bench.converges("ini_file", many, true);
        assert!(bench.read("f").ends_with("[c]\nk=v\nk=w\n"));
    }
}
