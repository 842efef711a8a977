//! Tests of `file`.

use super::*;
use crate::modules::call::testing::Bench;

#[test]
fn folders_appear_with_owner_and_mode() {
    let bench = Bench::new();
    let path = bench.text_path("a/b/c");
    let args = json!({"path": path, "state": "directory", "mode": "0750", "owner": "app", "group": 4});
    let result = bench.converges("file", args, true);
    assert_eq!((result["mode"].as_str(), result["owner"].as_str()), (Some("0750"), Some("app")));
    assert_eq!(result["group"], "adm");
    assert_eq!(result["diff"]["before"]["state"], "absent");
    let parent = bench.path("a").metadata().unwrap();
    assert_eq!((parent.uid(), parent.mode() & 0o777), (1000, 0o750));
}

#[test]
fn recursion_reaches_everything_below() {
    let bench = Bench::new();
    bench.write("d/e/f", "x");
    let args = json!({"path": bench.text_path("d"), "recurse": true, "mode": "u=rwX,g=,o="});
    bench.converges("file", args, true);
    assert_eq!(bench.path("d/e/f").metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(bench.path("d/e").metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn links_are_made_replaced_and_refused() {
    let bench = Bench::new();
    bench.write("one", "");
    bench.write("two", "");
    let link = bench.text_path("link");
    bench.converges("file", json!({"path": link, "src": bench.text_path("one"), "state": "link"}), true);
    bench.converges("file", json!({"path": link, "src": bench.text_path("two"), "state": "link"}), true);
    assert_eq!(fs::read_link(&link).unwrap(), bench.path("two"));
    let msg = bench.fault("file", json!({"path": link, "src": "nowhere", "state": "link"}));
    assert!(msg.starts_with("src file does not exist, use 'force=yes'"), "{msg}");
    let msg = bench.fault("file", json!({"path": bench.text_path("one"), "src": "two", "state": "link"}));
    assert!(msg.starts_with("refusing to convert from file to symlink"), "{msg}");
    bench.converges("file", json!({"path": bench.text_path("h"), "src": bench.text_path("one"), "state": "hard"}), true);
}

#[test]
fn touch_always_changes_unless_times_are_preserved() {
    let bench = Bench::new();
    let path = bench.text_path("t");
    let preserve = json!({"path": path, "state": "touch", "mode": 384,
        "modification_time": "preserve", "access_time": "preserve"});
    bench.converges("file", preserve, true);
    let again = bench.run("file", json!({"path": path, "state": "touch"}));
    assert_eq!(again["changed"], true);
    assert_eq!(again["mode"], "0600");
}

#[test]
fn absence() {
    let bench = Bench::new();
    bench.write("d/e", "");
    bench.converges("file", json!({"path": bench.text_path("d"), "state": "absent"}), true);
    assert!(!bench.exists("d"));
    let missing = bench.text_path("d");
    assert_eq!(bench.fault("file", json!({"path": missing})), format!("file ({missing}) is absent, cannot continue"));
}
