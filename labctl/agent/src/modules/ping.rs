//! `ping`: answers.

use serde_json::json;

use super::arguments::text;
use super::outcome::Outcome;
use super::task::{Module, Task};

pub(super) const MODULE: Module = Module { names: &["ping"], params: &[text("data").or("pong")], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    if task.args.str("data") == "crash" {
        return Err("boom".into());
    }
    Ok(json!({"changed": false, "ping": task.args.str("data")}).into())
}
