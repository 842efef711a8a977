//! Nomad's differences between two versions of a job as lines of text: `+` added, `-` removed, `~` changed.

use serde_json::Value;

/// The lines; none if nothing differs.
pub fn lines(diff: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if sign(diff).is_some() {
        block(diff, &format!("job {}", word(&diff["ID"])), 0, &mut out);
    }
    out
}

/// What Nomad shows beside each part that differs.
fn sign(part: &Value) -> Option<char> {
    match word(&part["Type"]) {
        "Added" => Some('+'),
        "Deleted" => Some('-'),
        "Edited" => Some('~'),
        _ => None,
    }
}

/// A job, group, task or object with everything below it that differs.
fn block(part: &Value, title: &str, depth: usize, out: &mut Vec<String>) {
    let Some(mark) = sign(part) else { return };
    out.push(format!("{mark} {:indent$}{title}{}", "", updates(part), indent = depth * 2));
    for field in list(&part["Fields"]) {
        if let Some(mark) = sign(field) {
            out.push(format!("{mark} {:indent$}{}", "", self::field(field), indent = depth * 2 + 2));
        }
    }
    for (key, kind) in [("Objects", ""), ("TaskGroups", "group "), ("Tasks", "task ")] {
        for below in list(&part[key]) {
            block(below, &format!("{kind}{}", word(&below["Name"])), depth + 1, out);
        }
    }
}

fn field(field: &Value) -> String {
    let (name, old, new) = (word(&field["Name"]), word(&field["Old"]), word(&field["New"]));
    let notes: Vec<&str> = list(&field["Annotations"]).map(word).filter(|note| !note.is_empty()).collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    match word(&field["Type"]) {
        "Added" => format!("{name}: {new:?}{notes}"),
        "Deleted" => format!("{name}: {old:?}{notes}"),
        _ => format!("{name}: {old:?} => {new:?}{notes}"),
    }
}

/// What becomes of a group's instances: ` (1 create, 2 in-place update)`.
fn updates(part: &Value) -> String {
    let counts = part["Updates"].as_object().into_iter().flatten();
    let told: Vec<String> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_stands_below_what_it_belongs_to() {
        let field = |kind: &str, name: &str, old: &str, new: &str| json!({ "Type": kind, "Name": name, "Old": old, "New": new, "Annotations": ["forces create"] });
        let diff = json!({
            "Type": "Edited", "ID": "web", "Fields": [field("None", "Region", "global", "global")], "Objects": null,
            "TaskGroups": [{
                "Type": "Edited", "Name": "web", "Updates": { "create": 48, "in-place update": 2 },
                "Fields": [field("Edited", "Count", "2", "50")],
                "Tasks": [{ "Type": "Edited", "Name": "page", "Fields": null, "Objects": [
                    { "Type": "Added", "Name": "Env", "Fields": [field("Added", "A", "", "1")] },
                    { "Type": "None", "Name": "Resources", "Fields": [] },
                ] }],
            }],
        });
        assert_eq!(
            lines(&diff),
            [
                "~ job web",
                "~   group web (48 create, 2 in-place update)",
                "~     Count: \"2\" => \"50\" (forces create)",
                "~     task page",
                "+       Env",
                "+         A: \"1\" (forces create)",
            ]
        );
        assert_eq!(lines(&json!({ "Type": "None", "ID": "web" })), Vec::<String>::new());
        assert_eq!(lines(&Value::Null), Vec::<String>::new());
    }
}
