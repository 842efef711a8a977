//! Responses have the format of Nomad 1.6 (fields that are not read are included where they might confuse).

use std::collections::BTreeMap;

use labctl_spec::scenario::{Check, NomadCheck};

use super::super::Answer;
use super::super::canned::Canned;

const LEADER: &str = "4646 /v1/status/leader";
const NODES: &str = "4646 /v1/nodes";
const FIB: &str = "4646 /v1/job/fib/allocations";

fn client(name: &str, status: &str, eligibility: &str) -> String {
    format!(
        r#"{{"ID":"1","Datacenter":"dc1","Name":"{name}","NodeClass":"","Drain":false,"SchedulingEligibility":"{eligibility}","Status":"{status}","StatusDescription":""}}"#
    )
}

fn allocation(node: &str, client: &str, desired: &str, deployment: &str) -> String {
    format!(
        r#"{{"ID":"1","Name":"fib.fib[0]","NodeID":"2","NodeName":"{node}","JobID":"fib","DesiredStatus":"{desired}","ClientStatus":"{client}","DeploymentStatus":{deployment},"TaskStates":{{}}}}"#
    )
}

const HEALTHY: &str = r#"{"Healthy":true,"Timestamp":"2024-01-01T00:00:00Z","Canary":false,"ModifyIndex":3}"#;

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn good() -> Canned {
    Canned::default()
        .answer(LEADER, 200, r#""10.7.0.2:4647""#)
        .answer(NODES, 200, &list(&[client("client1", "ready", "eligible"), client("client2", "ready", "eligible")]))
        .answer(
            FIB,
            200,
            &list(&[
                allocation("client1", "running", "run", HEALTHY),
                allocation("client2", "running", "run", "null"),
                allocation("client1", "complete", "stop", HEALTHY),
            ]),
        )
}

fn check(clients: Option<u32>, jobs: &[(&str, u32)]) -> Check {
    let jobs: BTreeMap<String, u32> = jobs.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
    Check::Nomad(NomadCheck { node: "root".into(), clients, jobs })
}

#[tokio::test]
async fn a_healthy_cluster_holds() {
    assert_eq!(
        good().ask(check(Some(2), &[("fib", 2)])).await,
        Answer::yes("leader 10.7.0.2:4647; 2 of 2 clients ready; job fib: 2 of 2 running")
    );
    assert_eq!(good().ask(check(None, &[])).await, Answer::yes("leader 10.7.0.2:4647"));
}

#[tokio::test]
async fn a_leader_that_does_not_answer_does_not_hold() {
    let lab = good().answer(LEADER, 200, r#""""#);
    assert_eq!(lab.ask(check(None, &[])).await, Answer::no("no leader"));
    // The old leader's name is still known, but there is no leader.
    let lab = good().answer(NODES, 500, "No cluster leader");
    assert_eq!(lab.ask(check(None, &[])).await, Answer::no("/v1/nodes returned 500: No cluster leader"));
}

#[tokio::test]
async fn everything_amiss_is_named() {
    let lab = good()
        .answer(
            NODES,
            200,
            &list(&[
                client("client1", "ready", "eligible"),
                client("client2", "down", "eligible"),
                client("client3", "ready", "ineligible"),
            ]),
        )
        .answer(
            FIB,
            200,
            &list(&[
                allocation("client1", "running", "run", HEALTHY),
                allocation("client2", "lost", "stop", HEALTHY),
                allocation("client1", "pending", "run", "null"),
                allocation("client3", "running", "run", r#"{"Healthy":null}"#),
            ]),
        );
    assert_eq!(
        lab.ask(check(Some(3), &[("fib", 3)])).await,
        Answer::no(
            "1 of 3 clients ready (others: client2 down, client3 ineligible); \
             job fib: 1 of 3 running (others: not yet healthy on client3, pending on client1)"
        )
    );
}

#[tokio::test]
async fn a_job_that_does_not_exist_does_not_hold() {
    let lab = good().answer("4646 /v1/job/web/allocations", 200, "[]");
    assert_eq!(lab.ask(check(None, &[("web", 1)])).await, Answer::no("job web: 0 of 1 running"));
}
