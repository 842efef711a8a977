//! `systemd` against a manager played by a thread.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::modules::call::testing::Bench;
use crate::systemd::test_peer::{Answer, Arg, Message, play, play_at, text};

/// The state of the manager's only unit, and the requests it received.
#[derive(Debug, Default)]
struct Unit {
    active: &'static str,
    file: &'static str,
    /// Whether its file has changed since systemd read it.
    stale: bool,
    /// The type of its job, if it has one.
    job: Option<&'static str>,
    asked: Vec<String>,
}

fn answer(unit: &mut Unit, call: &Message) -> Vec<Answer> {
    let name = call.body.first().map_or("", Arg::text);
    let mut answers = Vec::new();
    match call.member.as_str() {
        "LoadUnit" => answers.push(reply(if name == "web.service" { "/unit/web" } else { "/unit/missing" })),
        "GetAll" => {
            let load = if call.path.ends_with("web") { "loaded" } else { "not-found" };
            let properties =
                [("LoadState", load), ("ActiveState", unit.active), ("NeedDaemonReload", if unit.stale { "yes" } else { "no" })];
            let entries = properties.map(|(key, value)| Arg::List(vec![text(key), text(value)]));
            let (number, path) = unit.job.map_or((0, "/"), |_| (1, "/job/1"));
            let job = Arg::List(vec![text("Job"), Arg::List(vec![Arg::Unsigned(number), text(path)])]);
            answers.push(Answer::Reply("a{sv}", vec![Arg::List([entries.to_vec(), vec![job]].concat())]));
        }
        "GetUnitFileState" => answers.push(reply(unit.file)),
        "StartUnit" | "RestartUnit" => {
            unit.asked.push(call.member.clone());
            let result = if unit.active == "failed" { "failed" } else { "done" };
            answers.push(reply("/job/1"));
            for (job, result) in [("/job/0", "canceled"), ("/job/1", result)] {
                let body = vec![Arg::Unsigned(1), text(job), text("web.service"), text(result)];
                answers.push(Answer::Signal("JobRemoved", "uoss", body));
            }
            if result == "done" {
                unit.active = "active";
            }
        }
        "EnableUnitFiles" => {
            unit.asked.push("enable".into());
            unit.file = "enabled";
            answers.push(Answer::Reply("", vec![]));
        }
        "Get" if call.path == "/job/1" => answers.push(match unit.job {
            Some("ended") => {
                (unit.job, unit.active) = (None, "active");
                Answer::Refusal("org.freedesktop.DBus.Error.UnknownObject", "no such job")
            }
            job => Answer::Reply("v", vec![text(job.unwrap_or_default())]),
        }),
        "Get" => answers.push(Answer::Reply("v", vec![text("17")])),
        other => {
            unit.asked.push(other.to_owned());
            answers.push(Answer::Reply("", vec![]));
        }
    }
    answers
}

fn reply(value: &str) -> Answer {
    Answer::Reply("s", vec![text(value)])
}

fn bench(active: &'static str, file: &'static str) -> (Bench, Arc<Mutex<Unit>>) {
    let bench = Bench::new();
    let unit = Arc::new(Mutex::new(Unit { active, file, stale: false, job: None, asked: vec![] }));
    let shared = unit.clone();
    play(&bench.path(""), move |call| answer(&mut shared.lock().unwrap(), call));
    (bench, unit)
}

#[test]
fn starts_and_enables_once() {
    let (bench, unit) = bench("inactive", "disabled");
    let args = json!({"name": "web", "state": "started", "enabled": true});
    assert_eq!(bench.call("systemd", args.clone(), true).result["changed"], true);
    assert!(unit.lock().unwrap().asked.is_empty(), "a check must ask for nothing");
    let result = bench.run("systemd", args.clone());
    assert_eq!((result["changed"].as_bool(), result["state"].as_str()), (Some(true), Some("started")));
    assert_eq!(unit.lock().unwrap().asked, ["enable", "Reload", "StartUnit"]);
    let again = bench.run("service", args);
    assert_eq!((again["changed"].as_bool(), again["status"]["MainPID"].as_str()), (Some(false), Some("17")));
}

#[test]
fn a_unit_that_the_boot_is_about_to_start_is_awaited_and_not_changed() {
    for (job, changed) in [("start", false), ("stop", true)] {
        let (bench, unit) = bench("inactive", "enabled");
        unit.lock().unwrap().job = Some(job);
        let args = json!({"name": "web", "state": "started"});
        assert_eq!(bench.call("systemd", args.clone(), true).result["changed"], changed, "{job}");
        let result = bench.run("systemd", args);
        assert_eq!((result["changed"].as_bool(), result["state"].as_str()), (Some(changed), Some("started")), "{job}");
        assert_eq!(unit.lock().unwrap().asked, ["StartUnit"]);
    }
    let (bench, unit) = bench("inactive", "enabled");
    unit.lock().unwrap().job = Some("ended");
    assert_eq!(bench.run("systemd", json!({"name": "web", "state": "started"}))["changed"], false, "it was started between two questions");
    assert!(unit.lock().unwrap().asked.is_empty());
}

#[test]
fn restarts_and_reloads_the_manager() {
    let (bench, unit) = bench("active", "enabled");
    bench.run("systemd", json!({"name": "web.service", "state": "restarted", "daemon_reload": true}));
    assert_eq!(unit.lock().unwrap().asked, ["Reload", "RestartUnit"]);
    let result = bench.run("systemd", json!({"daemon_reload": "yes"}));
    assert_eq!(result["changed"], false);
}

#[test]
fn enabling_and_reloading_reloads_once_where_that_makes_no_difference() {
    for (stale, expected) in [(false, &["enable", "Reload", "StartUnit"][..]), (true, &["Reload", "enable", "Reload", "StartUnit"][..])] {
        let (bench, unit) = bench("inactive", "disabled");
        unit.lock().unwrap().stale = stale;
        bench.write("/etc/systemd/system/web.service", "[Install]\nWantedBy=multi-user.target\n");
        let args = json!({"name": "web", "state": "started", "enabled": true, "daemon_reload": true});
        assert_eq!(bench.call("systemd", args.clone(), true).result["changed"], true);
        assert!(unit.lock().unwrap().asked.is_empty(), "a check must ask for nothing");
        let result = bench.run("systemd", args);
        assert_eq!((result["changed"].as_bool(), result["enabled"].as_bool()), (Some(true), Some(true)));
        assert_eq!(unit.lock().unwrap().asked, expected, "stale: {stale}");
    }
}

#[test]
fn a_reload_is_asked_over_the_message_bus() {
    let (bench, unit) = bench("active", "enabled");
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = calls.clone();
    play_at(&bench.path("/run/dbus/system_bus_socket"), move |call| {
        heard.lock().unwrap().push(call.member.clone());
        vec![Answer::Reply("", vec![])]
    });
    bench.run("systemd", json!({"name": "web", "state": "restarted", "daemon_reload": true}));
    assert_eq!(*calls.lock().unwrap(), ["Hello", "Reload"]);
    assert_eq!(unit.lock().unwrap().asked, ["RestartUnit"]);
}

#[test]
fn a_message_bus_that_refuses_a_reload_is_passed_by() {
    let (bench, unit) = bench("active", "enabled");
    play_at(&bench.path("/run/dbus/system_bus_socket"), |call| match call.member.as_str() {
        "Hello" => vec![Answer::Reply("", vec![])],
        _ => vec![Answer::Refusal("org.freedesktop.DBus.Error.AccessDenied", "no")],
    });
    bench.run("systemd", json!({"daemon_reload": true}));
    assert_eq!(unit.lock().unwrap().asked, ["Reload"]);
}

#[test]
fn failures_are_told() {
    let (bench, _unit) = bench("failed", "enabled");
    let msg = bench.fault("systemd", json!({"name": "web", "state": "started"}));
    assert!(msg.starts_with("Unable to start service web: Job for web.service failed"), "{msg}");
    let msg = bench.fault("service", json!({"name": "nope", "state": "started"}));
    assert_eq!(msg, "Could not find the requested service nope: host");
    let check = bench.call("service", json!({"name": "nope", "state": "started"}), true);
    assert_eq!(check.result["changed"], true);
    assert!(bench.fault("systemd", json!({"state": "started"})).contains("name"));
}
