//! Baked layers on real machines: shared by nodes with the same tasks, made again when an input changes, reported as if there were no
//! layers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use labctl_tests::{Sandbox, can_boot, kill, machines, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

const LAB: &str = r#"
name: layers
nodes:
  - {name: "w{index}", count: 2, memory: 384M, variables: {content: same}}
  - {name: "plain{index}", count: 2, memory: 384M}
provision:
  - hosts: all
    tasks:
      - {name: folder, file: {path: /srv/base, state: directory}, tags: bake, when: content is defined}
      - {name: file, template: {src: base.j2, dest: /srv/base/file}, tags: bake, notify: note, when: content is defined}
      - {name: once, shell: "echo once >> /srv/base/once", tags: bake, when: content is defined}
      - {name: own, copy: {content: "{{ inventory_hostname }} {{ ansible_facts.hostname }}", dest: /srv/own}}
    handlers:
      - {name: note, shell: "echo noted >> /srv/base/noted"}
"#;

/// All output of a command.
fn said(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.run(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_layer_is_shared_reported_and_never_stale() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    // Content unique to this run: its layers are not those of an earlier run.
    let content = format!("{} {{{{ content }}}} {{{{ ansible_facts.os_family }}}}", std::process::id());
    sandbox.write("base.j2", &content);
    let told = said(&sandbox, &["up"]);
    let recap = |told: &str, node: &str, counts: &str| {
        let found = told.lines().any(|line| line.split_whitespace().next() == Some(node) && line.contains(counts));
        assert!(found, "{node}: not `{counts}` in\n{told}");
    };
    // As without layers.
    recap(&told, "w1", "ok=6    changed=5");
    recap(&told, "w2", "ok=6    changed=5");
    let read = |node: &str, file: &str| sandbox.good(&["exec", node, "--", "cat", &format!("/srv/{file}")]);
    for node in ["w1", "w2"] {
        assert_eq!(read(node, "base/file"), format!("{} same Debian", std::process::id()));
        assert_eq!((read(node, "base/once"), read(node, "base/noted")), ("once\n".to_owned(), "noted\n".to_owned()));
        assert_eq!(read(node, "own"), format!("{node} {node}"));
    }
    let why = |node: &str| -> Value { sandbox.json(&["image", "layers", "--why", node]) };
    let first = why("w1");
    assert_eq!(first["layer"], first["rests_on"], "{first}");
    assert_eq!(first["layer"], why("w2")["layer"]);
    // Nodes without baked tasks are based on the stock template, however many there are.
    let plain = why("plain2");
    assert_eq!(plain["rests_on"], plain["stock"], "{plain}");
    assert_eq!(first["steps"].as_array().map(Vec::len), Some(4), "facts and three tasks: {first}");
    // No node is new: there is nothing to fork.
    sandbox.good(&["up", "--no-cache"]);
    let again = said(&sandbox, &["provision"]);
    // Only the shell task cannot detect that nothing changed.
    recap(&again, "w1", "ok=5    changed=1");

    // A node whose variable differs does not share the layer.
    sandbox.write("lab.yml", &LAB.replace("provision:", "  - {name: other, memory: 384M, variables: {content: another}}\nprovision:"));
    sandbox.good(&["up", "other"]);
    assert_eq!(read("other", "base/file"), format!("{} another Debian", std::process::id()));
    let other = why("other");
    assert!(other["layer"].is_null() && other["reason"].as_str().is_some_and(|why| why.contains("not baked yet")), "{other}");

    // The template changed: what was baked from the old one is not used.
    sandbox.write("base.j2", &format!("changed {content}"));
    assert!(why("w1")["layer"].is_null());
    sandbox.good(&["destroy", "--force"]);
    sandbox.good(&["up", "w1", "w2"]);
    assert!(read("w2", "base/file").starts_with("changed "));
    let second = why("w2");
    assert!(second["layer"] != first["layer"] && second["layer"] == second["rests_on"], "{second}");
    let refused = sandbox.bad(&["image", "template", "rm", second["stock"].as_str().expect("a key")]);
    assert!(refused.1.contains("layer") || refused.1.contains("lab"), "{}", refused.1);

    sandbox.good(&["destroy", "--force"]);
    sandbox.good(&["up", "--no-cache"]);
    let stock = why("w1");
    assert_eq!(stock["rests_on"], stock["stock"], "--no-cache uses none: {stock}");
    sandbox.good(&["destroy", "--force"]);
    // Kept labs are based on layers; they are removed with the sandbox, and their layers with them.
    for layer in [&first["layer"], &second["layer"]] {
        let _ = sandbox.run(&["image", "template", "rm", layer.as_str().expect("a key")]);
    }
}

/// It is not kept beyond `destroy`, because it runs a program on the controller: so each `up` starts with only the layers.
const CRASHED: &str = r#"
name: crashed
nodes:
  - {name: "c{index}", count: 2, memory: 256M}
provision:
  - hosts: all
    tasks:
      - {name: folder, file: {path: /srv/base, state: directory}, tags: bake}
      - {name: file, copy: {content: "CONTENT {{ lookup('pipe', 'echo asked') }}", dest: /srv/base/file}, tags: bake, notify: note}
      - {name: slow, shell: "sleep 0.5; echo once >> /srv/base/once", tags: bake}
      - {name: own, copy: {content: "{{ inventory_hostname }}", dest: /srv/own}}
    handlers:
      - {name: note, shell: "echo noted >> /srv/base/noted"}
"#;

/// The sockets of layer builders: one folder each, named after the layer, while it is being made.
fn builders(sandbox: &Sandbox) -> BTreeSet<String> {
    let entries = std::fs::read_dir(sandbox.home().join("run")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("l-").map(str::to_owned)).collect()
}

/// The files that appear one after the other in the folder of a layer in the making: its memory, its devices when it is saved, its notes,
/// the disk of its forks.
const STAGES: [&str; 4] = ["ram", "state", "layer.json", "overlay.qcow2"];

/// Unfinished layers in the store whose names start with one of `ours`.
fn unfinished(sandbox: &Sandbox, ours: &BTreeSet<String>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.home().join("store/templates")).into_iter().flatten().flatten();
    let is_ours = |name: &str| name.strip_prefix(".building-").is_some_and(|key| ours.iter().any(|short| key.starts_with(short.as_str())));
    entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

/// kill -9 of `up` or of the builder's machine while a layer is being made: the layer is complete or absent, nothing keeps running,
/// leftovers are removed by the next build or by `prune`, and the next `up` reports the same as an undisturbed one.
#[test]
fn a_layer_whose_making_is_killed_is_whole_or_absent() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(11));
    let sandbox = Sandbox::new();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let mut ours: BTreeSet<String> = BTreeSet::new();
    let write = |round: &str| sandbox.write("lab.yml", &CRASHED.replace("CONTENT", &format!("{} {round}", std::process::id())));
    // The recap, and what is on the nodes.
    let outcome = |keys: &mut BTreeSet<String>, round: &str| -> String {
        let told = said(&sandbox, &["up"]);
        let mut recap: Vec<String> = told.lines().filter(|line| line.contains("changed=")).map(|line| line.trim().to_owned()).collect();
        recap.sort();
        for node in ["c1", "c2"] {
            let why: Value = sandbox.json(&["image", "layers", "--why", node]);
            assert!(why["layer"].is_string() && why["layer"] == why["rests_on"], "{round}: {why}\n{told}");
            keys.insert(why["layer"].as_str().unwrap().to_owned());
            recap.push(sandbox.good(&["exec", node, "--", "sh", "-c", "cd /srv; cat base/once base/noted own; cut -d' ' -f1 base/file"]));
        }
        assert_eq!(sandbox.machines().len(), 2, "{round}: a machine too many or too few");
        assert_eq!(machines(&sandbox.home().join("run/l-").display().to_string()), Vec::<i32>::new(), "{round}");
        sandbox.good(&["destroy", "--force"]);
        assert_eq!(sandbox.machines(), Vec::<i32>::new(), "{round}");
        recap.join("\n")
    };
    // Templates and images first: then making the layer is what takes the time.
    write("warm");
    outcome(&mut keys, "warm");
    write("undisturbed");
    let mut up = sandbox.start(&["up"]);
    until("a layer is being made", Duration::from_secs(120), || !builders(&sandbox).is_empty());
    let start = Instant::now();
    until("the layer is made", Duration::from_secs(120), || builders(&sandbox).is_empty());
    let length = start.elapsed();
    assert!(up.wait().unwrap().success());
    sandbox.good(&["destroy", "--force"]);
    // With an existing layer, `up` reports the same as when it makes one.
    let undisturbed = outcome(&mut keys, "undisturbed");
    println!("undisturbed: a layer takes {length:?}\n{undisturbed}");

    for round in 0..STAGES.len() + 3 {
        // All random numbers are drawn first: what happens must not change what the seed gives next.
        let (share, short) = (random.random_range(0.0..0.8), random.random_range(0..100));
        let machine = matches!(round, 1 | 3);
        write(&round.to_string());
        let mut up = sandbox.start(&["up"]);
        until("a layer is being made", Duration::from_secs(120), || !builders(&sandbox).is_empty());
        let moment = match round.checked_sub(3).and_then(|stage| STAGES.get(stage)) {
            None => {
                std::thread::sleep(length.mul_f64(share));
                format!("after {:?}", length.mul_f64(share))
            }
            // Short stages would hardly ever be hit by chance.
            Some(file) => {
                let making = || unfinished(&sandbox, &builders(&sandbox));
                while !making().iter().any(|folder| folder.join(file).exists()) && !builders(&sandbox).is_empty() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(short));
                format!("{short} ms after there was {file}")
            }
        };
        ours.extend(builders(&sandbox));
        let builder = machines(&sandbox.home().join("run/l-").display().to_string());
        println!("round {round}: killed {moment}: {}", if machine && !builder.is_empty() { "the builder's machine" } else { "up" });
        match builder.first() {
            Some(pid) if machine => kill(*pid),
            _ => up.kill().unwrap(),
        }
        let code = up.wait().unwrap();
        until("the machine of a killed build ends", Duration::from_secs(10), || {
            machines(&sandbox.home().join("run/l-").display().to_string()).is_empty()
        });
        println!("round {round}: {code}; left: {:?}", unfinished(&sandbox, &ours));
        if round % 3 == 2 {
            // Next, a different layer is needed, from the first task on: building it removes the leftovers of this one.
            sandbox.write(
                "lab.yml",
                &std::fs::read_to_string(sandbox.folder().join("lab.yml"))
                    .unwrap()
                    .replace("state: directory", "state: directory, mode: '0755'"),
            );
        }
        // Machines may already be running if the layer was finished.
        sandbox.good(&["destroy", "--force"]);
        let round = format!("round {round}");
        assert_eq!(outcome(&mut keys, &round), undisturbed, "{round}");
        assert_eq!(unfinished(&sandbox, &ours), Vec::<PathBuf>::new(), "{round}");
    }

    // `prune` finds leftovers that no build will replace, and leaves alone what is being made.
    write("pruned");
    let mut up = sandbox.start(&["up"]);
    until("a layer is being made", Duration::from_secs(120), || !builders(&sandbox).is_empty());
    ours.extend(builders(&sandbox));
    until("there is something in the store", Duration::from_secs(20), || !unfinished(&sandbox, &ours).is_empty());
    let (listed, left) = (sandbox.good(&["prune"]), unfinished(&sandbox, &ours));
    assert!(!left.is_empty() && !listed.contains(&left[0].file_name().unwrap().to_string_lossy().into_owned()), "{listed}");
    up.kill().unwrap();
    up.wait().unwrap();
    until("the machine of a killed build ends", Duration::from_secs(10), || {
        machines(&sandbox.home().join("run/l-").display().to_string()).is_empty()
    });
    let listed = sandbox.good(&["prune"]);
    for left in unfinished(&sandbox, &ours) {
        assert!(listed.contains(&left.file_name().unwrap().to_string_lossy().into_owned()), "{listed}");
    }
    sandbox.good(&["prune", "--force"]);
    assert_eq!(unfinished(&sandbox, &ours), Vec::<PathBuf>::new());
    assert_eq!(builders(&sandbox), BTreeSet::new());
    sandbox.good(&["destroy", "--force"]);
    for key in keys {
        sandbox.good(&["image", "template", "rm", &key]);
    }
}
