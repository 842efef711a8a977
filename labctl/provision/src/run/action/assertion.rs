//! `assert`: fails unless all conditions hold.

use super::{Action, Done, Stop, result};
use crate::data::Data;
use crate::playbook::Condition;
use crate::run::keyword;

impl Action {
    pub(super) fn assertion(&self) -> Done {
        let that = self.args.get("that").ok_or_else(|| Stop::Failed("conditional required in \"that\" string".to_owned()))?;
        let text = |name: &str| -> Result<Option<Data>, Stop> {
            match self.args.get(name) {
                Some(data) => Ok(Some(self.scope.resolve(data).map_err(|error| error.to_string())?)),
                None => Ok(None),
            }
        };
        let conditions: Vec<Data> = match that {
            Data::List(list) => list.to_vec(),
            // A variable that holds a list of conditions.
            Data::Tpl(_) => match self.scope.resolve(that).map_err(|error| error.to_string())? {
                Data::List(list) => list.to_vec(),
                other => vec![other],
            },
            other => vec![other.clone()],
        };
        for condition in conditions {
            let parsed = match &condition {
                Data::Str(text) => Condition::Expression(text.clone(), self.expression_place().clone()),
                Data::Tpl(tpl) => Condition::Expression(tpl.source.clone(), tpl.place.clone()),
                other => Condition::Value(other.clone()),
            };
            let holds =
                keyword::all_hold(&[parsed], &self.scope).map_err(|error| format!("Error while evaluating conditional: {error}"))?;
            if holds.is_err() {
                let given = match text("fail_msg")? {
                    Some(message) => Some(message),
                    None => text("msg")?,
                };
                return Ok(result([
                    ("failed", true.into()),
                    ("changed", false.into()),
                    ("evaluated_to", false.into()),
                    ("assertion", condition),
                    ("msg", given.unwrap_or(Data::str("Assertion failed"))),
                ]));
            }
        }
        Ok(result([("changed", false.into()), ("msg", text("success_msg")?.unwrap_or(Data::str("All assertions passed")))]))
    }
}
