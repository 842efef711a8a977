//! `replace`: replaces all matches of a regular expression in a file.

use serde_json::json;

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, absent_in_check};
use crate::modules::text::lossless::{decode, encode};
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
    names: &["replace"],
    params: &[
        path("path").must().aka(&["dest", "destfile", "name"]),
        text("regexp").must(),
        text("replace").or(""),
        text("after"),
        text("before"),
        flag("backup"),
        text("validate"),
        text("encoding").or("utf-8"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let path = args.path("path").unwrap_or_default();
    let Some(before) = Edit::read(&path)? else {
        if task.check {
            return Ok(absent_in_check(&path).into());
        }
        let msg = format!("Path {} does not exist !", path.display());
        return Err(Fault::from(msg).with("rc", 257));
    };
    let text = decode(&before);
    let section = match (args.filled("after"), args.filled("before")) {
        (None, None) => None,
        (Some(after), Some(before)) => Some(format!("{after}(?P<subsection>.*?){before}")),
        (Some(after), None) => Some(format!("{after}(?P<subsection>.*)")),
        (None, Some(before)) => Some(format!("(?P<subsection>.*){before}")),
    };
    let range = match section {
        None => 0..text.len(),
        Some(pattern) => {
            let compiled = Pattern::dot_all(&pattern)?;
            match compiled.captures(&text).and_then(|captures| captures.name("subsection")) {
                Some(found) => found.start()..found.end(),
                None => {
                    let msg = format!("Pattern for before/after params did not match the given file: {pattern}");
                    return Ok(json!({"changed": false, "rc": 0, "msg": msg}).into());
                }
            }
        }
    };
    let regexp = Pattern::multiline(args.str("regexp"))?;
    let (new, count) = regexp.replace_all(&text[range.clone()], args.str("replace"))?;
    let same = new == text[range.clone()];
    let msg = if same { String::new() } else { format!("{count} replacements made") };
    let after = match same {
        true => before.clone(),
        false => encode(&format!("{}{new}{}", &text[..range.start], &text[range.end..])),
    };
    let mut result = Edit { path, before: Some(before), after, msg }.finish(task)?;
    result.insert("rc".into(), 0.into());
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn matches_are_replaced_within_their_section() {
        let bench = Bench::new();
        bench.write("f", "a=1\n[s]\na=1\n[t]\na=1\n");
        let args =
            json!({"path": bench.text_path("f"), "regexp": "^a=(\\d)$", "replace": "a = \\1", "after": "\\[s\\]", "before": "\\[t\\]"});
        let result = bench.converges("replace", args, true);
        assert_eq!(result["msg"], "1 replacements made");
        assert_eq!(bench.read("f"), "a=1\n[s]\na = 1\n[t]\na=1\n");
        let none = json!({"path": bench.text_path("f"), "regexp": "x", "after": "nowhere"});
        assert_eq!(bench.run("replace", none)["changed"], false);
    }
}
