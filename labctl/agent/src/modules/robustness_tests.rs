//! Large, binary or broken input for the modules that are most likely to meet it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::call::testing::Bench;

#[test]
fn files_of_ten_thousand_lines() {
    let bench = Bench::new();
    let begin = Instant::now();
    let lines: String = (0..10_000).map(|number| format!("key{number} = {number}\n")).collect();
    bench.write("f", &lines);
    let path = bench.text_path("f");
    bench.converges("lineinfile", json!({"path": path, "regexp": "^key9999 =", "line": "key9999 = x"}), true);
    bench.converges("blockinfile", json!({"path": path, "block": lines, "insertafter": "^key5000 "}), true);
    bench.converges("replace", json!({"path": path, "regexp": "^(key\\d+) = (\\d+)7$", "replace": "\\1 = seven"}), true);
    bench.converges("ini_file", json!({"path": path, "section": "new", "option": "a", "value": "b"}), true);
    assert_eq!(bench.read("f").lines().filter(|line| line.ends_with("= seven")).count(), 2 * 999);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn files_of_fifty_megabytes() {
    let bench = Bench::new();
    let mut big = vec![b'x'; 50 << 20];
    big[1 << 20] = 0;
    bench.write("big", &big);
    let (big, copy) = (bench.text_path("big"), bench.text_path("copy"));
    let result = bench.run("copy", json!({"src": big, "dest": copy, "remote_src": true, "mode": "0640"}));
    assert_eq!((&result["changed"], &result["size"], &result["mode"]), (&json!(true), &json!(50 << 20), &json!("0640")));
    assert!(result.to_string().len() < 10_000, "a large file is not shown");
    assert_eq!(bench.run("copy", json!({"src": big, "dest": copy, "remote_src": true}))["changed"], false);
    assert_eq!(bench.run("stat", json!({"path": copy}))["stat"]["size"], 50 << 20);
    assert_eq!(bench.fault("slurp", json!({"src": copy})), "the result is 66 MiB long; at most 56 MiB can be sent");
    let result = bench.run("command", json!({"argv": ["cat", big]}));
    assert_eq!(result["warnings"][0], "output beyond 8 MiB of a stream was discarded");
}

#[test]
fn bytes_that_are_no_text() {
    let bench = Bench::new();
    let odd = b"caf\xe9 = 1\n\xff\xfe\x00binary\nport = 1\n";
    bench.write("f", odd);
    let path = bench.text_path("f");
    bench.converges("lineinfile", json!({"path": path, "regexp": "^port", "line": "port = größe"}), true);
    bench.converges("replace", json!({"path": path, "regexp": "= 1$", "replace": "= 2"}), true);
    bench.converges("blockinfile", json!({"path": path, "block": "x", "marker": "# {mark}"}), true);
    bench.converges("ini_file", json!({"path": path, "section": "s", "option": "o", "value": "v"}), true);
    let mut expected = odd.to_vec();
    expected[7] = b'2';
    expected.truncate(expected.len() - 9);
    expected.extend_from_slice("port = größe\n# BEGIN\nx\n# END\n[s]\no = v\n".as_bytes());
    assert_eq!(std::fs::read(&path).unwrap(), expected, "{}", String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
    let result = bench.run("shell", json!({"_raw_params": "printf 'a\\377\\000b\\rc\\n'"}));
    assert_eq!(result["stdout"], "a\u{fffd}\0b\rc");
    assert_eq!(result["stdout_lines"], json!(["a\u{fffd}\0b", "c"]));
}

#[test]
fn questions_and_children_that_stay_do_not_hang() {
    let bench = Bench::new();
    let begin = Instant::now();
    let script = "read -r word; echo \"got <$word>\"; (sleep 60; echo late) & exit 0";
    let result = bench.run("shell", json!({"_raw_params": script}));
    assert_eq!(result["stdout"], "got <>");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn a_file_keeps_owner_and_mode_when_it_is_replaced() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let bench = Bench::new();
    bench.write("f", "a\n");
    std::fs::set_permissions(bench.path("f"), std::fs::Permissions::from_mode(0o4710)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(bench.path("f"), Some(1000), Some(4)).unwrap();
        std::fs::set_permissions(bench.path("f"), std::fs::Permissions::from_mode(0o4710)).unwrap();
    }
    let before = std::fs::metadata(bench.path("f")).unwrap();
    bench.converges("lineinfile", json!({"path": bench.text_path("f"), "line": "b"}), true);
    let after = std::fs::metadata(bench.path("f")).unwrap();
    assert_ne!(after.ino(), before.ino(), "the file is replaced, never written into");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
}
