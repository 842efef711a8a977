//! `pip`: Python packages.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{flag, list, path, raw, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["pip"],
    params: &[
        list("name"),
        text("version"),
        path("requirements"),
        path("virtualenv"),
        flag("virtualenv_site_packages"),
        text("virtualenv_command"),
        text("virtualenv_python"),
        text("extra_args"),
        flag("editable"),
        path("chdir"),
        path("executable"),
        text("state").of(&["absent", "forcereinstall", "latest", "present"]).or("present"),
        raw("umask"),
        flag("break_system_packages"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.one_of(&["name", "requirements", "virtualenv"])?;
    args.exclusive(&["name", "requirements"])?;
    let state = args.str("state");
    let (names, requirements) = (args.list("name"), args.filled("requirements"));
    let venv = args.path("virtualenv");
    let mut changed = false;
    if let Some(venv) = &venv
        && !venv.join("bin/activate").exists()
    {
        changed = true;
        if task.check {
            return Ok(json!({"changed": true}).into());
        }
        let command = args.filled("virtualenv_command").unwrap_or("python3 -m venv");
        let mut words = crate::modules::text::shell_words(command).map_err(Fault::from)?;
        if args.flag("virtualenv_site_packages") {
            words.push("--system-site-packages".into());
        }
        words.push(venv.to_string_lossy().into_owned());
        Spawn::of(task, words).must()?;
    }
    let program = match (&venv, args.filled("executable")) {
        (Some(venv), _) => venv.join("bin/pip").to_string_lossy().into_owned(),
        (None, Some(program)) => program.to_owned(),
        (None, None) => "pip3".to_owned(),
    };
    let mut result = Map::new();
    result.insert("name".into(), json!(names));
    result.insert("state".into(), state.into());
    if names.is_empty() && requirements.is_none() {
        result.insert("changed".into(), changed.into());
        return Ok(result.into());
    }
    let pinned = |name: &String| match args.filled("version") {
        Some(version) if !name.contains(['=', '<', '>', '~', '!']) => format!("{name}=={version}"),
        _ => name.clone(),
    };
    let mut words = vec![program.clone()];
    words.push(if state == "absent" { "uninstall".into() } else { "install".into() });
    match state {
        "absent" => words.push("-y".into()),
        "latest" => words.push("--upgrade".into()),
        "forcereinstall" => words.push("--force-reinstall".into()),
        _ => {}
    }
    if args.flag("break_system_packages") {
        words.push("--break-system-packages".into());
    }
    if let Some(extra) = args.filled("extra_args") {
        words.extend(crate::modules::text::shell_words(extra).map_err(Fault::from)?);
    }
    if args.flag("editable") && state != "absent" {
        words.push("-e".into());
    }
    if let Some(file) = requirements {
        words.extend(["-r".to_owned(), file.to_owned()]);
    }
    words.extend(names.iter().map(pinned));
    if task.check {
        words.insert(2, "--dry-run".into());
    }
    let mut spawn = Spawn::of(task, words);
    if let Some(folder) = args.filled("chdir") {
        spawn = spawn.cwd(Path::new(folder));
    }
    let output = spawn.must()?;
    let out = output.out();
    changed |= out.contains("Successfully installed") || out.contains("Successfully uninstalled") || out.contains("Would install");
    result.insert("changed".into(), changed.into());
    result.insert("stdout".into(), out.into());
    result.insert("stderr".into(), output.err().into());
    result.insert("version".into(), args.text("version").map_or(Value::Null, Value::from));
    Ok(Done::from(result))
}
