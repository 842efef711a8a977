//! `nomad_deploy` against a fake Nomad.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fake::{Nomad, World};
use crate::modules::call::testing::Bench;

/// The job of all tests: two instances of a group.
fn spec(count: u64) -> Value {
    json!({"ID": "web", "Type": "service", "Priority": 50,
        "TaskGroups": [{"Name": "g", "Count": count, "ReschedulePolicy": {"Unlimited": true}, "Services": [{"Provider": "consul"}]}]})
}

struct Case {
    bench: Bench,
    nomad: Nomad,
}

impl Case {
    fn new(placed: fn(&mut World), waited: fn(&mut World)) -> Self {
        let case = Self { bench: Bench::new(), nomad: Nomad::start(placed, waited) };
        case.bench.write("web.nomad", format!("hcl{}", spec(2)));
        case
    }

    /// A case whose job is already running.
    fn running(placed: fn(&mut World), waited: fn(&mut World)) -> Self {
        let case = Self::new(placed, waited);
        {
            let mut world = case.nomad.world();
            world.job = Some(spec(2));
            world.deploy("successful", 2);
        }
        case
    }

    fn args(&self) -> Value {
        json!({"file": self.bench.text_path("web.nomad"), "address": self.nomad.address, "clients": 3, "patience": 1})
    }

    fn run(&self) -> Value {
        self.bench.run("nomad_deploy", self.args())
    }

    fn fault(&self) -> String {
        self.bench.fault("nomad_deploy", self.args())
    }

    fn foreseen(&self) -> Value {
        let before = self.nomad.world().asked.len();
        let reply = self.bench.call("nomad_deploy", self.args(), true);
        assert!(!reply.result.contains_key("failed"), "{:?}", reply.result);
        assert_eq!(self.nomad.world().asked.len(), before, "a check must ask for nothing");
        reply.result["changed"].clone()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.nomad.world().asked)
    }
}

fn succeed(world: &mut World) {
    world.deploy("successful", 2);
}

fn begin(world: &mut World) {
    world.deploy("running", 0);
}

fn nothing(_: &mut World) {}

#[test]
fn a_new_job_is_registered_once() {
    let case = Case::new(succeed, nothing);
    assert_eq!(case.foreseen(), true);
    let result = case.run();
    assert_eq!((&result["changed"], &result["did"]), (&json!(true), &json!(["registered"])));
    assert_eq!(case.asked(), ["register priority 50"]);
    assert_eq!(case.foreseen(), false);
    let again = case.run();
    assert_eq!((&again["changed"], &again["msg"]), (&json!(false), &json!("job web: 2 of g run")));
    assert_eq!((case.asked(), case.nomad.world().waited), (vec![], 0), "what runs as asked is neither touched nor waited for");
}

#[test]
fn what_was_compared_is_compared_again_only_if_file_or_job_differ() {
    let case = Case::new(succeed, nothing);
    case.run();
    let parsed = || std::mem::take(&mut case.nomad.world().parsed);
    assert_eq!(parsed(), 1);
    assert_eq!((case.run()["msg"].clone(), case.foreseen()), (json!("job web: 2 of g run"), json!(false)));
    assert_eq!(parsed(), 0, "neither file nor job have changed");

    // What happens to its instances is noticed all the same.
    case.asked();
    {
        let mut world = case.nomad.world();
        let failed = world.allocation(1, "failed", false);
        world.allocations[1] = failed;
    }
    assert_eq!((case.run()["did"].clone(), parsed()), (json!(["placed missing instances"]), 1));

    // Someone registers another job of the same name.
    {
        let mut world = case.nomad.world();
        let job = world.job.as_mut().unwrap();
        (job["Priority"], job["JobModifyIndex"]) = (7.into(), 77.into());
    }
    assert_eq!((case.foreseen(), parsed()), (json!(true), 1));
    assert_eq!((case.run()["did"].clone(), parsed()), (json!(["registered"]), 1));

    // The file changes.
    case.bench.write("web.nomad", format!("hcl{}", spec(3)));
    assert_eq!((case.foreseen(), parsed()), (json!(true), 1));
}

#[test]
fn a_file_that_means_another_job_each_time_is_always_compared() {
    let case = Case::new(succeed, nothing);
    let mut job = spec(2);
    job["Meta"] = json!({"again": "${uuidv4()}"});
    case.bench.write("web.nomad", format!("hcl{job}"));
    for _ in 0..2 {
        case.run();
        assert_eq!(std::mem::take(&mut case.nomad.world().parsed), 1);
    }
}

#[test]
fn a_changed_job_is_registered() {
    let case = Case::running(succeed, nothing);
    case.nomad.world().job.as_mut().unwrap()["TaskGroups"][0]["Count"] = 1.into();
    assert_eq!(case.foreseen(), true);
    assert_eq!(case.run()["changed"], true);
    assert_eq!(case.asked(), ["register priority 50"]);
}

#[test]
fn a_stopped_job_is_started() {
    let case = Case::running(succeed, nothing);
    {
        let mut world = case.nomad.world();
        world.job.as_mut().unwrap()["Stop"] = true.into();
        world.allocations.clear();
    }
    assert_eq!(case.foreseen(), true);
    assert_eq!(case.run()["did"], json!(["started"]));
    assert_eq!(case.asked(), ["register priority 50"]);
    assert_eq!(case.run()["changed"], false);
}

#[test]
fn a_failed_deployment_is_repeated_under_running_instances() {
    let case = Case::running(succeed, nothing);
    case.nomad.world().deploy("failed", 1);
    assert_eq!(case.foreseen(), true);
    assert_eq!(case.run()["did"], json!(["deployed again"]));
    // An intermediate version makes Nomad see a new one; the job ends up as in its file.
    assert_eq!(case.asked(), ["register priority 49", "register priority 50"]);
    assert_eq!(case.run()["changed"], false);
}

#[test]
fn missing_instances_are_placed() {
    let case = Case::running(succeed, nothing);
    {
        let mut world = case.nomad.world();
        let failed = world.allocation(1, "failed", false);
        world.allocations[1] = failed;
    }
    assert_eq!(case.foreseen(), true);
    assert_eq!(case.run()["did"], json!(["placed missing instances"]));
    assert_eq!(case.asked(), ["evaluate, force true"]);
}

#[test]
fn failed_instances_that_nomad_keeps_make_the_job_begin_anew() {
    let case = Case::running(succeed, nothing);
    let never = {
        let mut world = case.nomad.world();
        let failed = world.allocation(1, "failed", false);
        world.allocations[1] = failed;
        let mut job = spec(2);
        job["TaskGroups"][0]["ReschedulePolicy"] = json!({"Attempts": 0, "Unlimited": false});
        world.job = Some(job.clone());
        job
    };
    case.bench.write("web.nomad", format!("hcl{never}"));
    assert_eq!(case.run()["did"], json!(["stopped", "restarted"]));
    assert_eq!(case.asked(), ["stop", "register priority 50"]);
}

#[test]
fn what_is_under_way_is_waited_for_and_not_touched() {
    let case = Case::running(nothing, |world| {
        if world.waited > 2 {
            world.deploy("successful", 2)
        }
    });
    case.nomad.world().deploy("running", 1);
    assert_eq!(case.foreseen(), false);
    assert_eq!(case.run()["changed"], false);
    assert_eq!(case.asked(), Vec::<String>::new());
}

#[test]
fn waits_for_as_long_as_something_moves() {
    // Each wait takes 20 ms, and only every twentieth brings something new: 2.4 s in all with a patience of 1 s.
    let case = Case::new(begin, |world| match world.waited {
        120.. => world.deploy("successful", 2),
        at if at % 20 == 0 => {
            let kind = format!("step {at}");
            world.allocations[1]["TaskStates"]["t"]["Events"][0]["Type"] = kind.into();
        }
        _ => {}
    });
    let begin = Instant::now();
    assert_eq!(case.run()["changed"], true);
    assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[test]
fn gives_up_when_nothing_moves() {
    // A task that is restarted again and again makes no progress, however many events it has.
    let case = Case::new(begin, |world| {
        let events = world.allocations[1]["TaskStates"]["t"]["Events"].as_array_mut().unwrap();
        events.extend(
            [("Terminated", "Exit Code: 1"), ("Restarting", "Task restarting in 1s"), ("Started", "Task started by client")]
                .map(|(kind, said)| json!({"Type": kind, "DisplayMessage": said})),
        );
    });
    let said = case.fault();
    assert!(said.contains("web.nomad: job web: 1 s without progress: group g: 0 of 2 instances are healthy, 2 placed"), "{said}");
    assert!(
        said.contains("web.g[1] on client2 is pending (task t: Exit Code: 1, then Task started by client; nomad alloc status 00000001)"),
        "{said}"
    );
    assert!(said.ends_with("See `nomad job status web`; once the cause is fixed, labctl provision deploys it again"), "{said}");
}

#[test]
fn a_deployment_that_fails_ends_the_wait_at_once() {
    let case = Case::new(begin, |world| world.deploy("failed", 1));
    let reply = case.bench.call("nomad_deploy", json!({"file": case.bench.text_path("web.nomad"), "address": case.nomad.address}), false);
    let said = reply.result["msg"].as_str().unwrap();
    assert!(said.contains("its deployment failed: Failed due to progress deadline; group g: 1 of 2 instances became healthy"), "{said}");
    assert_eq!(reply.result["changed"], true, "it was registered");
}

#[test]
fn a_version_that_nomad_takes_back_is_told() {
    let case = Case::running(begin, |world| {
        if world.waited == 1 {
            world.deploy("failed", 1);
            world.job.as_mut().unwrap()["Version"] = 9.into();
        }
    });
    case.nomad.world().job.as_mut().unwrap()["Priority"] = 7.into();
    let said = case.fault();
    assert!(said.contains("its deployment failed: Failed due to progress deadline"), "{said}");
}

/// Nomad found no client that satisfies the constraint.
fn unplaceable(world: &mut World) {
    let reasons = json!({"g": {"NodesEvaluated": 3, "ConstraintFiltered": {"${attr.kernel.name} = windows": 3}}});
    let failed = json!({"ID": "e1", "Status": "complete", "CreateIndex": 5, "FailedTGAllocs": reasons});
    world.evaluations = vec![failed, json!({"ID": "e2", "Status": "blocked"})];
}

#[test]
fn a_job_that_fits_nowhere_is_told_with_the_reasons() {
    let case = Case::new(unplaceable, nothing);
    let mut args = case.args();
    args["patience"] = 600.into();
    let said = case.bench.fault("nomad_deploy", args);
    assert!(said.contains("Nomad cannot place it: group g: 0 of 2 instances run"), "{said}");
    assert!(
        said.contains("group g: none of 3 clients can take an instance: 3 excluded by the constraint ${attr.kernel.name} = windows"),
        "{said}"
    );
}

#[test]
fn what_does_not_fit_yet_is_waited_for_while_clients_are_still_coming() {
    let case = Case::new(unplaceable, |world| {
        if world.waited > 100 {
            world.evaluations.clear();
            world.deploy("successful", 2);
        }
    });
    case.nomad.world().nodes.push(json!({"ID": "id4", "Name": "client4", "Status": "initializing"}));
    let mut args = case.args();
    args["patience"] = 600.into();
    assert_eq!(case.bench.run("nomad_deploy", args)["changed"], true);
}

#[test]
fn clients_are_waited_for_before_anything_is_placed() {
    let case = Case::new(succeed, |world| {
        if world.waited > 3 {
            world.nodes[2]["Status"] = "ready".into();
        }
    });
    case.nomad.world().nodes[2]["Status"] = "initializing".into();
    assert_eq!(case.run()["changed"], true);
    let case = Case::new(succeed, nothing);
    case.nomad.world().nodes[2]["Status"] = "down".into();
    let said = case.fault();
    assert!(said.contains("1 s without progress: 2 of 3 clients can take work, client3 is down"), "{said}");
    assert_eq!(case.asked(), Vec::<String>::new());
}

#[test]
fn servers_without_a_leader_are_waited_for() {
    let case = Case::new(succeed, nothing);
    case.nomad.world().leaderless = 1;
    assert_eq!(case.run()["changed"], true);
    case.nomad.world().leaderless = usize::MAX;
    let said = case.fault();
    assert!(said.contains("Nomad did not answer for 1 s without progress"), "{said}");
    assert!(said.contains("No cluster leader"), "{said}");
}

#[test]
fn a_wait_that_is_given_up_ends() {
    let case = Case::new(begin, nothing);
    let (begin, looks) = (Instant::now(), Cell::new(0));
    let given_up = || {
        looks.set(looks.get() + 1);
        looks.get() > 30
    };
    let mut args = case.args();
    args["patience"] = 600.into();
    let reply = case.bench.call_unless(&given_up, "nomad_deploy", args, false);
    assert!(reply.result["msg"].as_str().unwrap().ends_with("the wait was cancelled"), "{:?}", reply.result);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn files_that_are_no_job_are_told() {
    let case = Case::new(succeed, nothing);
    case.bench.write("web.nomad", "hcl job {");
    let said = case.fault();
    assert!(said.contains("web.nomad: ") && said.contains("Failed to parse job: input.hcl:1,1-2"), "{said}");
    case.bench.write("web.nomad", "{\"Name\": \"x\"}");
    assert!(case.fault().ends_with("the job has no ID"));
    std::fs::remove_file(case.bench.path("web.nomad")).unwrap();
    assert!(case.fault().contains("No such file"));
    assert_eq!(case.foreseen(), true, "an earlier task may create the file");
}

#[test]
fn a_batch_job_that_has_run_is_left_alone() {
    let case = Case::running(succeed, nothing);
    {
        let mut world = case.nomad.world();
        let job = world.job.as_mut().unwrap();
        job["Type"] = "batch".into();
        job["Status"] = "dead".into();
        world.deployment = Value::Null;
        world.allocations.clear();
    }
    assert_eq!((case.foreseen(), case.run()["changed"].clone()), (json!(false), json!(false)));
    {
        let mut world = case.nomad.world();
        let failed = world.allocation(0, "failed", false);
        world.allocations = vec![failed];
    }
    assert_eq!(case.foreseen(), true, "a failed job is run again");
}
