//! Machines in memory: files in a map, commands with scripted results, and a record of all calls.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use labctl_provision::{
    Artifact, Artifacts, Book, Content, Event, Inventory, Options, PlaybookError, Recap, Setup, Status, Target, TargetError,
};
use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, String>,
    pub calls: Vec<ModuleCall>,
    pub puts: Vec<String>,
    pub facts_read: usize,
    pub unreachable: bool,
    /// Number of times that `flaky` commands have run.
    pub tries: HashMap<String, u32>,
}

pub struct Machine {
    pub name: String,
    pub state: Mutex<State>,
}

impl Machine {
    fn module(&self, call: &ModuleCall) -> ModuleReply {
        let mut state = self.state.lock().unwrap();
        state.calls.push(call.clone());
        let text = |name: &str| call.args.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut needs_content = false;
        let result = match call.module.as_str() {
            "ping" => json!({"changed": false, "ping": "pong"}),
            "command" | "shell" => {
                let line = text("_raw_params").or(text("cmd")).unwrap_or_default();
                let tries = {
                    let count = state.tries.entry(line.clone()).or_default();
                    *count += 1;
                    *count
                };
                let (rc, out) = match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                    ["false", ..] => (1, String::new()),
                    ["echo", rest @ ..] => (0, rest.join(" ")),
                    ["hostname"] => (0, self.name.clone()),
                    ["flaky", count] => (i32::from(tries < count.parse().unwrap()), format!("try {tries}")),
                    ["env", name] => (0, call.environment.get(*name).cloned().unwrap_or_default()),
                    ["whoami"] => (0, call.become_user.clone().unwrap_or_else(|| "root".into())),
                    _ => (0, String::new()),
                };
                let skipped = text("creates").is_some_and(|path| state.files.contains_key(&path));
                if call.check || skipped {
                    json!({"changed": call.check && !skipped, "rc": 0, "stdout": "", "skipped": call.check})
                } else {
                    json!({"changed": true, "rc": rc, "stdout": out, "stdout_lines": out.lines().collect::<Vec<_>>(), "stderr": "", "cmd": line})
                }
            }
            "copy" | "template" | "artifact" => {
                let dest = text("dest").unwrap();
                let content = match text("content") {
                    Some(content) => Some(content),
                    None => {
                        let spool = ModuleCall::spool_path(&text("_sha256").unwrap());
                        let known = state.files.get(&spool).cloned();
                        let same = state.files.get(&dest).is_some_and(|old| sha(old) == text("_sha256").unwrap());
                        if same { state.files.get(&dest).cloned() } else { known }
                    }
                };
                match content {
                    None => {
                        needs_content = !call.check;
                        json!({"changed": call.check})
                    }
                    Some(content) => {
                        let changed = state.files.get(&dest) != Some(&content);
                        let diff = json!({"before": state.files.get(&dest).cloned().unwrap_or_default(), "after": content});
                        if !call.check {
                            state.files.insert(dest.clone(), content);
                        }
                        let mut result = json!({"changed": changed, "dest": dest});
                        if call.diff {
                            result["diff"] = diff;
                        }
                        result
                    }
                }
            }
            "file" => {
                let path = text("path").or(text("dest")).unwrap_or_default();
                let absent = text("state").as_deref() == Some("absent");
                let changed = if absent { state.files.remove(&path).is_some() } else { state.files.insert(path, "<dir>".into()).is_none() };
                json!({"changed": changed})
            }
            "fail_here" => json!({"failed": true, "msg": "no"}),
            "stat" => {
                json!({"changed": false, "stat": {"exists": state.files.contains_key(&text("path").unwrap_or_default())}})
            }
            "uri" => json!({"changed": false, "status": 200, "json": []}),
            _ => json!({"changed": true}),
        };
        ModuleReply { result: result.as_object().unwrap().clone(), needs_content }
    }
}

pub fn sha(text: &str) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(text.as_bytes()))
}

impl Target for Machine {
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>> {
        async move {
            if self.state.lock().unwrap().unreachable {
                return Err(TargetError::Unreachable("gone".into()));
            }
            Ok(self.module(&call))
        }
        .boxed()
    }

    fn put<'a>(&'a self, content: Content, sha256: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        async move {
            let bytes = match content {
                Content::Bytes(bytes) => (*bytes).clone(),
                Content::File(path) => std::fs::read(path).unwrap(),
            };
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(sha(&text), sha256);
            let mut state = self.state.lock().unwrap();
            state.puts.push(to.to_owned());
            state.files.insert(to.to_owned(), text);
            Ok(())
        }
        .boxed()
    }

    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>> {
        async move {
            let state = self.state.lock().unwrap();
            state.files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| TargetError::Failed(format!("{path}: not found")))
        }
        .boxed()
    }

    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>> {
        async move {
            let mut state = self.state.lock().unwrap();
            if state.unreachable {
                return Err(TargetError::Unreachable("gone".into()));
            }
            state.facts_read += 1;
            Ok(json!({"hostname": self.name, "os_family": "Debian", "distribution": "Debian", "default_ipv4": {"address": "10.0.0.1"}})
                .as_object()
                .unwrap()
                .clone())
        }
        .boxed()
    }

    fn reboot(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        async { Ok(()) }.boxed()
    }

    fn await_ready(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        async { Ok(()) }.boxed()
    }
}

struct Store(PathBuf);

impl Artifacts for Store {
    fn resolve<'a>(&'a self, _: &'a Path, name: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Artifact, String>> {
        async move {
            let path = self.0.join(version.map_or_else(|| name.to_owned(), |version| format!("{name}-{version}")));
            let text = std::fs::read_to_string(&path).map_err(|_| format!("artifact {name} is not declared"))?;
            Ok(Artifact { sha256: sha(&text), size: text.len() as u64, path, version: version.unwrap_or("1.2").into() })
        }
        .boxed()
    }
}

/// A folder with files, machines, and the recorded events.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub machines: HashMap<String, Arc<Machine>>,
    pub options: Options,
    pub naps: Arc<Mutex<Vec<Duration>>>,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub cancel: CancellationToken,
    /// Whether the controller itself can run tasks.
    pub local: bool,
    /// Run this entry of the list `provision` of the file instead of the file.
    pub inside: Option<usize>,
}

pub struct Ran {
    pub recap: Recap,
    pub lines: Vec<String>,
}

impl Bench {
    /// Files are given as one text: `=== path` starts each.
    pub fn new(files: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in files.split("=== ").skip(1) {
            let (path, text) = part.split_once('\n').unwrap();
            let path = folder.path().join(path.trim());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let naps: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let record = naps.clone();
        let options = Options {
            sleep: Some(Arc::new(move |nap| {
                record.lock().unwrap().push(nap);
                async {}.boxed()
            })),
            ..Options::default()
        };
        let mut bench = Self {
            folder,
            machines: HashMap::new(),
            options,
            naps,
            events: Arc::default(),
            cancel: CancellationToken::new(),
            local: true,
            inside: None,
        };
        bench.machine("localhost");
        bench
    }

    pub fn machine(&mut self, name: &str) -> Arc<Machine> {
        let make = || Arc::new(Machine { name: name.to_owned(), state: Mutex::default() });
        self.machines.entry(name.to_owned()).or_insert_with(make).clone()
    }

    pub fn file(&self, machine: &str, path: &str) -> Option<String> {
        self.machines[machine].state.lock().unwrap().files.get(path).cloned()
    }

    pub fn calls(&self, machine: &str) -> usize {
        self.machines[machine].state.lock().unwrap().calls.len()
    }

    fn setup(&mut self) -> Setup {
        let file = self.folder.path().join("hosts");
        if !file.exists() {
            std::fs::write(&file, "h1\n").unwrap();
        }
        let inventory = Inventory::from_file(&file).unwrap();
        for name in inventory.names() {
            self.machine(&name);
        }
        let machines = self.machines.clone();
        let local = self.local;
        let events = self.events.clone();
        Setup {
            inventory,
            targets: Arc::new(move |connection| {
                if connection.local && !local {
                    return None;
                }
                let name = if connection.local { "localhost" } else { &connection.host };
                machines.get(name).map(|machine| machine.clone() as Arc<dyn Target>)
            }),
            artifacts: Some(Arc::new(Store(self.folder.path().join("store")))),
            events: Arc::new(move |event| events.lock().unwrap().push(event)),
            cancel: self.cancel.clone(),
        }
    }

    pub fn list(&mut self) -> Vec<String> {
        let setup = self.setup();
        let book = Book::File(self.folder.path().join("site.yml"));
        let tasks = labctl_provision::list_tasks(&[book], setup, self.options.clone()).unwrap();
        tasks.into_iter().map(|task| format!("{} [{}]", task.name, task.tags.join(","))).collect()
    }

    pub fn try_run(&mut self) -> Result<Ran, PlaybookError> {
        let setup = self.setup();
        self.events.lock().unwrap().clear();
        let file = self.folder.path().join("site.yml");
        let book = match self.inside {
            Some(index) => Book::Inside { file, list: "provision".into(), index },
            None => Book::File(file),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let recap = runtime.block_on(labctl_provision::run(&[book], setup, self.options.clone()))?;
        let lines = self.events.lock().unwrap().iter().filter_map(line).collect();
        Ok(Ran { recap, lines })
    }

    #[track_caller]
    pub fn run(&mut self) -> Ran {
        match self.try_run() {
            Ok(ran) => ran,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Ran {
    /// `ok=1 changed=0 unreachable=0 failed=0 skipped=0 rescued=0 ignored=0`, without zeros.
    pub fn counts(&self, host: &str) -> String {
        let counts = self.recap.hosts.get(host).copied().unwrap_or_default();
        [
            ("ok", counts.ok),
            ("changed", counts.changed),
            ("unreachable", counts.unreachable),
            ("failed", counts.failed),
            ("skipped", counts.skipped),
            ("rescued", counts.rescued),
            ("ignored", counts.ignored),
        ]
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name}={count}"))
        .collect::<Vec<_>>()
        .join(" ")
    }

    /// Messages of `debug` tasks, in order.
    pub fn messages(&self) -> String {
        self.lines.iter().filter_map(|line| line.split_once(" msg=").map(|(_, message)| message)).collect::<Vec<_>>().join("|")
    }
}

/// An event as a line: `TASK name`, `host status msg=...`.
fn line(event: &Event) -> Option<String> {
    let state = |status: &Status| format!("{status:?}").to_lowercase();
    let message = |result: &Map<String, Value>| match result.get("msg") {
        Some(Value::String(text)) => format!(" msg={text}"),
        Some(other) => format!(" msg={other}"),
        None => String::new(),
    };
    Some(match event {
        Event::PlayStart { name, hosts } => format!("PLAY {name} {}", hosts.join(",")),
        Event::TaskStart { name, handler, .. } => {
            format!("{} {name}", if *handler { "HANDLER" } else { "TASK" })
        }
        Event::ItemResult { host, status, item, result, .. } => format!("  {host} {} item={item}{}", state(status), message(result)),
        Event::HostResult { host, status, result, .. } => {
            let looped = result.contains_key("results");
            format!("{host} {}{}", state(status), if looped { String::new() } else { message(result) })
        }
        Event::Included { what, hosts } => format!("INCLUDED {} {}", what.rsplit('/').next().unwrap_or(what), hosts.join(",")),
        Event::Warning { message } => format!("WARNING {message}"),
        Event::NoHostsRemaining => "NO HOSTS REMAINING".to_owned(),
    })
}
