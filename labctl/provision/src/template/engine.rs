//! Compiles and evaluates templates. Compiled templates are cached: each is parsed once per process.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Expression, UndefinedBehavior};

use super::concat::{self, Rendering};
use super::dialect::{self, Delimiters};
use super::pending::{self, Evaluation};
use super::scope::Scope;
use super::value::{from_value, to_value};
use crate::controller::Inputs;
use crate::data::{Data, Place, Tpl};
use crate::python;

/// Variables that refer to each other more deeply than this are taken to be recursive. Bounds the stack: each level uses a few kilobytes.
const MAX_DEPTH: usize = 40;

/// Why a template could not be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// Whether a variable is missing, as opposed to any other error.
    pub undefined: bool,
    /// Location of the template.
    pub place: Place,
}

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        let kind = if error.undefined { ErrorKind::UndefinedError } else { ErrorKind::InvalidOperation };
        Error::new(kind, error.message)
    }
}

/// The syntax of a template file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Syntax {
    pub marks: Delimiters,
    pub trim_blocks: bool,
    pub lstrip_blocks: bool,
}

impl Default for Syntax {
    fn default() -> Self {
        Self { marks: Delimiters::default(), trim_blocks: true, lstrip_blocks: false }
    }
}

enum Compiled {
    Expression(Expression<'static, 'static>),
    Text { env: &'static Environment<'static>, name: String },
    Broken(String, usize),
}

/// What a text is compiled as.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Inline,
    Condition,
}

/// Compiled templates, by text and kind.
type Cache = HashMap<(Arc<str>, Kind), Arc<Compiled>>;

/// Compiled templates of a run, and what the run reads.
#[derive(Default)]
pub(crate) struct Engine {
    compiled: Mutex<Cache>,
    pub inputs: Inputs,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

/// The variables as minijinja's root context.
#[derive(Debug)]
struct Root(Arc<Scope>);

impl Object for Root {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if let Some(data) = self.0.get(key) {
            return Some(to_value(data, &self.0));
        }
        match key {
            "omit" => Some(to_value(&Data::Omit, &self.0)),
            "vars" => Some(Value::from_object(Root(self.0.clone()))),
            // A global function: minijinja finds it if this returns nothing.
            _ if super::functions::is_function(key) || key == "loop" || key == "caller" => None,
            _ => Some(pending::undefined(format!("'{key}' is undefined"))),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.names().into_iter().map(Value::from).collect())
    }
}

/// One environment per syntax, for the life of the process: there are only as many as there are different template headers.
fn environment(syntax: &Syntax) -> &'static Environment<'static> {
    static ALL: OnceLock<Mutex<HashMap<Syntax, &'static Environment<'static>>>> = OnceLock::new();
    let mut all = ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(env) = all.get(syntax) {
        return env;
    }
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(200);
    // In debug mode, an error makes minijinja read every variable, which evaluates them all again.
    env.set_debug(false);
    env.set_formatter(|out, _, value| {
        if pending::is_nothing(value) {
            concat::gave(value, "");
            return Ok(());
        }
        if let Some(message) = pending::message_of(value) {
            return Err(Error::new(ErrorKind::UndefinedError, message.to_string()));
        }
        let text = match value.as_str() {
            Some(text) => {
                concat::gave(value, text);
                return out.write_str(text).map_err(Error::from);
            }
            // Ansible prints None as nothing, but inside a list it is `None`.
            None if value.is_none() => return Ok(()),
            None => python::str_of(&from_value(value)?),
        };
        concat::gave(value, &text);
        out.write_str(&text).map_err(Error::from)
    });
    let marks = &syntax.marks;
    let configured = minijinja::syntax::SyntaxConfig::builder()
        .block_delimiters(marks.block.0.clone(), marks.block.1.clone())
        .variable_delimiters(marks.variable.0.clone(), marks.variable.1.clone())
        .comment_delimiters(marks.comment.0.clone(), marks.comment.1.clone())
        .trim_blocks(syntax.trim_blocks)
        .lstrip_blocks(syntax.lstrip_blocks)
        .keep_trailing_newline(false)
        .build();
    if let Ok(config) = configured {
        env.set_syntax(config);
    }
    // A template's name is its path, a NUL and its text: a changed file is a different template.
    let loader_syntax = syntax.clone();
    env.set_loader(move |name| {
        Ok(name.split_once('\0').map(|(path, text)| dialect::template(text, &loader_syntax.marks, path == "inline")))
    });
    env.set_path_join_callback(|name, parent| match find_template(name, parent) {
        Some((path, text)) => format!("{}\0{text}", path.display()).into(),
        None => name.to_owned().into(),
    });
    super::functions::register(&mut env);
    super::filters::register(&mut env);
    super::tests::register(&mut env);
    env.set_unknown_method_callback(super::methods::call);
    let env: &'static Environment<'static> = Box::leak(Box::new(env));
    all.insert(syntax.clone(), env);
    env
}

/// The file of `{% include %}` or `{% import %}`: next to the including file, then in the template search path.
fn find_template(name: &str, parent: &str) -> Option<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let parent = parent.split_once('\0').map_or(parent, |(path, _)| path);
    folders.extend(PathBuf::from(parent).parent().map(PathBuf::from));
    let scope = Scope::current()?;
    for folder in &scope.search {
        folders.push(folder.join("templates"));
        folders.push(folder.clone());
    }
    let controller = scope.controller();
    folders.into_iter().map(|folder| folder.join(name)).find_map(|path| Some((path.clone(), controller.read_to_string(&path).ok()?)))
}

fn trailing_newlines(text: &str) -> usize {
    text.len() - text.trim_end_matches('\n').len()
}

impl Engine {
    pub(crate) fn new(inputs: Inputs) -> Self {
        Self { compiled: Mutex::default(), inputs }
    }

    fn compile(&self, source: &Arc<str>, kind: Kind) -> Arc<Compiled> {
        let key = (source.clone(), kind);
        if let Some(found) = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return found.clone();
        }
        let syntax = Syntax::default();
        let env = environment(&syntax);
        let expression = match kind {
            Kind::Condition => Some(dialect::expression(source, false)),
            Kind::Inline => dialect::single_expression(source, &syntax.marks).map(|code| dialect::expression(code, true)),
        };
        let compiled = match expression {
            Some(code) => match env.compile_expression_owned(code) {
                Ok(expression) => Compiled::Expression(expression),
                Err(error) => broken(&error),
            },
            None => {
                let name = format!("inline\0{source}");
                match env.get_template(&name) {
                    Ok(_) => Compiled::Text { env, name },
                    Err(error) => broken(&error),
                }
            }
        };
        let compiled = Arc::new(compiled);
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).insert(key, compiled.clone());
        compiled
    }

    fn run(&self, source: &Arc<str>, kind: Kind, place: &Place, scope: &Arc<Scope>) -> Result<Value, TemplateError> {
        let fail = |message: String, undefined, line: usize| TemplateError {
            message,
            undefined,
            place: Place { file: place.file.clone(), line: if place.line == 0 { 0 } else { place.line + line.saturating_sub(1) } },
        };
        if Evaluation::depth() > MAX_DEPTH {
            return Err(fail(format!("recursive loop detected in template string: {source}"), false, 1));
        }
        let compiled = self.compile(source, kind);
        let evaluation = Evaluation::open();
        let _entered = scope.enter(place);
        let context = Value::from_object(Root(scope.clone()));
        let result = match &*compiled {
            Compiled::Expression(expression) => expression.eval(context),
            Compiled::Text { env, name } => {
                let rendering = Rendering::of_text();
                env.get_template(name).and_then(|template| template.render(context)).map(|mut text| {
                    rendering.value(&text).unwrap_or_else(|| {
                        for _ in trailing_newlines(&text)..trailing_newlines(source) {
                            text.push('\n');
                        }
                        Value::from(text)
                    })
                })
            }
            Compiled::Broken(message, line) => return Err(fail(message.clone(), false, *line)),
        };
        match (result, evaluation.first()) {
            (Ok(value), None) => match pending::message_of(&value) {
                Some(message) => Err(fail(message.to_string(), true, 1)),
                None => Ok(value),
            },
            (Ok(_), Some(message)) => Err(fail(message.to_string(), true, 1)),
            (Err(error), pending) => {
                let line = innermost(&error).line().unwrap_or(1);
                match pending {
                    Some(message) => Err(fail(message.to_string(), true, line)),
                    None => {
                        let undefined = innermost(&error).kind() == ErrorKind::UndefinedError;
                        Err(fail(describe(&error), undefined, line))
                    }
                }
            }
        }
    }

    /// The value of a template, for use in another one.
    pub(crate) fn evaluate_nested(&self, tpl: &Tpl, scope: &Arc<Scope>) -> Result<Value, TemplateError> {
        self.run(&tpl.source, Kind::Inline, &tpl.place, scope)
    }

    /// The value of a template: of any type if it is a single expression, text otherwise.
    pub(crate) fn evaluate(&self, tpl: &Tpl, scope: &Arc<Scope>) -> Result<Data, TemplateError> {
        let value = self.run(&tpl.source, Kind::Inline, &tpl.place, scope)?;
        self.finish(&value, &tpl.place)
    }

    fn finish(&self, value: &Value, place: &Place) -> Result<Data, TemplateError> {
        // Elements that are still templates are evaluated here; undefined values in them count.
        let evaluation = Evaluation::open();
        let data = from_value(value);
        match (data, evaluation.first()) {
            (_, Some(message)) => Err(TemplateError { message: message.to_string(), undefined: true, place: place.clone() }),
            (Ok(Data::Opaque(value)), None) if pending::is_undefined(&value) => {
                Err(TemplateError { message: "a value is undefined".to_owned(), undefined: true, place: place.clone() })
            }
            (Ok(Data::Opaque(value)), None) => Ok(match value.downcast_object_ref::<super::value::LazyMap>() {
                Some(map) => map.expand(),
                None => Data::Opaque(value),
            }),
            (Ok(data), None) => Ok(data),
            (Err(error), None) => {
                let undefined = innermost(&error).kind() == ErrorKind::UndefinedError;
                Err(TemplateError { message: describe(&error), undefined, place: place.clone() })
            }
        }
    }

    /// The value of a bare expression, such as a condition.
    pub(crate) fn expression(&self, source: &Arc<str>, place: &Place, scope: &Arc<Scope>) -> Result<Data, TemplateError> {
        let value = self.run(source, Kind::Condition, place, scope)?;
        self.finish(&value, place)
    }

    /// The text of a template file.
    pub(crate) fn render_file(&self, path: &str, text: &str, syntax: &Syntax, scope: &Arc<Scope>) -> Result<String, TemplateError> {
        self.render(path, text, syntax, scope, &Rendering::of_file())
    }

    /// The value of a template file: text, unless its only output is one expression of another type.
    pub(crate) fn file_value(&self, path: &str, text: &str, syntax: &Syntax, scope: &Arc<Scope>) -> Result<Data, TemplateError> {
        let rendering = Rendering::of_text();
        let rendered = self.render(path, text, syntax, scope, &rendering)?;
        let kept = trailing_newlines(&rendered).min(trailing_newlines(text));
        match rendering.value(&rendered[..rendered.len() - kept]) {
            Some(value) => self.finish(&value, &Place { file: Arc::from(path), line: 1 }),
            None => Ok(Data::from(rendered)),
        }
    }

    fn render(&self, path: &str, text: &str, syntax: &Syntax, scope: &Arc<Scope>, _: &Rendering) -> Result<String, TemplateError> {
        let env = environment(syntax);
        let name = format!("{path}\0{text}");
        let evaluation = Evaluation::open();
        let _entered = scope.enter(&Place { file: Arc::from(path), line: 1 });
        let result = env.get_template(&name).and_then(|template| template.render(Value::from_object(Root(scope.clone()))));
        let place = |line| Place { file: Arc::from(path), line };
        match (result, evaluation.first()) {
            (Ok(mut rendered), None) => {
                for _ in trailing_newlines(&rendered)..trailing_newlines(text) {
                    rendered.push('\n');
                }
                Ok(rendered)
            }
            (Ok(_), Some(message)) => Err(TemplateError { message: message.to_string(), undefined: true, place: place(0) }),
            (Err(error), noted) => {
                let inner = innermost(&error);
                let line = place(inner.line().unwrap_or(0));
                Err(match noted {
                    Some(message) => TemplateError { message: message.to_string(), undefined: true, place: line },
                    None => TemplateError { message: describe(&error), undefined: inner.kind() == ErrorKind::UndefinedError, place: line },
                })
            }
        }
    }
}

fn broken(error: &Error) -> Compiled {
    Compiled::Broken(format!("Syntax error in template: {}", describe(error)), error.line().unwrap_or(1))
}

fn innermost(error: &Error) -> &Error {
    let mut inner = error;
    while let Some(source) = std::error::Error::source(inner).and_then(|source| source.downcast_ref::<Error>()) {
        inner = source;
    }
    inner
}

/// The message of an error without minijinja's template names, which contain whole texts.
fn describe(error: &Error) -> String {
    let inner = innermost(error);
    match inner.detail() {
        Some(detail) => detail.to_owned(),
        None => inner.kind().to_string(),
    }
}
