//! `slurp`: a file's contents.

use base64::Engine;
use serde_json::json;

use crate::modules::call::arguments::path;
use crate::modules::call::outcome::Outcome;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module { names: &["slurp"], params: &[path("src").must().aka(&["path"])], files: false, run };

fn run(task: &Task<'_>) -> Outcome {
    let path = task.args.path("src").unwrap_or_default();
    let shown = path.display();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("file not found: {shown}").into());
        }
        Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(format!("file is not readable: {shown}").into());
        }
        Err(_) if path.is_dir() => {
            return Err(format!("source is a directory and must be a file: {shown}").into());
        }
        Err(err) => return Err(format!("unable to slurp file: {shown}: {err}").into()),
    };
    Ok(json!({"changed": false, "content": base64::engine::general_purpose::STANDARD.encode(&bytes), "source": path.to_string_lossy(), "encoding": "base64"}).into())
}
