//! `find`: files by name, age, size, kind and contents.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{digest, stat};
use crate::modules::call::arguments::{flag, int, list, on, raw, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::mode::Mode;
use crate::modules::text::glob_matches;
use crate::modules::text::python_regex::Pattern;

pub(crate) const MODULE: Module = Module {
    names: &["find"],
    params: &[
        list("paths").must().aka(&["name", "path"]),
        list("patterns").aka(&["pattern"]),
        list("excludes").aka(&["exclude"]),
        text("contains"),
        flag("read_whole_file"),
        text("file_type").of(&["any", "directory", "file", "link"]).or("file"),
        text("age"),
        text("age_stamp").of(&["atime", "mtime", "ctime"]).or("mtime"),
        text("size"),
        flag("recurse"),
        flag("hidden"),
        flag("follow"),
        flag("get_checksum"),
        text("checksum_algorithm").aka(&["checksum", "checksum_algo"]).or("sha1"),
        flag("use_regex"),
        int("depth"),
        raw("mode"),
        on("exact_mode"),
        int("limit"),
        text("encoding"),
    ],
    files: false,
    run,
};

struct Search<'a> {
    task: &'a Task<'a>,
    patterns: Vec<String>,
    regexes: Vec<Pattern>,
    excludes: Vec<String>,
    excluded: Vec<Pattern>,
    contains: Option<Pattern>,
    age: Option<i64>,
    size: Option<i64>,
    mode: Option<Mode>,
    now: i64,
    files: Vec<Value>,
    examined: u64,
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (patterns, excludes) = (args.list("patterns"), args.list("excludes"));
    let compile = |list: &[String]| -> Result<Vec<Pattern>, Fault> {
        if !args.flag("use_regex") {
            return Ok(Vec::new());
        }
        list.iter().map(|pattern| Pattern::new(&format!("^(?:{pattern})"))).collect()
    };
    let whole = args.flag("read_whole_file");
    let contains = args.filled("contains").map(|p| if whole { Pattern::new(p) } else { Pattern::new(&format!("^(?:{p})")) });
    let mut search = Search {
        regexes: compile(&patterns)?,
        excluded: compile(&excludes)?,
        patterns,
        excludes,
        contains: contains.transpose()?,
        age: args.filled("age").map(|age| with_unit(age, &AGES, "age")).transpose()?,
        size: args.filled("size").map(|size| with_unit(size, &SIZES, "size")).transpose()?,
        mode: args.get("mode").map(Mode::parse).transpose().map_err(Fault::from)?,
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64),
        files: Vec::new(),
        examined: 0,
        task,
    };
    let mut skipped = Map::new();
    for path in args.list("paths") {
        if Path::new(&path).is_dir() {
            search.folder(Path::new(&path), 1);
        } else {
            skipped.insert(path.clone(), format!("'{path}' is not a directory").into());
        }
    }
    let msg = if skipped.is_empty() { "All paths examined" } else { "Not all paths examined, check warnings for details" };
    let matched = search.files.len();
    Ok(json!({"changed": false, "files": search.files, "matched": matched, "examined": search.examined, "msg": msg, "skipped_paths": skipped}).into())
}

const AGES: [(char, i64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
const SIZES: [(char, i64); 5] = [('b', 1), ('k', 1 << 10), ('m', 1 << 20), ('g', 1 << 30), ('t', 1 << 40)];

fn with_unit(text: &str, units: &[(char, i64)], what: &str) -> Result<i64, Fault> {
    let lower = text.to_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match lower[digits.len()..].chars().next() {
        None => Some(1),
        Some(letter) => units.iter().find(|(unit, _)| *unit == letter).map(|(_, factor)| *factor),
    };
    let number = digits.parse::<i64>().ok();
    match (number, factor) {
        (Some(number), Some(factor)) => Ok(number.saturating_mul(factor)),
        _ => Err(Fault::from(format!("failed to process {what}")).with(what, text)),
    }
}

impl Search<'_> {
    fn full(&self) -> bool {
        self.task.args.int("limit").is_some_and(|limit| self.files.len() as i64 >= limit)
    }

    fn folder(&mut self, folder: &Path, depth: i64) {
        let args = &self.task.args;
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let deeper = args.flag("recurse") && args.int("depth").is_none_or(|most| most <= 0 || depth < most);
        for path in paths {
            if self.full() {
                return;
            }
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            self.examined += 1;
            if name.starts_with('.') && !self.task.args.flag("hidden") {
                continue;
            }
            self.consider(&path, &name);
            let enter =
                fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) || self.task.args.flag("follow") && depth < 64 && path.is_dir();
            if deeper && enter {
                self.folder(&path, depth + 1);
            }
        }
    }

    fn named(&self, name: &str) -> bool {
        if self.task.args.flag("use_regex") {
            let wanted = self.regexes.is_empty() || self.regexes.iter().any(|regex| regex.found(name));
            return wanted && !self.excluded.iter().any(|regex| regex.found(name));
        }
        let wanted = self.patterns.is_empty() || self.patterns.iter().any(|pattern| glob_matches(pattern, name));
        wanted && !self.excludes.iter().any(|pattern| glob_matches(pattern, name))
    }

    fn consider(&mut self, path: &Path, name: &str) {
        let args = &self.task.args;
        let meta = if args.flag("follow") { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let Ok(meta) = meta else { return };
        let kind = match args.str("file_type") {
            "any" => true,
            "directory" => meta.is_dir(),
            "link" => meta.is_symlink(),
            _ => meta.is_file(),
        };
        let stamp = match args.str("age_stamp") {
            "atime" => meta.atime(),
            "ctime" => meta.ctime(),
            _ => meta.mtime(),
        };
        let limit = |limit: Option<i64>, value: i64| limit.is_none_or(|l| if l >= 0 { value >= l } else { value <= -l });
        let mode = self.mode.as_ref().is_none_or(|mode| {
            let (wanted, has) = (mode.resolve(0, meta.is_dir()), meta.mode() & 0o7777);
            if args.flag("exact_mode") { has == wanted } else { has & wanted == wanted }
        });
        let sized = args.str("file_type") == "directory" || !meta.is_file() || limit(self.size, meta.len() as i64);
        if !(kind && self.named(name) && limit(self.age, self.now - stamp) && sized && mode) {
            return;
        }
        if let Some(contains) = &self.contains {
            let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let whole = args.flag("read_whole_file");
            if !meta.is_file() || !(if whole { contains.found(&text) } else { text.lines().any(|line| contains.found(line)) }) {
                return;
            }
        }
        let mut facts = stat::facts(path, &meta);
        stat::names(self.task.root, &meta, &mut facts);
        for key in ["blocks", "block_size", "device_type"] {
            facts.remove(key);
        }
        if args.flag("get_checksum")
            && meta.is_file()
            && let Some(Ok(sum)) = digest::by_name(path, args.str("checksum_algorithm"))
        {
            facts.insert("checksum".into(), sum.into());
        }
        self.files.push(Value::Object(facts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::call::testing::Bench;

    #[test]
    fn by_name_size_contents_and_kind() {
        let bench = Bench::new();
        bench.write("d/a.conf", "hello world");
        bench.write("d/sub/b.conf", "x");
        bench.write("d/.hidden", "");
        let found = |extra: Value| {
            let mut args = json!({"paths": bench.text_path("d")});
            args.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let result = bench.run("find", args);
            let files = result["files"].as_array().unwrap().clone();
            files.iter().map(|f| f["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(json!({})), ["a.conf"]);
        assert_eq!(found(json!({"recurse": true, "patterns": "*.conf"})), ["a.conf", "b.conf"]);
        assert_eq!(found(json!({"recurse": true, "excludes": "a*"})), ["b.conf"]);
        assert_eq!(found(json!({"hidden": true, "size": "1k"})), Vec::<String>::new());
        assert_eq!(found(json!({"contains": "hel+o"})), ["a.conf"]);
        assert_eq!(found(json!({"file_type": "directory"})), ["sub"]);
        assert_eq!(found(json!({"use_regex": true, "patterns": "^[ab]\\.conf$", "recurse": true, "age": "-1h"})), ["a.conf", "b.conf"]);
    }
}
