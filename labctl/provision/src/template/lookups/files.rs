//! Files on the controller.

use std::path::{Path, PathBuf};

use super::Lookup;
use crate::controller::Controller;
use crate::data::{Data, Dict};
use crate::python;
use crate::template::engine::Syntax;
use crate::template::filters_paths::expand_user;
use crate::template::scope::Scope;

/// Searches for a file as Ansible does: in `KIND/` of each folder of the search path, then in the folder itself.
pub(crate) fn search_file(scope: &Scope, kind: &str, name: &str) -> Option<PathBuf> {
    let controller = scope.controller();
    let name = expand_user(name, &controller);
    if Path::new(&name).is_absolute() {
        return controller.exists(Path::new(&name)).then(|| PathBuf::from(name));
    }
    candidates(&scope.search, kind, &name).into_iter().find(|path| controller.exists(path))
}

fn candidates(search: &[PathBuf], kind: &str, name: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for folder in search {
        out.push(folder.join(kind).join(name));
        // A role's own folder comes after its `files/`; likewise for a task file's folder.
        out.push(folder.join(name));
    }
    out
}

fn read(call: &Lookup, kind: &str, name: &str) -> Result<(PathBuf, String), String> {
    let path = search_file(&call.scope, kind, name).ok_or_else(|| not_found(&call.scope, kind, name))?;
    let bytes = call.scope.controller().read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok((path, String::from_utf8_lossy(&bytes).into_owned()))
}

fn not_found(scope: &Scope, kind: &str, name: &str) -> String {
    let searched: Vec<String> = candidates(&scope.search, kind, name).iter().map(|path| path.display().to_string()).collect();
    format!("Unable to access the file '{name}': searched {}", searched.join(", "))
}

pub(super) fn file(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat()
        .iter()
        .map(|term| {
            let (_, mut text) = read(call, "files", &python::str_of(term))?;
            if call.option_flag("lstrip", false) {
                text = text.trim_start().to_owned();
            }
            if call.option_flag("rstrip", true) {
                text.truncate(text.trim_end().len());
            }
            Ok(Data::from(text))
        })
        .collect()
}

pub(super) fn template(call: &Lookup) -> Result<Vec<Data>, String> {
    let scope = match call.option("template_vars").and_then(Data::as_map) {
        Some(vars) => call.scope.with((**vars).clone()),
        None => call.scope.clone(),
    };
    call.flat()
        .iter()
        .map(|term| {
            let (path, text) = read(call, "templates", &python::str_of(term))?;
            let (syntax, body) = Syntax::from_header(&text);
            call.scope.engine.file_value(&path.display().to_string(), &body, &syntax, &scope).map_err(|error| error.to_string())
        })
        .collect()
}

/// Files that match a pattern, sorted.
pub(crate) fn glob_files(pattern: &str, controller: &Controller) -> Vec<String> {
    let path = Path::new(pattern);
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let Ok(entries) = controller.entries(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder }) else {
        return Vec::new();
    };
    let mut out: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.path.file_name().map(|own| (&entry.path, own)))
        .filter(|(path, own)| crate::host_pattern::glob(name, &own.to_string_lossy()) && controller.is_file(path))
        .map(|(_, own)| folder.join(own).display().to_string())
        .collect();
    out.sort();
    out
}

pub(super) fn fileglob(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    let controller = call.scope.controller();
    for term in call.flat() {
        let pattern = expand_user(&python::str_of(&term), &controller);
        if Path::new(&pattern).is_absolute() {
            out.extend(glob_files(&pattern, &controller).into_iter().map(Data::from));
            continue;
        }
        for folder in &call.scope.search {
            let mut found = glob_files(&folder.join("files").join(&pattern).display().to_string(), &controller);
            if found.is_empty() {
                found = glob_files(&folder.join(&pattern).display().to_string(), &controller);
            }
            if !found.is_empty() {
                out.extend(found.into_iter().map(Data::from));
                break;
            }
        }
    }
    Ok(out)
}

pub(super) fn first_found(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut names: Vec<(Vec<String>, String)> = Vec::new();
    let mut skip = call.option_flag("skip", false);
    let list = |data: Option<&Data>| -> Vec<String> {
        match data {
            Some(Data::List(list)) => list.iter().map(python::str_of).collect(),
            Some(Data::Null) | None => Vec::new(),
            Some(other) => python::str_of(other).split([',', ';', ':']).map(|part| part.trim().to_owned()).collect(),
        }
    };
    let mut add = |files: Vec<String>, paths: Vec<String>| names.extend(files.into_iter().map(|file| (paths.clone(), file)));
    add(list(call.option("files")), list(call.option("paths")));
    for term in call.flat() {
        match &term {
            Data::Map(map) => {
                skip = skip || map.get("skip").is_some_and(Data::truthy);
                add(list(map.get("files")), list(map.get("paths")));
            }
            other => add(vec![python::str_of(other)], list(call.option("paths"))),
        }
    }
    // Paths first, then files: every file is tried in the first path before the second path.
    let mut wanted: Vec<String> = Vec::new();
    let depth = names.iter().map(|(paths, _)| paths.len()).max().unwrap_or(0).max(1);
    for index in 0..depth {
        for (paths, file) in &names {
            match paths.get(index) {
                Some(path) => wanted.push(format!("{}/{file}", path.trim_end_matches('/'))),
                None if paths.is_empty() && index == 0 => wanted.push(file.clone()),
                None => {}
            }
        }
    }
    for name in &wanted {
        for kind in ["files", "templates", "vars", "tasks"] {
            if let Some(path) = search_file(&call.scope, kind, name).filter(|path| call.scope.controller().is_file(path)) {
                return Ok(vec![Data::from(path.display().to_string())]);
            }
        }
    }
    if skip {
        return Ok(Vec::new());
    }
    Err(format!("No file was found when using first_found: tried {}", wanted.join(", ")))
}

/// Splits `key option=value ...`, the older syntax for lookup options.
fn inline_options(term: &str) -> (String, Dict) {
    let mut parts = term.split_whitespace();
    let mut key = parts.next().unwrap_or_default().to_owned();
    let mut options = Dict::new();
    for part in parts {
        match part.split_once('=') {
            Some((name, value)) => {
                options.insert(name.into(), Data::str(value));
            }
            None => {
                key.push(' ');
                key.push_str(part);
            }
        }
    }
    (key, options)
}

pub(super) fn csvfile(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat()
        .iter()
        .map(|term| {
            let (key, inline) = inline_options(&python::str_of(term));
            let option = |name: &str, default: &str| {
                inline.get(name).or_else(|| call.option(name)).map_or_else(|| default.to_owned(), python::str_of)
            };
            let delimiter = option("delimiter", "TAB");
            let delimiter = if matches!(delimiter.as_str(), "TAB" | "t") { "\t".to_owned() } else { delimiter };
            let column: usize = option("col", "1").parse().map_err(|_| "col must be a number".to_owned())?;
            let key_column: usize = option("keycol", "0").parse().map_err(|_| "keycol must be a number".to_owned())?;
            let (_, text) = read(call, "files", &option("file", "ansible.csv"))?;
            let field = |line: &str, at: usize| line.split(&delimiter).nth(at).map(|field| field.trim_matches('"').to_owned());
            let found = text.lines().find(|line| field(line, key_column).as_deref() == Some(&key)).and_then(|line| field(line, column));
            Ok(found.map(Data::from).or_else(|| inline.get("default").or_else(|| call.option("default")).cloned()))
        })
        .filter_map(Result::transpose)
        .collect()
}

pub(super) fn ini(call: &Lookup) -> Result<Vec<Data>, String> {
    let mut out = Vec::new();
    for term in call.flat() {
        let (key, inline) = inline_options(&python::str_of(&term));
        let option =
            |name: &str, default: &str| inline.get(name).or_else(|| call.option(name)).map_or_else(|| default.to_owned(), python::str_of);
        let (_, text) = read(call, "files", &option("file", "ansible.ini"))?;
        let wanted = option("section", "global");
        let properties = option("type", "ini") == "properties";
        let mut section = "global".to_owned();
        let mut found = None;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
            } else if let Some((name, value)) = line.split_once(['=', ':']) {
                let right = properties || section == wanted;
                if right && name.trim().eq_ignore_ascii_case(&key) {
                    found = Some(value.trim().to_owned());
                }
            }
        }
        out.push(
            found.map_or_else(|| inline.get("default").or_else(|| call.option("default")).cloned().unwrap_or(Data::str("")), Data::from),
        );
    }
    Ok(out)
}
