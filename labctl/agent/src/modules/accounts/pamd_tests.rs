//! `pamd` on a service's file.

use serde_json::{Value, json};

use crate::modules::call::testing::Bench;

const FILE: &str = "#%PAM-1.0
# comment
auth       required pam_env.so
auth       [success=1 default=ignore] pam_unix.so nullok try_first_pass
@include common-account

session    optional pam_umask.so umask=022
";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("pam.d/login", FILE);
    bench
}

fn args(bench: &Bench, rule: [&str; 3], more: Value) -> Value {
    let mut args = json!({"name": "login", "path": bench.text_path("pam.d"), "type": rule[0], "control": rule[1], "module_path": rule[2]});
    for (key, value) in more.as_object().unwrap() {
        args[key] = value.clone();
    }
    args
}

/// The file without the timestamp.
fn lines(bench: &Bench) -> Vec<String> {
    bench.read("pam.d/login").lines().filter(|line| !line.starts_with("# Updated by Ansible - 20")).map(str::to_owned).collect()
}

const ENV: [&str; 3] = ["auth", "required", "pam_env.so"];
const UNIX: [&str; 3] = ["auth", "[success=1 default=ignore]", "pam_unix.so"];

#[test]
fn rules_are_updated() {
    let bench = bench();
    let change = args(&bench, ENV, json!({"new_control": "requisite", "module_arguments": ["a b", "c=[x y]"]}));
    assert_eq!(bench.call("pamd", change.clone(), true).result["changed"], true);
    assert_eq!(bench.read("pam.d/login"), FILE);
    let result = bench.run("community.general.pamd", change.clone());
    assert_eq!((&result["change_count"], &result["backupdest"]), (&json!(1), &json!("")));
    assert!(lines(&bench).contains(&"auth       requisite pam_env.so a b c=[x y]".to_owned()));
    assert!(bench.read("pam.d/login").lines().nth(1).unwrap().starts_with("# Updated by Ansible - 20"));
    assert_eq!(bench.run("pamd", change)["changed"], false, "no such rule any more");
}

#[test]
fn rules_are_put_beside_others_once() {
    let bench = bench();
    let new = json!({"state": "after", "new_type": "auth", "new_control": "sufficient", "new_module_path": "pam_ldap.so"});
    bench.converges("pamd", args(&bench, UNIX, new), true);
    let new = json!({"state": "before", "new_type": "auth", "new_control": "required", "new_module_path": "pam_first.so"});
    bench.converges("pamd", args(&bench, ENV, new), true);
    let last = ["session", "optional", "pam_umask.so"];
    let new = json!({"state": "after", "new_type": "session", "new_control": "optional", "new_module_path": "pam_last.so"});
    bench.converges("pamd", args(&bench, last, new), true);
    let lines = lines(&bench);
    assert_eq!(lines[2], "auth       required pam_first.so");
    assert_eq!(lines[5], "auth       sufficient pam_ldap.so");
    assert_eq!(lines.last().unwrap(), "session    optional pam_last.so");
}

#[test]
fn arguments_come_and_go() {
    let bench = bench();
    let umask = ["session", "optional", "pam_umask.so"];
    bench.converges("pamd", args(&bench, umask, json!({"state": "args_present", "module_arguments": "umask=077 silent"})), true);
    assert_eq!(lines(&bench).last().unwrap(), "session    optional pam_umask.so umask=077 silent");
    bench.converges("pamd", args(&bench, UNIX, json!({"state": "args_absent", "module_arguments": ["nullok"]})), true);
    assert_eq!(lines(&bench)[3], "auth       [success=1 default=ignore] pam_unix.so try_first_pass");
    bench.converges("pamd", args(&bench, umask, json!({"state": "absent", "backup": true})), true);
    assert!(!bench.read("pam.d/login").contains("umask"));
    assert!(bench.fault("pamd", args(&bench, UNIX, json!({"state": "args_present", "module_arguments": ["[a b]"]}))).contains("bracketed"));
}

#[test]
fn wrong_rules_are_refused_and_the_file_stays() {
    let bench = bench();
    let msg = bench.fault("pamd", args(&bench, ENV, json!({"new_control": "sometimes"})));
    assert!(msg.starts_with("Rule control, sometimes, is not valid in rule auth       sometimes"), "{msg}");
    let msg = bench.fault("pamd", args(&bench, ENV, json!({"new_control": "[success=never]"})));
    assert!(msg.starts_with("Rule control action, never,"), "{msg}");
    assert_eq!(bench.read("pam.d/login"), FILE);
    assert!(bench.fault("pamd", args(&bench, ENV, json!({"name": "nope"}))).starts_with("Unable to open/read PAM module file"));
    assert!(bench.fault("pamd", args(&bench, ENV, json!({"state": "after"}))).contains("new_control, new_type, new_module_path"));
}
