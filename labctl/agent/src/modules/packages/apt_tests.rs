//! `apt` with its own database and an apt-get that only records its calls.

use labctl_wire::ModuleReply;
use serde_json::{Value, json};

use crate::modules::call::testing::Bench;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write(
        "var/lib/dpkg/status",
        "Package: nginx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22.1-9\nProvides: httpd\n\nPackage: old\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n",
    );
    bench.write("var/lib/apt/lists/lock", "");
    bench.write("var/lib/apt/lists/deb.example_InRelease", "");
    let script = "echo \"$0 $*\" | sed 's|.*/||' >> $NOTES
        case \"$*\" in *missing*) echo 'E: Unable to locate package missing' >&2; exit 100;; esac
        case \"$0\" in *apt-cache) printf 'nginx:\\n  Installed: 1.22.1-9\\n  Candidate: 1.22.1-10\\n';;
        *) echo '1 upgraded, 1 newly installed, 0 to remove';; esac";
    for name in ["apt-get", "apt-cache"] {
        bench.program(name, script);
    }
    bench
}

fn apt(bench: &Bench, args: Value, check: bool) -> ModuleReply {
    bench.call("apt", args, check)
}

fn notes(bench: &Bench) -> String {
    bench.notes().iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_is_installed_costs_nothing() {
    let bench = bench();
    for args in [
        json!({"name": "nginx"}),
        json!({"name": ["nginx=1.22*", "httpd"], "state": "present"}),
        json!({"name": "nginx>=1.20"}),
        json!({"name": "old,never", "state": "absent"}),
        json!({"name": "nginx", "update_cache": true, "cache_valid_time": 3600}),
    ] {
        let reply = apt(&bench, args.clone(), false);
        assert_eq!(reply.result["changed"], false, "{args} {:?}", reply.result);
    }
    assert_eq!(notes(&bench), "");
}

#[test]
fn installs_what_is_missing() {
    let bench = bench();
    let args = json!({"name": "nginx, curl", "install_recommends": false, "default_release": "sid"});
    assert_eq!(apt(&bench, args.clone(), true).result["changed"], true);
    assert_eq!(notes(&bench), "", "a check must run nothing");
    assert_eq!(apt(&bench, args, false).result["changed"], true);
    let line = notes(&bench);
    assert!(line.contains("APT::Install-Recommends=no -t sid install curl"), "{line}");
    assert!(line.contains("Dpkg::Options::=--force-confold"), "{line}");
}

#[test]
fn latest_asks_for_candidates_and_versions_are_kept() {
    let bench = bench();
    assert_eq!(apt(&bench, json!({"name": "nginx", "state": "latest"}), false).result["changed"], true);
    assert!(notes(&bench).contains("install nginx\n"));
    apt(&bench, json!({"name": "nginx=1.23"}), false);
    assert!(notes(&bench).contains("install nginx=1.23\n"));
}

#[test]
fn removes_and_purges() {
    let bench = bench();
    apt(&bench, json!({"name": ["nginx", "old"], "state": "absent", "purge": true, "autoremove": true}), false);
    let line = notes(&bench);
    assert!(line.contains("--auto-remove purge nginx old\n"), "{line}");
}

#[test]
fn lists_are_fetched_when_old() {
    let bench = bench();
    let reply = apt(&bench, json!({"update_cache": true}), false);
    assert_eq!((&reply.result["changed"], &reply.result["cache_updated"]), (&json!(true), &json!(true)));
    assert!(notes(&bench).ends_with("update\n"));
}

#[test]
fn fresh_lists_are_trusted_and_missing_ones_are_not() {
    let bench = bench();
    let call = json!({"update_cache": true, "cache_valid_time": 3600});
    let reply = apt(&bench, call.clone(), true);
    assert_eq!(reply.result["cache_updated"], false);
    std::fs::remove_file(bench.path("var/lib/apt/lists/deb.example_InRelease")).unwrap();
    let reply = apt(&bench, call, true);
    assert_eq!(reply.result["cache_updated"], true, "the folder is new, but it holds no lists");
}

#[test]
fn unknown_packages_are_named() {
    let bench = bench();
    let reply = apt(&bench, json!({"name": "missing"}), false);
    assert_eq!(reply.result["msg"], "No package matching 'missing' is available");
    assert_eq!(reply.result["failed"], true);
    std::fs::remove_file(bench.path("var/lib/apt/lists/deb.example_InRelease")).unwrap();
    let reply = apt(&bench, json!({"name": "missing"}), false);
    assert!(reply.result["msg"].as_str().is_some_and(|msg| msg.contains("add `update_cache: true`")), "{:?}", reply.result);
}
