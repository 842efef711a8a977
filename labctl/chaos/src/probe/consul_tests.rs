//! Responses have the format of Consul 1.12 (fields that are not read are included where they might confuse).

use std::collections::BTreeMap;

use labctl_spec::scenario::{Check, ConsulCheck};

use super::super::Answer;
use super::super::canned::Canned;

fn health(node: &str, name: &str, service: &str, status: &str) -> String {
    format!(
        r#"{{"Node":"{node}","CheckID":"x","Name":"{name}","Status":"{status}","Notes":"","Output":"","ServiceID":"","ServiceName":"{service}","ServiceTags":[],"Type":"","ModifyIndex":12}}"#
    )
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn member(name: &str, status: u8) -> String {
    format!(r#"{{"Name":"{name}","Addr":"10.7.0.2","Port":8301,"Tags":{{"role":"node"}},"Status":{status},"ProtocolMin":1}}"#)
}

fn instance(node: &str, status: &str) -> String {
    let checks = [health(node, "Serf Health Status", "", "passing"), health(node, "fib", "fib", status)];
    format!(
        r#"{{"Node":{{"ID":"1","Node":"{node}","Address":"10.7.0.3"}},"Service":{{"ID":"f","Service":"fib","Port":8080}},"Checks":{}}}"#,
        list(&checks)
    )
}

const LEADER: &str = "8500 /v1/status/leader";
const HEALTH: &str = "8500 /v1/health/state/any?consistent";
const MEMBERS: &str = "8500 /v1/agent/members";
const FIB: &str = "8500 /v1/health/service/fib?consistent";

fn good() -> Canned {
    let serf = |node| health(node, "Serf Health Status", "", "passing");
    Canned::default()
        .answer(LEADER, 200, r#""10.7.0.2:8300""#)
        .answer(HEALTH, 200, &list(&[serf("root"), serf("client1"), health("client1", "fib", "fib", "passing")]))
        .answer(MEMBERS, 200, &list(&[member("root", 1), member("client1", 1)]))
        .answer(FIB, 200, &list(&[instance("client1", "passing"), instance("client2", "passing")]))
}

fn check(members: Option<u32>, services: &[(&str, u32)]) -> Check {
    let services: BTreeMap<String, u32> = services.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
    Check::Consul(ConsulCheck { node: "root".into(), members, services })
}

#[tokio::test]
async fn a_healthy_cluster_holds() {
    assert_eq!(
        good().ask(check(Some(2), &[("fib", 2)])).await,
        Answer::yes("leader 10.7.0.2:8300; 2 of 2 members alive; service fib: 2 of 2 passing; 3 of 3 checks passing")
    );
}

#[tokio::test]
async fn without_a_leader_nothing_else_is_asked() {
    let lab = Canned::default().answer(LEADER, 200, r#""""#);
    assert_eq!(lab.ask(check(Some(2), &[])).await, Answer::no("no leader"));
    let lab = Canned::default().answer(LEADER, 500, "No known Consul servers");
    assert_eq!(lab.ask(check(None, &[])).await, Answer::no("/v1/status/leader returned 500: No known Consul servers"));
    assert_eq!(Canned::default().ask(check(None, &[])).await, Answer::no("root:8500/v1/status/leader refuses"));
}

#[tokio::test]
async fn a_leader_that_has_no_quorum_does_not_hold() {
    let lab = good().answer(HEALTH, 500, "rpc error: No cluster leader");
    assert_eq!(lab.ask(check(None, &[])).await, Answer::no("/v1/health/state/any returned 500: rpc error: No cluster leader"));
}

#[tokio::test]
async fn everything_amiss_is_named() {
    let lab = good()
        .answer(MEMBERS, 200, &list(&[member("root", 1), member("client1", 4), member("old", 3)]))
        .answer(FIB, 200, &list(&[instance("client1", "passing"), instance("client2", "critical"), instance("client3", "warning")]))
        .answer(
            HEALTH,
            200,
            &list(&[
                health("root", "Serf Health Status", "", "passing"),
                health("client1", "Serf Health Status", "", "critical"),
                health("client2", "service check", "fib", "critical"),
                health("client3", "service check", "fib", "warning"),
            ]),
        );
    assert_eq!(
        lab.ask(check(Some(5), &[("fib", 3)])).await,
        Answer::no(
            "1 of 5 members alive (others: client1 failed, old left); \
             service fib: 1 of 3 passing (critical: client2) (warning: client3); \
             1 of 4 checks passing (critical: Serf Health Status on client1, fib on client2) (warning: fib on client3)"
        )
    );
}

#[tokio::test]
async fn a_service_that_nobody_registered_does_not_hold() {
    let lab = good().answer("8500 /v1/health/service/a%2Fb?consistent", 200, "[]");
    assert_eq!(lab.ask(check(None, &[("a/b", 1)])).await, Answer::no("service a/b: 0 of 1 passing"));
}

#[tokio::test]
async fn an_empty_catalog_does_not_hold() {
    let lab = good().answer(HEALTH, 200, "[]");
    assert_eq!(lab.ask(check(None, &[])).await, Answer::no("no checks are registered"));
}

#[tokio::test]
async fn what_is_not_consul_is_said() {
    let lab = good().answer(MEMBERS, 200, "<html>");
    let answer = lab.ask(check(Some(1), &[])).await;
    assert!(!answer.holds);
    assert!(answer.words.starts_with("/v1/agent/members returned an unexpected response: expected value"), "{}", answer.words);
}
