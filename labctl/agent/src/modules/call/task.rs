//! What a module is given, and how modules are declared.

use labctl_wire::ModuleCall;
use serde_json::{Map, Value};

use crate::modules::call::arguments::{Arguments, Param};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::root::Root;
use crate::modules::files::ownership::FileArgs;

/// A module: its names, its parameters and what it does.
pub(crate) struct Module {
    /// Names in the [table](labctl_wire::modules) of the modules that it does the work of; that knows their aliases.
    pub(crate) names: &'static [&'static str],
    pub(crate) params: &'static [Param],
    /// Whether it takes [`crate::modules::call::arguments::FILE_PARAMS`] too.
    pub(crate) files: bool,
    pub(crate) run: fn(&Task<'_>) -> Outcome,
}

/// A call of a module, its arguments checked.
pub(crate) struct Task<'a> {
    pub(crate) call: &'a ModuleCall,
    pub(crate) args: Arguments,
    pub(crate) root: &'a Root,
    /// Only predict.
    pub(crate) check: bool,
    /// Report differences.
    pub(crate) diff: bool,
    /// Whether the controller gave the call up; what waits for long looks now and then.
    pub(crate) given_up: &'a dyn Fn() -> bool,
}

impl Task<'_> {
    /// The owner, group and mode that were asked for.
    pub(crate) fn file_args(&self) -> Result<FileArgs, Fault> {
        FileArgs::parse(self)
    }

    /// Adds `diff` to a result if it was asked for.
    pub(crate) fn put_diff(&self, result: &mut Map<String, Value>, diff: impl FnOnce() -> Value) {
        if self.diff {
            result.insert("diff".to_owned(), diff());
        }
    }
}
