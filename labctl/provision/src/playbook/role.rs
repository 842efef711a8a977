//! Roles: Ansible's folder layout, dependencies, and imports.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use labctl_spec::mistake::Mistake;
use labctl_spec::yaml::Node;

use super::keywords::is_role_keyword;
use super::load::{Context, fault, whole_file};
use super::{Item, Keywords, Loader, Source, Task};
use crate::data::{Data, Dict};
use crate::yaml;

/// A loaded role.
#[derive(Debug)]
pub(crate) struct Role {
    pub name: String,
    pub path: PathBuf,
    /// Defaults, including those of its dependencies and of the roles that depend on it.
    pub defaults: Arc<Dict>,
    /// Variables, likewise.
    pub vars: Arc<Dict>,
    /// Parameters of its entry.
    pub params: Arc<Dict>,
    /// `vars` of its entry and of the entries of roles that depend on it: for its own tasks only.
    pub entry_vars: Arc<Dict>,
    pub allow_duplicates: bool,
    /// Name, parameters, conditions and tags: two entries with the same key are one role.
    pub key: String,
    /// The roles that depend on it, outermost first.
    pub parents: Vec<Arc<Role>>,
    pub handlers: Mutex<Vec<Item>>,
}

/// A role that was loaded while a play runs: the role, its tasks and its handlers.
pub(crate) type IncludedRole = (Arc<Role>, Vec<Item>, Vec<Item>);

/// Which parts of a role to load.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoleRequest {
    pub name: String,
    pub tasks_from: Option<String>,
    pub vars_from: Option<String>,
    pub defaults_from: Option<String>,
    pub handlers_from: Option<String>,
    pub params: Dict,
    pub vars: Dict,
    /// Whether it comes from `include_role` or `import_role`, which run it every time.
    pub included: bool,
}

impl Loader {
    fn first_existing(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let controller = self.controller();
        if Path::new(name).extension().is_some() && controller.is_file(&folder.join(name)) {
            return Some(folder.join(name));
        }
        let names = ["yml", "yaml", "json"].iter().map(|extension| folder.join(format!("{name}.{extension}")));
        names.into_iter().find(|path| controller.is_file(path))
    }

    /// The folder of a role: next to the playbook, in the caller's role folders, or given as a path.
    pub(crate) fn role_path(&self, name: &str, from: &Path) -> Option<PathBuf> {
        let short = name.rsplit('.').next().unwrap_or(name);
        let mut folders = vec![self.folder.join("roles"), self.folder.clone()];
        folders.extend(self.role_paths.iter().cloned());
        folders.push(from.to_path_buf());
        let controller = self.controller();
        let mut places = folders.into_iter().flat_map(|folder| [folder.join(name), folder.join(short)]);
        places.find(|path| controller.is_folder(path) && *path != self.folder)
    }

    /// Loads a role with its dependencies; returns its tasks after theirs.
    pub(crate) fn role(
        &self,
        request: &RoleRequest,
        at: &Node,
        source: &Source,
        context: &Context,
    ) -> Result<(Arc<Role>, Vec<Item>), Mistake> {
        let from = source.path.parent().unwrap_or(Path::new("."));
        let path = self.role_path(&request.name, from).ok_or_else(|| {
            let mut searched: Vec<String> = vec![self.folder.join("roles").display().to_string()];
            searched.extend(self.role_paths.iter().map(|path| path.display().to_string()));
            let reason = format!("the role '{}' was not found in {}", request.name, searched.join(":"));
            fault(source, at, &reason, Some("check its name, or put it in one of these folders"))
        })?;
        if context.depth() > 50 {
            return Err(fault(source, at, &format!("the role '{}' depends on itself", request.name), None));
        }
        let variables = |folder: &str, from: &Option<String>| match self.role_vars(&path.join(folder), from.as_deref()) {
            Err(fault) if !context.dynamic => {
                self.note(fault);
                Ok(Dict::new())
            }
            other => other,
        };
        let defaults = variables("defaults", &request.defaults_from)?;
        let vars = variables("vars", &request.vars_from)?;
        let meta = match self.first_existing(&path.join("meta"), "main") {
            Some(file) => self.read(&file)?,
            None => None,
        };
        let parents: Vec<Arc<Role>> = context.role.iter().flat_map(|role| role.parents.iter().cloned().chain([role.clone()])).collect();
        let parents = if request.included { Vec::new() } else { parents };
        let allow = meta.as_ref().and_then(|(meta, file)| meta.get("allow_duplicates").map(|flag| yaml::data(flag, &file.file, false)));
        // Dependencies first: the role's own variables override theirs.
        let mut items = Vec::new();
        let mut low_defaults = Dict::new();
        let mut low_vars = Dict::new();
        let mut entry_vars = Dict::new();
        for parent in &parents {
            entry_vars.extend(parent.entry_vars.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        entry_vars.extend(request.vars.clone());
        let entry_vars = Arc::new(entry_vars);
        let make = |defaults: Dict, vars: Dict| -> Arc<Role> {
            let key = format!("{}|{:?}|{:?}|{:?}", path.display(), request.params, request.vars, context.keywords.when);
            Arc::new(Role {
                name: request.name.clone(),
                path: path.clone(),
                defaults: Arc::new(defaults),
                vars: Arc::new(vars),
                params: Arc::new(request.params.clone()),
                entry_vars: entry_vars.clone(),
                allow_duplicates: request.included || allow.as_ref().and_then(Data::to_bool).unwrap_or(false),
                key,
                parents: parents.clone(),
                handlers: Mutex::new(Vec::new()),
            })
        };
        if let Some((meta, file)) = &meta {
            let placeholder = make(defaults.clone(), vars.clone());
            let inner = context.of_role(placeholder);
            for dependency in meta.get("dependencies").and_then(Node::as_seq).unwrap_or_default() {
                let (role, mut tasks) = self.role_entry(dependency, file, &inner)?;
                low_defaults.extend(role.defaults.iter().map(|(key, value)| (key.clone(), value.clone())));
                low_vars.extend(role.vars.iter().map(|(key, value)| (key.clone(), value.clone())));
                items.append(&mut tasks);
            }
        }
        for parent in &parents {
            low_defaults.extend(parent.defaults.iter().map(|(key, value)| (key.clone(), value.clone())));
            low_vars.extend(parent.vars.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        low_defaults.extend(defaults);
        low_vars.extend(vars);
        let role = make(low_defaults, low_vars);
        let inner = context.of_role(role.clone());
        let handlers = request.handlers_from.as_deref().unwrap_or("main");
        if let Some(file) = self.first_existing(&path.join("handlers"), handlers) {
            let mut inner = inner.clone();
            inner.handlers = true;
            let loaded = self.task_file(&file, &inner)?;
            self.handlers.lock().unwrap_or_else(PoisonError::into_inner).extend(loaded.iter().cloned());
            *role.handlers.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        }
        let tasks_name = request.tasks_from.as_deref().unwrap_or("main");
        let check = self.argument_check(&path, &meta, tasks_name, &role, &inner)?;
        let mut tasks = match self.first_existing(&path.join("tasks"), tasks_name) {
            Some(file) => self.task_file(&file, &inner)?,
            None if request.tasks_from.is_some() => {
                let reason = format!("Could not find specified file in role: tasks/{tasks_name}");
                return Err(fault(source, at, &reason, None));
            }
            None => Vec::new(),
        };
        if !context.dynamic {
            self.roles.lock().unwrap_or_else(PoisonError::into_inner).push(role.clone());
        }
        if let Some(check) = check {
            tasks.insert(0, Item::Task(Arc::new(check)));
        }
        items.push(Item::Role(role.clone(), Arc::new(tasks)));
        Ok((role, items))
    }

    /// The task that checks a role's variables against its `argument_specs`; none if it has no such file.
    fn argument_check(
        &self,
        path: &Path,
        meta: &Option<(Node, Source)>,
        entry_point: &str,
        role: &Arc<Role>,
        context: &Context,
    ) -> Result<Option<Task>, Mistake> {
        let own = match self.first_existing(&path.join("meta"), "argument_specs") {
            Some(file) => self.read(&file)?,
            None => None,
        };
        let Some((node, source)) = own.as_ref().or(meta.as_ref()) else {
            return Ok(None);
        };
        let name = entry_point.trim_end_matches(".yml").trim_end_matches(".yaml");
        let Some(spec) = node.get("argument_specs").and_then(|specs| specs.get(name)) else {
            return Ok(None);
        };
        let Data::Map(spec) = yaml::data(spec, &source.file, false) else {
            return Ok(None);
        };
        let about = spec.get("short_description").map(|text| format!(" - {}", crate::python::str_of(text))).unwrap_or_default();
        let mut keywords = context.keywords.clone();
        keywords.tags.push(Data::str("always"));
        let title = format!("Validating arguments against arg spec '{name}'{about}");
        let place = crate::data::Place { file: source.file.clone(), line: node.span.line };
        let mut task = Task::implicit("validate_argument_spec", &title, keywords, place);
        let mut args = Dict::new();
        args.insert("argument_spec".into(), spec.get("options").cloned().unwrap_or_else(|| Data::map(Dict::new())));
        task.args = Data::map(args);
        task.role = Some(role.clone());
        Ok(Some(task))
    }

    fn role_vars(&self, folder: &Path, name: Option<&str>) -> Result<Dict, Mistake> {
        let mut out = Dict::new();
        let main = name.unwrap_or("main");
        let mut files: Vec<PathBuf> = self.first_existing(folder, main).into_iter().collect();
        if files.is_empty() && self.controller().is_folder(&folder.join(main)) {
            files = super::load::variable_files(&folder.join(main), &self.controller());
        }
        for file in files {
            out.extend(self.variables(&file)?);
        }
        Ok(out)
    }

    /// Reads a file that contains a list of tasks.
    pub(crate) fn task_file(&self, path: &Path, context: &Context) -> Result<Vec<Item>, Mistake> {
        match self.read(path)? {
            Some((node, source)) => self.tasks(&node, &source, context),
            None => Ok(Vec::new()),
        }
    }

    /// An entry of `roles:` or of a role's dependencies.
    pub(crate) fn role_entry(&self, node: &Node, source: &Source, context: &Context) -> Result<(Arc<Role>, Vec<Item>), Mistake> {
        let inner = if node.as_map().is_some() { context.with_role_entry(node, source) } else { context.clone() };
        let scope = self.static_scope(&inner.keywords, inner.role.as_deref());
        let text = |node: &Node| -> Result<String, Mistake> {
            let data = yaml::data(node, &source.file, true);
            let resolved = scope.resolve(&data).map_err(|error| fault(source, node, &error.message, None))?;
            Ok(crate::python::str_of(&resolved))
        };
        let mut request = RoleRequest::default();
        match node.as_map() {
            None => request.name = text(node)?,
            Some(map) => {
                let name = node.get("role").or_else(|| node.get("name")).or_else(|| node.get("src"));
                request.name = text(name.ok_or_else(|| fault(source, node, "role definitions must contain a role name", None))?)?;
                for entry in &map.entries {
                    let key = entry.key.as_str().unwrap_or_default();
                    if !is_role_keyword(key) {
                        request.params.insert(Arc::from(key), yaml::data(&entry.value, &source.file, true));
                    }
                }
                if let Some(Data::Map(vars)) = node.get("vars").map(|vars| yaml::data(vars, &source.file, true)) {
                    request.vars = (*vars).clone();
                }
            }
        }
        self.role(&request, node, source, &inner)
    }

    pub(super) fn import_tasks(
        &self,
        task: &Task,
        node: &Node,
        source: &Source,
        inner: &Context,
        out: &mut Vec<Item>,
    ) -> Result<(), Mistake> {
        let scope = self.static_scope(&inner.keywords, inner.role.as_deref());
        let name = task
            .arg("file")
            .or_else(|| task.arg("_raw_params"))
            .ok_or_else(|| fault(source, node, "No file specified for import_tasks", None))?;
        let name = scope.resolve(name).map_err(|error| {
            let hint = "the name of an import is evaluated before any host is known; use include_tasks for names that depend on facts";
            fault(source, node, &error.message, Some(hint))
        })?;
        if task.repeat.is_some() {
            return Err(fault(
                source,
                node,
                "You cannot use loops on 'import_tasks' statements. You should use 'include_tasks' instead.",
                None,
            ));
        }
        let name = crate::python::str_of(&name);
        let path = self
            .find_tasks(&name, &task.folder, inner.role.as_deref())
            .ok_or_else(|| fault(source, node, &format!("Could not find or access '{name}'"), None))?;
        if inner.depth() > 50 {
            return Err(fault(source, node, &format!("'{name}' imports itself"), None));
        }
        out.extend(self.task_file(&path, &inner.imported(task))?);
        Ok(())
    }

    pub(super) fn import_role(
        &self,
        task: &Task,
        node: &Node,
        source: &Source,
        inner: &Context,
        out: &mut Vec<Item>,
    ) -> Result<(), Mistake> {
        let scope = self.static_scope(&inner.keywords, inner.role.as_deref());
        let args = scope.resolve(&task.args).map_err(|error| fault(source, node, &error.message, None))?;
        let mut request =
            RoleRequest::from_args(&args).ok_or_else(|| fault(source, node, "'name' is a required field for import_role.", None))?;
        request.included = true;
        let (_, items) = self.role(&request, node, source, &inner.imported(task))?;
        out.extend(items);
        Ok(())
    }

    /// Finds a task file by name: next to the including file, in the role's `tasks/`, next to the playbook.
    pub(crate) fn find_tasks(&self, name: &str, folder: &Path, role: Option<&Role>) -> Option<PathBuf> {
        let controller = self.controller();
        if Path::new(name).is_absolute() {
            return controller.is_file(Path::new(name)).then(|| PathBuf::from(name));
        }
        let mut folders = vec![folder.to_path_buf()];
        if let Some(role) = role {
            folders.push(role.path.join("tasks"));
            folders.push(role.path.clone());
        }
        folders.push(self.folder.join("tasks"));
        folders.push(self.folder.clone());
        folders.into_iter().map(|folder| folder.join(name)).find(|path| controller.is_file(path))
    }

    /// Loads a role while the play runs; returns the role, its tasks and its handlers.
    pub(crate) fn dynamic_role(&self, request: &RoleRequest, task: &Task, keywords: Keywords) -> Result<IncludedRole, Mistake> {
        let source = Source { path: PathBuf::from(&*task.place.file), file: task.place.file.clone() };
        let at = whole_file(task.place.line);
        let mut context = Context::new(keywords);
        context.dynamic = true;
        context.role = task.role.clone();
        let before = self.handlers.lock().unwrap_or_else(PoisonError::into_inner).len();
        let (role, items) = self.role(request, &at, &source, &context)?;
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner).split_off(before);
        Ok((role, items, handlers))
    }

    /// Loads a task file while the play runs.
    pub(crate) fn dynamic_tasks(&self, path: &Path, task: &Task, keywords: Keywords) -> Result<Vec<Item>, Mistake> {
        let mut context = Context::new(keywords);
        context.dynamic = true;
        context.role = task.role.clone();
        context.handlers = task.is_handler;
        self.task_file(path, &context)
    }
}

impl RoleRequest {
    /// From the arguments of include_role and import_role.
    pub(crate) fn from_args(args: &Data) -> Option<Self> {
        let text = |name: &str| args.get(name).filter(|value| !matches!(value, Data::Null)).map(crate::python::str_of);
        Some(Self {
            name: text("name").or_else(|| text("role")).or_else(|| text("_raw_params"))?,
            tasks_from: text("tasks_from"),
            vars_from: text("vars_from"),
            defaults_from: text("defaults_from"),
            handlers_from: text("handlers_from"),
            included: true,
            ..Self::default()
        })
    }
}
