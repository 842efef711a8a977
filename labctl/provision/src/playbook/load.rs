//! Reads playbooks: from files to plays.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use labctl_spec::mistake::Mistake;
use labctl_spec::yaml::{Node, Scalar, Span, Style, Value};

pub(crate) use super::context::Context;
use super::keywords::list_of;
use super::{Item, Keywords, Play, Role, Source};
use crate::controller::{Controller, Entry};
use crate::data::{Data, Dict, Place};
use crate::template::{Engine, Scope};
use crate::yaml;

/// Reads the files of one playbook.
pub(crate) struct Loader {
    pub engine: Arc<Engine>,
    /// Folder of the playbook.
    pub folder: PathBuf,
    /// Additional folders with roles.
    pub role_paths: Vec<PathBuf>,
    pub extra_vars: Arc<Dict>,
    /// Variables of the play being read, for names of imports.
    pub play_vars: Mutex<Arc<Dict>>,
    /// Handlers of the roles read so far.
    pub handlers: Mutex<Vec<Item>>,
    /// Roles of the play read so far, dependencies first.
    pub roles: Mutex<Vec<Arc<Role>>>,
    /// Mistakes found in the files so far; reading continues after a fault.
    faults: Arc<Mutex<Vec<Mistake>>>,
    cache: Mutex<HashMap<PathBuf, Option<(Node, Source)>>>,
}

/// A fault at a node.
pub(crate) fn fault(source: &Source, node: &Node, reason: &str, hint: Option<&str>) -> Mistake {
    Mistake {
        file: source.path.clone(),
        line: node.span.line,
        column: node.span.column,
        field: String::new(),
        reason: reason.to_owned(),
        hint: hint.map(str::to_owned),
    }
}

/// A hint for an unknown word, if it is similar to one of the known words.
pub(super) fn spelling_hint<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = |known: &&str| word.len() <= 64 && strsim::osa_distance(word, known) <= if word.len() < 6 { 1 } else { 2 };
    known.filter(near).min_by_key(|known| strsim::osa_distance(word, known)).map(|known| format!("did you mean `{known}`?"))
}

/// A node that stands for a line of a file read earlier.
pub(crate) fn whole_file(line: usize) -> Node {
    let scalar = Scalar { text: String::new(), style: Style::Plain, resolved: labctl_spec::yaml::Resolved::Null };
    Node { value: Value::Scalar(scalar), span: Span { line, column: 0 }, tag: None }
}

/// The variables files of a folder, sorted, including subfolders.
pub(crate) fn variable_files(folder: &Path, controller: &Controller) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for Entry { path, .. } in controller.entries(folder).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if controller.is_folder(&path) {
            out.extend(variable_files(&path, controller));
        } else if matches!(path.extension().and_then(|extension| extension.to_str()), None | Some("yml" | "yaml" | "json")) {
            out.push(path);
        }
    }
    out
}

/// Reads a variables file.
pub(crate) fn read_variables(path: &Path, controller: &Controller) -> Result<Dict, Mistake> {
    let text = read_text(path, controller)?;
    let file: Arc<str> = Arc::from(path.display().to_string());
    let mut out = Dict::new();
    for node in yaml::documents(&text, path)? {
        match &node.value {
            Value::Map(map) => out.extend(yaml::dict(map, &file, true)),
            _ if node.is_null() => {}
            _ => {
                let source = Source { path: path.to_path_buf(), file: file.clone() };
                return Err(fault(&source, &node, "a variables file must be a mapping", None));
            }
        }
    }
    Ok(out)
}

fn read_text(path: &Path, controller: &Controller) -> Result<String, Mistake> {
    let whole = |reason: String, hint: Option<&str>| Mistake {
        file: path.to_path_buf(),
        line: 0,
        column: 0,
        field: String::new(),
        reason,
        hint: hint.map(str::to_owned),
    };
    let bytes = controller.read(path).map_err(|error| whole(format!("cannot read: {error}"), None))?;
    if bytes.starts_with(b"$ANSIBLE_VAULT;") {
        return Err(whole("the file is an encrypted vault".to_owned(), Some("decrypt it with ansible-vault first")));
    }
    String::from_utf8(bytes).map_err(|_| whole("the file is not UTF-8".to_owned(), None))
}

impl Loader {
    pub(crate) fn new(engine: Arc<Engine>, folder: PathBuf, role_paths: Vec<PathBuf>, extra_vars: Arc<Dict>) -> Self {
        Self {
            engine,
            folder,
            role_paths,
            extra_vars,
            play_vars: Mutex::default(),
            handlers: Mutex::default(),
            roles: Mutex::default(),
            faults: Arc::default(),
            cache: Mutex::default(),
        }
    }

    /// A file's tree; read once per run.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<(Node, Source)>, Mistake> {
        if let Some(found) = lock(&self.cache).get(path) {
            return Ok(found.clone());
        }
        let text = read_text(path, &self.controller())?;
        let source = Source { path: path.to_path_buf(), file: Arc::from(path.display().to_string()) };
        let node = yaml::documents(&text, path)?.into_iter().next().filter(|node| !node.is_null());
        let found = node.map(|node| (node, source));
        lock(&self.cache).insert(path.to_path_buf(), found.clone());
        Ok(found)
    }

    pub(crate) fn variables(&self, path: &Path) -> Result<Dict, Mistake> {
        read_variables(path, &self.controller())
    }

    pub(crate) fn controller(&self) -> Controller {
        Controller::new(self.engine.inputs.clone(), None)
    }

    /// What is known before any host is: extra variables, and those of the play, the role and the enclosing blocks.
    pub(crate) fn static_scope(&self, keywords: &Keywords, role: Option<&Role>) -> Arc<Scope> {
        let mut layers = vec![self.extra_vars.clone()];
        if let Some(role) = role {
            layers.push(role.params.clone());
        }
        layers.extend(keywords.vars.iter().rev().cloned());
        if let Some(role) = role {
            layers.push(role.entry_vars.clone());
            layers.push(role.vars.clone());
        }
        layers.push(lock(&self.play_vars).clone());
        if let Some(role) = role {
            layers.push(role.defaults.clone());
        }
        let mut magic = Dict::new();
        magic.insert("playbook_dir".into(), Data::from(self.folder.display().to_string()));
        if let Some(role) = role {
            magic.insert("role_path".into(), Data::from(role.path.display().to_string()));
            magic.insert("role_name".into(), Data::str(&role.name));
        }
        layers.push(Arc::new(magic));
        Scope::new(self.engine.clone(), layers, Vec::new())
    }

    /// Records a fault and continues, so that all faults are reported at once.
    pub(super) fn note(&self, fault: Mistake) {
        let mut faults = lock(&self.faults);
        // A role may be read for many plays.
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    /// The recorded faults; empty if everything read is valid.
    pub(crate) fn take_faults(&self) -> Vec<Mistake> {
        std::mem::take(&mut *lock(&self.faults))
    }

    /// All plays of a playbook file; `import_playbook` is expanded. Mistakes are recorded.
    pub(crate) fn playbook(&self, path: &Path) -> Vec<Play> {
        self.playbook_at(path, 0).unwrap_or_else(|fault| {
            self.note(fault);
            Vec::new()
        })
    }

    fn playbook_at(&self, path: &Path, depth: usize) -> Result<Vec<Play>, Mistake> {
        let source = Source { path: path.to_path_buf(), file: Arc::from(path.display().to_string()) };
        let Some((node, source)) = self.read(path)? else {
            return Err(fault(&source, &whole_file(0), "the playbook is empty", Some("a playbook is a list of plays: `- hosts: all`")));
        };
        let entries = node
            .as_seq()
            .ok_or_else(|| fault(&source, &node, "a playbook must be a list of plays", Some("start it with `- hosts: all`")))?;
        let mut plays = Vec::new();
        for entry in entries {
            let import = entry.get("import_playbook").or_else(|| entry.get("ansible.builtin.import_playbook"));
            let read = match import {
                Some(name) => self.imported_playbook(name, entry, &source, depth),
                None => self.play(entry, &source).map(|play| vec![play]),
            };
            match read {
                Ok(mut read) => plays.append(&mut read),
                Err(fault) => self.note(fault),
            }
        }
        Ok(plays)
    }

    fn imported_playbook(&self, name: &Node, entry: &Node, source: &Source, depth: usize) -> Result<Vec<Play>, Mistake> {
        if depth > 20 {
            return Err(fault(source, entry, "the playbook imports itself", None));
        }
        let data = yaml::data(name, &source.file, true);
        let scope = self.static_scope(&Keywords::default(), None);
        let resolved = scope.resolve(&data).map_err(|error| fault(source, name, &error.message, None))?;
        let mut keywords = Keywords::default();
        keywords.extend(entry, source);
        let target = source.path.parent().unwrap_or(Path::new(".")).join(crate::python::str_of(&resolved));
        if !self.controller().is_file(&target) {
            return Err(fault(source, name, &format!("there is no playbook {}", target.display()), None));
        }
        let folder = target.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut loader = Loader::new(self.engine.clone(), folder, self.role_paths.clone(), self.extra_vars.clone());
        loader.faults = self.faults.clone();
        let mut plays = loader.playbook_at(&target, depth + 1)?;
        for play in &mut plays {
            play.adopt(&keywords);
        }
        Ok(plays)
    }

    /// The play at a position of a list inside a file, such as `provision` of a lab file; none if it cannot be read at all. Mistakes are
    /// recorded.
    pub(crate) fn play_in(&self, path: &Path, key: &str, index: usize) -> Option<Play> {
        self.play_at(path, key, index).map_err(|fault| self.note(fault)).ok()
    }

    fn play_at(&self, path: &Path, key: &str, index: usize) -> Result<Play, Mistake> {
        let source = Source { path: path.to_path_buf(), file: Arc::from(path.display().to_string()) };
        let missing = || fault(&source, &whole_file(0), &format!("there is no play {key}[{index}]"), None);
        let (node, source) = self.read(path)?.ok_or_else(missing)?;
        let entry = node.get(key).and_then(Node::as_seq).and_then(|list| list.get(index)).ok_or_else(missing)?;
        self.play(entry, &source)
    }

    fn play(&self, node: &Node, source: &Source) -> Result<Play, Mistake> {
        const KNOWN: &[&str] = &[
            "name",
            "hosts",
            "vars",
            "vars_files",
            "vars_prompt",
            "gather_facts",
            "gather_subset",
            "gather_timeout",
            "fact_path",
            "serial",
            "strategy",
            "order",
            "max_fail_percentage",
            "force_handlers",
            "roles",
            "pre_tasks",
            "tasks",
            "post_tasks",
            "handlers",
            "become",
            "become_user",
            "become_method",
            "become_flags",
            "become_exe",
            "environment",
            "any_errors_fatal",
            "ignore_errors",
            "ignore_unreachable",
            "no_log",
            "check_mode",
            "diff",
            "run_once",
            "throttle",
            "timeout",
            "tags",
            "remote_user",
            "connection",
            "port",
            "user",
            "debugger",
            "module_defaults",
            "collections",
            "validate_argspec",
        ];
        let map = node.as_map().ok_or_else(|| fault(source, node, "a play must be a mapping with `hosts`", None))?;
        for entry in &map.entries {
            let key = entry.key.as_str().unwrap_or_default();
            if !KNOWN.contains(&key) {
                let hint = spelling_hint(key, KNOWN.iter().copied());
                self.note(fault(source, &entry.key, &format!("'{key}' is not a valid attribute for a Play"), hint.as_deref()));
            }
        }
        let data = |key: &str| node.get(key).map(|value| yaml::data(value, &source.file, true));
        let list = |key: &str| data(key).map_or_else(Vec::new, list_of);
        let hosts = data("hosts").filter(|hosts| !matches!(hosts, Data::Null));
        let hosts = hosts.unwrap_or_else(|| {
            self.note(fault(source, node, "the field 'hosts' is required but was not set", Some("add `hosts: all`")));
            Data::Null
        });
        let vars = match data("vars") {
            Some(Data::Map(map)) => map,
            Some(Data::List(list)) => Arc::new(
                list.iter().filter_map(Data::as_map).flat_map(|map| map.iter().map(|(key, value)| (key.clone(), value.clone()))).collect(),
            ),
            _ => Arc::default(),
        };
        // Variables files that can already be read may be needed in the names of imports.
        let mut early = (*vars).clone();
        for file in list("vars_files") {
            if let Data::Str(name) = &file {
                early.extend(read_variables(&self.folder.join(&**name), &self.controller()).unwrap_or_default());
            }
        }
        *lock(&self.play_vars) = Arc::new(early);
        lock(&self.handlers).clear();
        lock(&self.roles).clear();
        let mut context = Context::new(Keywords::default());
        context.keywords.extend(node, source);
        context.keywords.vars.clear();
        context.keywords.notify.clear();
        let part = |name: &str, context: &Context| {
            let read = node.get(name).map_or(Ok(Vec::new()), |list| self.tasks(list, source, context));
            read.unwrap_or_else(|fault| {
                self.note(fault);
                Vec::new()
            })
        };
        let mut role_tasks = Vec::new();
        for entry in node.get("roles").and_then(Node::as_seq).unwrap_or_default() {
            match self.role_entry(entry, source, &context) {
                Ok((_, mut tasks)) => role_tasks.append(&mut tasks),
                Err(fault) => self.note(fault),
            }
        }
        let (pre_tasks, tasks, post_tasks) = (part("pre_tasks", &context), part("tasks", &context), part("post_tasks", &context));
        let mut handler_context = context.clone();
        handler_context.handlers = true;
        let own = part("handlers", &handler_context);
        let mut handlers = std::mem::take(&mut *lock(&self.handlers));
        handlers.extend(own);
        Ok(Play {
            name: data("name"),
            hosts,
            place: Place { file: source.file.clone(), line: node.span.line },
            folder: self.folder.clone(),
            keywords: context.keywords,
            vars,
            vars_files: list("vars_files"),
            vars_prompt: list("vars_prompt"),
            gather_facts: data("gather_facts"),
            serial: list("serial"),
            strategy: data("strategy").unwrap_or(Data::str("linear")),
            order: data("order"),
            max_fail_percentage: data("max_fail_percentage"),
            force_handlers: data("force_handlers"),
            roles: std::mem::take(&mut *lock(&self.roles)),
            pre_tasks,
            role_tasks,
            tasks,
            post_tasks,
            handlers,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
