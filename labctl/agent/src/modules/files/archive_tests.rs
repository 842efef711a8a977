//! `archive`, verified with `unarchive`.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::modules::call::testing::Bench;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("src/a", "alpha\n");
    bench.write("src/deep/b", "beta\n");
    bench.write("src/deep/skip.log", "log\n");
    symlink("a", bench.path("src/link")).unwrap();
    bench
}

#[test]
fn a_tree_is_packed_once_and_unpacks_alike() {
    for format in ["gz", "tar", "zip", "bz2", "xz"] {
        let program = [("bz2", "bzip2"), ("xz", "xz")].iter().find(|(name, _)| *name == format);
        if program.is_some_and(|(_, program)| crate::modules::call::spawn::which(program).is_none()) {
            labctl_skip::skip!("archive-programs", "{format} needs a program that is not here");
            continue;
        }
        let bench = bench();
        let dest = bench.text_path("out");
        let args = json!({"path": bench.text_path("src"), "dest": dest, "format": format, "mode": "0640", "exclusion_patterns": ["*.log"]});
        let result = bench.converges("community.general.archive", args.clone(), true);
        assert_eq!((&result["dest_state"], &result["mode"]), (&json!("archive"), &json!("0640")), "{format}");
        assert_eq!(result["archived"].as_array().unwrap().len(), 4, "{result}");
        std::fs::create_dir(bench.path("new")).unwrap();
        bench.run("unarchive", json!({"src": dest, "dest": bench.text_path("new"), "remote_src": true}));
        assert_eq!((bench.read("new/src/a"), bench.read("new/src/deep/b")), ("alpha\n".into(), "beta\n".into()), "{format}");
        assert!(!bench.exists("new/src/deep/skip.log"));
        assert_eq!(bench.path("new/src/link").is_symlink(), format != "zip", "zip follows links, as Python's does");
        bench.write("src/a", "longer than before\n");
        assert_eq!(bench.call("archive", args.clone(), true).result["changed"], true);
        assert_eq!(bench.run("archive", args)["changed"], true);
    }
}

#[test]
fn one_file_is_compressed() {
    let bench = bench();
    let result = bench.converges("archive", json!({"path": bench.text_path("src/a")}), true);
    assert_eq!((&result["dest_state"], result["dest"].as_str().unwrap().ends_with("/src/a.gz")), (&json!("compress"), true));
    let result = bench.run("archive", json!({"path": bench.text_path("src/a"), "remove": true}));
    assert_eq!((&result["changed"], bench.exists("src/a")), (&json!(true), false));
}

#[test]
fn several_paths_wildcards_and_what_is_missing() {
    let bench = bench();
    let all = [bench.text_path("src/d*"), bench.text_path("src/a"), bench.text_path("none")];
    let args = json!({"path": all, "dest": bench.text_path("out.tgz"), "exclude_path": [bench.text_path("src/link")]});
    let result = bench.converges("archive", args, true);
    assert_eq!(result["dest_state"], "incomplete");
    assert_eq!(result["missing"], json!([bench.text_path("none")]));
    assert_eq!(result["arcroot"], format!("{}/", bench.text_path("").trim_end_matches('/')));
    let gone = json!({"path": bench.text_path("src"), "dest": bench.text_path("o.tgz"), "remove": true});
    bench.run("archive", gone.clone());
    assert!(!bench.exists("src"));
    let again = bench.run("archive", gone);
    assert_eq!((&again["changed"], &again["dest_state"]), (&json!(false), &json!("archive")));
}

#[test]
fn senseless_tasks_are_refused_and_leave_nothing() {
    let bench = bench();
    let src = bench.text_path("src");
    assert!(bench.fault("archive", json!({"path": src})).contains("must specify \"dest\""));
    assert!(bench.fault("archive", json!({"path": format!("{src}/x*"), "dest": "/x"})).contains("no source paths"));
    let inside = json!({"path": src, "dest": format!("{src}/out.tgz"), "remove": true});
    assert!(bench.fault("archive", inside).contains("can not be contained"));
    let nowhere = json!({"path": src, "dest": bench.text_path("no/such/out.tgz")});
    assert!(bench.fault("archive", nowhere).contains("No such file"));
}
