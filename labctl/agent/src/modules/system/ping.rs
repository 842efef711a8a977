//! `ping`: returns `pong`, or the given data.

use serde_json::json;

use crate::modules::call::arguments::text;
use crate::modules::call::outcome::Outcome;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module { names: &["ping"], params: &[text("data").or("pong")], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    if task.args.str("data") == "crash" {
        return Err("boom".into());
    }
    Ok(json!({"changed": false, "ping": task.args.str("data")}).into())
}
