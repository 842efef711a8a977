//! `apt` with a database of our own and an apt-get that only takes notes.

use std::os::unix::fs::PermissionsExt;

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Value, json};

use crate::modules::call::testing::Bench;
use crate::modules::run_in;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write(
        "var/lib/dpkg/status",
        "Package: nginx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22.1-9\nProvides: httpd\n\nPackage: old\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n",
    );
    bench.write("var/lib/apt/lists/lock", "");
    bench.write("var/lib/apt/lists/deb.example_InRelease", "");
    let notes = bench.text_path("notes");
    let script = format!(
        "#!/bin/sh\necho \"$0 $*\" | sed 's|.*/||' >> {notes}\ncase \"$*\" in *missing*) echo 'E: Unable to locate package missing' >&2; exit 100;; esac\n\
         case \"$0\" in *apt-cache) printf 'nginx:\\n  Installed: 1.22.1-9\\n  Candidate: 1.22.1-10\\n';; *) echo '1 upgraded, 1 newly installed, 0 to remove';; esac\n"
    );
    for name in ["apt-get", "apt-cache"] {
        bench.write(&format!("bin/{name}"), &script);
        let path = bench.path(&format!("bin/{name}"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    bench
}

fn apt(bench: &Bench, args: Value, check: bool) -> ModuleReply {
    let Value::Object(args) = args else { panic!("not an object") };
    let path = format!("{}:/usr/bin:/bin", bench.text_path("bin"));
    let environment = [("PATH".to_owned(), path)].into();
    let call = ModuleCall { module: "apt".into(), args, check, environment, ..ModuleCall::default() };
    run_in(&bench.root(), &call)
}

fn notes(bench: &Bench) -> String {
    std::fs::read_to_string(bench.path("notes")).unwrap_or_default()
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
}
