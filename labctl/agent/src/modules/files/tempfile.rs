//! `tempfile`: a file or folder with an unused name.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde_json::{Map, json};

use crate::modules::call::arguments::{path, text};
use crate::modules::call::outcome::{Attempt, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::ownership::describe;

pub(crate) const MODULE: Module = Module {
    names: &["tempfile"],
    params: &[text("state").of(&["file", "directory"]).or("file"), path("path"), text("prefix").or("ansible."), text("suffix").or("")],
    files: false,
    run,
};

/// Number of names to try; with 64 random bits the first is free.
const TRIES: usize = 16;

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let folder = args.filled("path").unwrap_or("/tmp");
    if task.check {
        return Ok(json!({"changed": true, "path": null, "state": args.str("state")}).into());
    }
    let mut last = None;
    for _ in 0..TRIES {
        let mut bytes = [0; 8];
        fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
            .attempt("read", "/dev/urandom")?;
        let name = format!("{}{}{}", args.str("prefix"), crate::modules::text::hex(&bytes), args.str("suffix"));
        let path = Path::new(folder).join(name);
        let made = match args.str("state") {
            "directory" => fs::DirBuilder::new().mode(0o700).create(&path),
            _ => fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map(drop),
        };
        match made {
            Ok(()) => {
                let mut result = Map::new();
                result.insert("changed".into(), true.into());
                result.insert("path".into(), path.to_string_lossy().into());
                describe(task.root, &path, &mut result);
                return Ok(result.into());
            }
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => last = Some(err),
            Err(err) => return Err(err).attempt("create", &path),
        }
    }
    Err(format!("no free name in {folder}: {}", last.map_or(String::new(), |err| err.to_string())).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn names_are_fresh_and_parts_are_joined() {
        let bench = Bench::new();
        bench.write("parts/1", "a");
        bench.write("parts/2", "b\n");
        let args = json!({"src": bench.text_path("parts"), "dest": bench.text_path("whole"), "delimiter": "--"});
        bench.converges("assemble", args, true);
        assert_eq!(bench.read("whole"), "a\n--\nb\n");
        let made = bench.run("tempfile", json!({"path": bench.text_path("parts"), "suffix": ".x"}));
        assert!(made["path"].as_str().unwrap().ends_with(".x") && made["mode"] == "0600");
    }
}
