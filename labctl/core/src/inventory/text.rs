//! An inventory as text for Ansible: YAML (version 1.1, as PyYAML reads it) or INI.

use serde_json::{Map, Value};

use super::Inventory;

/// The YAML file.
pub(super) fn yaml(inventory: &Inventory) -> String {
    let mut out = String::from("all:\n");
    block(&mut out, 2, "vars", &inventory.vars);
    out += "  hosts:\n";
    for (name, vars) in &inventory.hosts {
        block(&mut out, 4, name.as_str(), vars);
    }
    if !inventory.groups.is_empty() {
        out += "  children:\n";
    }
    for (name, vars, members) in &inventory.groups {
        out += &format!("    {}:\n", quoted(name));
        if !vars.is_empty() {
            block(&mut out, 6, "vars", vars);
        }
        out += "      hosts:\n";
        for member in members {
            out += &format!("        {}: {{}}\n", quoted(member.as_str()));
        }
    }
    out
}

/// `name:` and the variables below it, at that indentation.
fn block(out: &mut String, indent: usize, name: &str, vars: &Map<String, Value>) {
    let empty = if vars.is_empty() { " {}" } else { "" };
    let key = if name == "vars" { name.to_owned() } else { quoted(name) };
    out.push_str(&format!("{:indent$}{key}:{empty}\n", ""));
    for (name, value) in vars {
        out.push_str(&format!("{:indent$}  {}: {}\n", "", variable(name), flow(value, &YAML)));
    }
}

/// The name of a variable; some names are something else in YAML 1.1 (yaml.org/type/bool.html).
fn variable(name: &str) -> String {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let identifier =
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let plain = identifier && !WORDS.contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { quoted(name) }
}

/// How a format writes what JSON writes in its own way.
struct Words {
    constants: [&'static str; 3],
}

const YAML: Words = Words { constants: ["true", "false", "null"] };
/// Ansible reads values in INI files as Python literals.
const PYTHON: Words = Words { constants: ["True", "False", "None"] };

/// A value in one line.
fn flow(value: &Value, words: &Words) -> String {
    let [yes, no, none] = words.constants;
    match value {
        Value::Null => none.to_owned(),
        Value::Bool(true) => yes.to_owned(),
        Value::Bool(false) => no.to_owned(),
        Value::Number(number) => float(&number.to_string()),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(|item| flow(item, words)).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", quoted(key), flow(value, words))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A number; YAML 1.1 takes `1e16` for text, because it wants a point and a sign.
fn float(number: &str) -> String {
    let Some((digits, exponent)) = number.split_once('e') else { return number.to_owned() };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{digits}{point}e{sign}{exponent}")
}

/// Text in double quotes. JSON, YAML and Python have these escapes in common.
fn quoted(text: &str) -> String {
    // The last control character is the only one that JSON does not escape and YAML rejects.
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The INI file.
pub(super) fn ini(inventory: &Inventory) -> String {
    let mut out = String::new();
    for (name, vars) in &inventory.hosts {
        let assigned = vars.iter().map(|(name, value)| format!(" {name}={}", word(&literal(value)))).collect::<String>();
        out += &format!("{name}{assigned}\n");
    }
    for (name, _, members) in &inventory.groups {
        let members: String = members.iter().map(|member| format!("{member}\n")).collect();
        out += &format!("\n[{name}]\n{members}");
    }
    let groups = inventory.groups.iter().map(|(name, vars, _)| (name.as_str(), vars));
    for (name, vars) in std::iter::once(("all", &inventory.vars)).chain(groups).filter(|(_, vars)| !vars.is_empty()) {
        let lines: String = vars.iter().map(|(name, value)| format!("{name}={}\n", literal(value))).collect();
        out += &format!("\n[{name}:vars]\n{lines}");
    }
    out
}

/// A value as Ansible reads it in an INI file: a Python literal, or plain text that is none.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        value => flow(value, &PYTHON),
    }
}

/// Whether a text is safe without quotes and no Python literal.
fn is_plain(text: &str) -> bool {
    let address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && !PYTHON.constants.contains(&text);
    (address || name) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@".contains(c))
}

/// One word for a POSIX shell, and for Python's shlex.
pub(super) fn word(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@=%+,".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn inventory() -> Inventory {
        Inventory {
            vars: vars(json!({"port": 8080})),
            hosts: vec![
                ("web1".parse().unwrap(), vars(json!({"ansible_host": "10.1.0.10", "args": "-o 'a b'", "list": [1, "x", true, null]}))),
                ("no".parse().unwrap(), Map::new()),
            ],
            groups: vec![("front".into(), vars(json!({"colour": "it's \"red\"", "version": "1.10"})), vec!["web1".parse().unwrap()])],
        }
    }

    #[test]
    fn yaml_is_what_pyyaml_reads() {
        assert_eq!(
            yaml(&inventory()),
            "all:\n  vars:\n    port: 8080\n  hosts:\n    \"web1\":\n      ansible_host: \"10.1.0.10\"\n      args: \"-o 'a b'\"\n      list: [1, \"x\", true, null]\n    \"no\": {}\n  children:\n    \"front\":\n      vars:\n        colour: \"it's \\\"red\\\"\"\n        version: \"1.10\"\n      hosts:\n        \"web1\": {}\n"
        );
    }

    #[test]
    fn a_variables_name_is_text_to_pyyaml() {
        assert_eq!(["port", "_x1"].map(variable), ["port", "_x1"]);
        assert_eq!(["no", "Yes", "y", "a b", "1", "", "a:"].map(variable), ["no", "Yes", "y", "a b", "1", "", "a:"].map(quoted));
    }

    #[test]
    fn ini_has_words_of_the_shell_and_literals_of_python() {
        assert_eq!(
            ini(&inventory()),
            "web1 ansible_host=10.1.0.10 args='\"-o '\\''a b'\\''\"' list='[1, \"x\", True, None]'\nno\n\n[front]\nweb1\n\n[all:vars]\nport=8080\n\n[front:vars]\ncolour=\"it's \\\"red\\\"\"\nversion=\"1.10\"\n"
        );
    }

    #[test]
    fn numbers_and_text_keep_their_types() {
        let read = |value: Value| (flow(&value, &YAML), literal(&value));
        assert_eq!(read(json!(1e16)), ("1.0e+16".into(), "1.0e+16".into()));
        assert_eq!(read(json!(1.5e-9)), ("1.5e-9".into(), "1.5e-9".into()));
        assert_eq!(read(json!("None")), ("\"None\"".into(), "\"None\"".into()));
        assert_eq!(read(json!("007")), ("\"007\"".into(), "\"007\"".into()));
        assert_eq!(read(json!("a\nb\u{7f}")), ("\"a\\nb\\u007f\"".into(), "\"a\\nb\\u007f\"".into()));
        assert_eq!(word(""), "''");
    }
}
