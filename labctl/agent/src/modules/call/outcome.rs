//! Results of modules.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value};

/// A module's result, or why it failed.
pub(crate) type Outcome = Result<Done, Fault>;

/// A module's successful result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    pub(crate) result: Map<String, Value>,
    /// See [`labctl_wire::ModuleReply::needs_content`].
    pub(crate) needs_content: bool,
}

impl Done {
    /// Nothing was changed; the content must be sent first.
    pub(crate) fn needs_content() -> Self {
        Self { result: Map::new(), needs_content: true }
    }
}

impl From<Value> for Done {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(result) => Self { result, needs_content: false },
            _ => Self::default(),
        }
    }
}

impl From<Map<String, Value>> for Done {
    fn from(result: Map<String, Value>) -> Self {
        Self { result, needs_content: false }
    }
}

/// Why a module failed: Ansible's `msg`, and the other values of the result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault {
    pub(crate) msg: String,
    pub(crate) extra: Map<String, Value>,
}

impl Fault {
    /// Adds a value to the failed result.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// Adds all of an object's values.
    pub(crate) fn with_all(mut self, values: Value) -> Self {
        if let Value::Object(values) = values {
            self.extra.extend(values);
        }
        self
    }
}

impl From<String> for Fault {
    fn from(msg: String) -> Self {
        Self { msg, extra: Map::new() }
    }
}

impl From<&str> for Fault {
    fn from(msg: &str) -> Self {
        msg.to_owned().into()
    }
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.msg)
    }
}

/// Turns an I/O error into a [`Fault`] that names the operation and the file.
pub(crate) trait Attempt<T> {
    /// `what` completes "could not ...".
    fn attempt(self, what: &str, path: impl AsRef<Path>) -> Result<T, Fault>;
}

impl<T, E: Into<std::io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: &str, path: impl AsRef<Path>) -> Result<T, Fault> {
        self.map_err(|err| {
            let err: std::io::Error = err.into();
            let text = err.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let number = err.raw_os_error().map(|n| format!("[Errno {n}] ")).unwrap_or_default();
            format!("could not {what} {}: {number}{text}", path.as_ref().display()).into()
        })
    }
}

/// Refuses a missing path, with the message of several Ansible modules.
pub(crate) fn must_exist(path: &str) -> Result<(), Fault> {
    if Path::new(path).symlink_metadata().is_ok() { Ok(()) } else { Err(format!("path not found or not accessible: {path}").into()) }
}
