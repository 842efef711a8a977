//! A minimal fake Nomad, driven by a test's closures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// The state of the cluster, and the requests it received.
#[derive(Default)]
pub(super) struct World {
    pub(super) job: Option<Value>,
    pub(super) deployment: Value,
    pub(super) evaluations: Vec<Value>,
    pub(super) allocations: Vec<Value>,
    pub(super) nodes: Vec<Value>,
    /// Requests that change something, in order.
    pub(super) asked: Vec<String>,
    /// How often a file was parsed.
    pub(super) parsed: usize,
    /// How often a client has waited for newer data.
    pub(super) waited: usize,
    /// How many more requests are answered as if the servers had no leader.
    pub(super) leaderless: usize,
}

/// What happens when a job is registered or evaluated, and at each wait.
pub(super) type Event = fn(&mut World);

pub(super) struct Nomad {
    world: Arc<Mutex<World>>,
    pub(super) address: String,
}

impl Nomad {
    /// Starts one with three clients and no job. `placed` runs at each evaluation, `waited` whenever newer data is waited for.
    pub(super) fn start(placed: Event, waited: Event) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let node = |n: usize| json!({"ID": format!("id{n}"), "Name": format!("client{n}"), "Status": "ready", "SchedulingEligibility": "eligible"});
        let world = Arc::new(Mutex::new(World { nodes: (1..=3).map(node).collect(), ..World::default() }));
        let shared = world.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &shared, placed, waited);
            }
        });
        Self { world, address }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

fn serve(stream: TcpStream, world: &Mutex<World>, placed: Event, waited: Event) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
    let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
    let mut body = vec![0; head.lines().find_map(length).unwrap_or(0)];
    let _ = reader.read_exact(&mut body);
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if query.contains("index=") {
        // The real one would hold the request; long enough that a test of patience does not spin.
        std::thread::sleep(Duration::from_millis(20));
    }
    let (status, answer) = {
        let mut world = world.lock().unwrap();
        if query.contains("index=") {
            world.waited += 1;
            waited(&mut world);
        }
        world.answer(method, path, &body, placed)
    };
    let answer = if status == 200 { answer.to_string() } else { answer.as_str().unwrap_or_default().to_owned() };
    let head = format!("HTTP/1.1 {status} x\r\nX-Nomad-Index: 7\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    let _ = reader.get_mut().write_all(&[head.as_bytes(), answer.as_bytes()].concat());
}

impl World {
    fn answer(&mut self, method: &str, path: &str, body: &Value, placed: Event) -> (u16, Value) {
        if self.leaderless > 0 {
            self.leaderless -= 1;
            return (500, "No cluster leader".into());
        }
        let path = path.strip_prefix("/v1").unwrap_or(path);
        let job = self.job.clone().unwrap_or_default();
        self.parsed += usize::from(path == "/jobs/parse");
        let answer = match (method, path) {
            ("GET", "/status/leader") => json!("10.0.0.1:4647"),
            ("GET", "/nodes") => json!(self.nodes),
            ("GET", path) if path.starts_with("/node/") => json!({"Attributes": {"consul.version": "1.12.9"}}),
            // In the tests the file's text is JSON, so that HCL need not be parsed here.
            ("POST", "/jobs/parse") => match serde_json::from_str(body["JobHCL"].as_str().unwrap_or_default().trim_start_matches("hcl")) {
                Ok(job) => job,
                Err(_) => return (400, "Failed to parse job: input.hcl:1,1-2: Invalid expression".into()),
            },
            ("POST", "/job/web/plan") => {
                let same = ["TaskGroups", "Priority"].iter().all(|key| job[key] == body["Job"][key]);
                let kind = if self.job.is_none() {
                    "Added"
                } else if same {
                    "None"
                } else {
                    "Edited"
                };
                json!({"Diff": {"Type": kind}, "JobModifyIndex": job["JobModifyIndex"].as_u64().unwrap_or(0)})
            }
            ("POST", "/jobs") => {
                let version = self.job.as_ref().map_or(0, |old| old["Version"].as_u64().unwrap_or(0) + 1);
                self.asked.push(format!("register priority {}", body["Job"]["Priority"]));
                let mut new = body["Job"].clone();
                new["Version"] = version.into();
                new["JobModifyIndex"] = (version + 10).into();
                new["SubmitTime"] = (version + 1000).into();
                self.job = Some(new);
                placed(self);
                json!({"EvalID": "e1"})
            }
            ("POST", "/job/web/evaluate") => {
                self.asked.push(format!("evaluate, force {}", body["EvalOptions"]["ForceReschedule"]));
                placed(self);
                json!({"EvalID": "e2"})
            }
            ("DELETE", "/job/web") => {
                self.asked.push("stop".into());
                self.allocations.clear();
                json!({"EvalID": "e3"})
            }
            ("GET", "/evaluation/e3") => json!({"Status": "complete"}),
            ("GET", "/job/web/deployments") => json!([self.deployment]),
            ("GET", _) if self.job.is_none() => return (404, "job not found".into()),
            ("GET", "/job/web") => job,
            ("GET", "/job/web/deployment") => self.deployment.clone(),
            ("GET", "/job/web/evaluations") => json!(self.evaluations),
            ("GET", "/job/web/allocations") => json!(self.allocations),
            other => return (500, format!("{other:?} is not part of this Nomad").into()),
        };
        (200, answer)
    }

    /// The version of the registered job.
    pub(super) fn version(&self) -> u64 {
        self.job.as_ref().and_then(|job| job["Version"].as_u64()).unwrap_or_default()
    }

    /// A deployment of the job with this status and this many of two instances healthy.
    pub(super) fn deploy(&mut self, status: &str, healthy: u64) {
        let why = match status {
            "failed" => "Failed due to progress deadline",
            _ => "Deployment is running",
        };
        self.deployment = json!({"ID": format!("d{}", self.version()), "JobVersion": self.version(), "Status": status, "StatusDescription": why,
            "TaskGroups": {"g": {"DesiredTotal": 2, "PlacedAllocs": 2, "HealthyAllocs": healthy}}});
        self.allocations = (0..2).map(|n| self.allocation(n, if n < healthy { "running" } else { "pending" }, n < healthy)).collect();
    }

    pub(super) fn allocation(&self, n: u64, status: &str, healthy: bool) -> Value {
        let health = if healthy { json!({"Healthy": true}) } else { Value::Null };
        json!({"ID": format!("{n:08}-aaaa"), "Name": format!("web.g[{n}]"), "TaskGroup": "g", "NodeName": format!("client{}", n + 1),
            "JobVersion": self.version(), "DesiredStatus": "run", "ClientStatus": status, "NextAllocation": "", "DeploymentStatus": health,
            "TaskStates": {"t": {"State": status, "Events": [{"Type": "Task Setup", "DisplayMessage": "Building Task Directory"}]}}})
    }
}
