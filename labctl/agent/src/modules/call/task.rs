//! The input of a module, and how modules are declared.

use labctl_wire::ModuleCall;
use serde_json::{Map, Value};

use crate::modules::call::arguments::{Arguments, Param};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::root::Root;
use crate::modules::files::ownership::FileArgs;

/// A module: its names, its parameters and what it does.
pub(crate) struct Module {
    /// Names in the [table](labctl_wire::modules) of the modules that it implements; that table has their aliases.
    pub(crate) names: &'static [&'static str],
    pub(crate) params: &'static [Param],
    /// Whether it also accepts [`crate::modules::call::arguments::FILE_PARAMS`].
    pub(crate) files: bool,
    pub(crate) run: fn(&Task<'_>) -> Outcome,
}

/// A call of a module with its arguments checked.
pub(crate) struct Task<'a> {
    pub(crate) call: &'a ModuleCall,
    pub(crate) args: Arguments,
    pub(crate) root: &'a Root,
    /// Check mode: only predict.
    pub(crate) check: bool,
    /// Report differences.
    pub(crate) diff: bool,
    /// Whether the controller has cancelled the call; modules that wait for long check this regularly.
    pub(crate) given_up: &'a dyn Fn() -> bool,
}

impl Task<'_> {
    /// The requested owner, group and mode.
    pub(crate) fn file_args(&self) -> Result<FileArgs, Fault> {
        FileArgs::parse(self)
    }

    /// Adds `diff` to a result if requested.
    pub(crate) fn put_diff(&self, result: &mut Map<String, Value>, diff: impl FnOnce() -> Value) {
        if self.diff {
            result.insert("diff".to_owned(), diff());
        }
    }
}
