//! `debug`: shows a message or a variable.

use std::sync::Arc;

use super::{Action, Done, Stop, result};
use crate::data::{Data, Place};
use crate::python;

impl Action {
    pub(super) fn debug(&self) -> Done {
        let verbosity = match self.args.get("verbosity") {
            Some(data) => self.scope.resolve(data).map_err(|error| error.to_string())?,
            None => Data::Int(0),
        };
        let wanted: i64 = python::str_of(&verbosity).parse().map_err(|_| "verbosity must be a number".to_owned())?;
        if wanted > i64::from(self.play.run.options.verbosity) {
            return Ok(result([
                ("skipped_reason", "Verbosity threshold not met.".into()),
                ("skipped", true.into()),
                ("changed", false.into()),
            ]));
        }
        if self.args.contains_key("msg") && self.args.contains_key("var") {
            return Err(Stop::Failed("'msg' and 'var' are incompatible options".to_owned()));
        }
        if let Some(variable) = self.args.get("var") {
            let place = &self.task.place;
            let name = self.scope.resolve(variable).unwrap_or_else(|_| variable.clone());
            let shown = match &name {
                Data::Str(text) => match self.scope.engine.expression(text, place, &self.scope) {
                    Ok(value) => value,
                    Err(error) if error.undefined => Data::from(format!("<< error 1 - {} >>", error.message)),
                    Err(error) => return Err(Stop::Failed(error.to_string())),
                },
                other => other.clone(),
            };
            let key: Arc<str> = Arc::from(variable.as_str().unwrap_or("var"));
            let mut out = result([("changed", false.into())]);
            out.insert(key, shown);
            return Ok(out);
        }
        let message = match self.args.get("msg") {
            Some(message) => self.scope.resolve(message).map_err(|error| format!("Error while resolving value for 'msg': {error}"))?,
            None => Data::str("Hello world!"),
        };
        let message = if matches!(message, Data::Omit) { Data::str("Hello world!") } else { message };
        Ok(result([("msg", message), ("changed", false.into())]))
    }

    /// The location of a value whose text is an expression.
    pub(super) fn expression_place(&self) -> &Place {
        &self.task.place
    }
}
