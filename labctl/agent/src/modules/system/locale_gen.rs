//! `locale_gen`: locales.

use std::fs;

use serde_json::json;

use crate::modules::call::arguments::{list, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::lossless;

pub(crate) const MODULE: Module = Module {
    names: &["locale_gen"],
    params: &[list("name").must(), text("state").of(&["absent", "present"]).or("present")],
    files: false,
    run,
};

/// locale(1) prints `de_CH.UTF-8` as `de_CH.utf8`.
fn normal(name: &str) -> String {
    name.to_lowercase().replace('-', "")
}

/// Usable locales: compiled, or built into the C library.
fn usable(task: &Task<'_>) -> Vec<String> {
    let said = Spawn::of(task, ["locale", "-a"]).run().map(|output| output.out()).unwrap_or_default();
    said.lines().map(normal).collect()
}

fn run(task: &Task<'_>) -> Outcome {
    let names = task.args.list("name");
    let present = task.args.str("state") == "present";
    let file = task.root.join("/etc/locale.gen");
    let before = Edit::read(&file)?;
    if before.is_none() && !task.check {
        return Err("/etc/locale.gen is missing: is the package locales installed?".into());
    }
    let usable = usable(task);
    let supported = fs::read_to_string(task.root.join("/usr/share/i18n/SUPPORTED")).unwrap_or_default();
    let entry = |line: &str, name: &str| line.trim_start_matches(['#', ' ']).split_whitespace().next().map(normal) == Some(normal(name));
    let known = |name: &String| usable.contains(&normal(name)) || supported.is_empty() || supported.lines().any(|line| entry(line, name));
    let strange: Vec<&str> = names.iter().filter(|name| !known(name)).map(String::as_str).collect();
    if !strange.is_empty() {
        let msg = format!("The following locales you have entered are not available on your system: {}", strange.join(", "));
        return Err(Fault::from(msg));
    }
    let all = names.iter().all(|name| usable.contains(&normal(name)));
    let changed = all != present;
    if changed && !task.check {
        let text = lossless::decode(before.as_deref().unwrap_or_default());
        let mut lines = lines_of(&text);
        for name in &names {
            let there = lines.iter().position(|line| entry(line, name));
            match there {
                Some(at) if present => lines[at] = lines[at].trim_start_matches(['#', ' ']).to_owned(),
                Some(at) if !lines[at].starts_with('#') => lines[at].insert_str(0, "# "),
                None if present => {
                    let listed = supported.lines().find(|line| entry(line, name));
                    lines.push(listed.map_or_else(|| format!("{name} UTF-8\n"), |listed| format!("{listed}\n")));
                }
                _ => {}
            }
        }
        Edit { path: file, before, after: lossless::encode(&lines.concat()), msg: String::new() }.finish(task)?;
        Spawn::of(task, ["locale-gen"]).must()?;
    }
    Ok(json!({"changed": changed, "name": names}).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn only_what_is_missing_is_made() {
        let bench = Bench::new();
        bench.write("etc/locale.gen", "# de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n");
        bench.write("usr/share/i18n/SUPPORTED", "de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n");
        let folder = bench.text_path("");
        bench.program("locale", &format!("echo C; echo C.utf8; grep -v '#' {folder}/made 2>/dev/null | sed 's/UTF-8 .*/utf8/'"));
        bench.program("locale-gen", &format!("cp {folder}/etc/locale.gen {folder}/made"));
        bench.converges("locale_gen", json!({"name": "C.UTF-8"}), false);
        assert!(bench.fault("locale_gen", json!({"name": ["xx_XX.UTF-8"]})).contains("not available on your system: xx_XX.UTF-8"));
        bench.converges("locale_gen", json!({"name": "de_DE.UTF-8"}), true);
        assert_eq!(bench.read("etc/locale.gen"), "de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n");
        bench.converges("locale_gen", json!({"name": "de_DE.utf8", "state": "absent"}), true);
        assert_eq!(bench.read("etc/locale.gen"), "# de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n");
    }
}
