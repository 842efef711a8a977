//! `ini_file`: options in sections.

use serde_json::Value;

use crate::modules::call::arguments::{flag, list, on, path, raw, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::files::ini_section::Wanted;
use crate::modules::text::lossless;

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
    let wanted = wanted(task)?;
    let before = Edit::read(&path)?;
    if before.is_none() && !args.flag("create") {
        let msg = format!("Destination {} does not exist!", path.display());
        return Err(Fault::from(msg).with("rc", 257));
    }
    let text = lossless::decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(text.strip_prefix('\u{feff}').unwrap_or(&text));
    if lines.is_empty() {
        lines.push("\n".to_owned());
    }
    let mut changed = false;
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push('\n');
        changed = true;
    }
    let msg = wanted.apply(&mut lines);
    changed |= msg != "OK";
    let after = if changed { lossless::encode(&lines.concat()) } else { before.clone().unwrap_or_default() };
    let before = if changed { before } else { before.or(Some(Vec::new())) };
    let edit = Edit { path: path.clone(), before, after, msg: msg.to_owned() };
    let mut result = edit.finish(task)?;
    result.insert("msg".into(), msg.into());
    result.insert("path".into(), path.to_string_lossy().into());
    // The diff excludes owner and mode.
    if let Some(contents) = result.get_mut("diff").and_then(|diff| diff.get_mut(0)).map(Value::take) {
        result.insert("diff".into(), contents);
    }
    Ok(Done::from(result))
}

fn wanted<'a>(task: &'a Task<'_>) -> Result<Wanted<'a>, Fault> {
    let args = &task.args;
    let listed: Vec<String> = match args.text("value") {
        Some(value) => vec![value.to_owned()],
        None => args.list("values"),
    };
    let (present, allow_no_value) = (args.str("state") == "present", args.flag("allow_no_value"));
    if present && !allow_no_value && listed.is_empty() {
        return Err("Parameter 'value(s)' must be defined if state=present and allow_no_value=False.".into());
    }
    let mut values = Vec::new();
    for value in listed {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Ok(Wanted {
        section: args.filled("section"),
        has_values: has_values(args.get("section_has_values"))?,
        option: args.filled("option"),
        values,
        present,
        exclusive: args.flag("exclusive"),
        equals: if args.flag("no_extra_spaces") { "=" } else { " = " },
        ignore_spaces: args.flag("ignore_spaces"),
        allow_no_value,
        modify_inactive: args.flag("modify_inactive_option"),
    })
}

fn has_values(given: Option<&Value>) -> Result<Vec<(String, Vec<String>)>, Fault> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let condition = |condition: &Value| {
        let option =
            condition.get("option").and_then(Value::as_str).ok_or("missing required arguments: option found in section_has_values")?;
        let values = match (condition.get("value"), condition.get("values")) {
            (Some(value), _) if !value.is_null() => vec![shown(value)],
            (_, Some(Value::Array(values))) => values.iter().map(shown).collect(),
            _ => Vec::new(),
        };
        Ok((option.to_owned(), values))
    };
    given.and_then(Value::as_array).into_iter().flatten().map(condition).collect()
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
        assert_eq!(bench.read("f"), "[a]\ny = 5\nn = 6\n\n[b]\nz=3\n[c]\nk=v\n");
        bench.converges("ini_file", json!({"path": path, "section": "b", "state": "absent"}), true);
        assert!(!bench.read("f").contains("[b]"));
        let many = json!({"path": path, "section": "c", "option": "k", "values": ["v", "w"], "no_extra_spaces": true});
        bench.converges("ini_file", many, true);
        assert!(bench.read("f").ends_with("[c]\nk=v\nk=w\n"));
    }
}
