//! Baked layers on real machines: shared by nodes that want the same, made anew when an input changes, reported as without layers.

use labctl_tests::{Sandbox, can_boot};
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

/// Everything that a command says.
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
    // A content of this test alone: its layers are not those of an earlier run.
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
    // What has nothing baked rests on the stock template, however many there are.
    let plain = why("plain2");
    assert_eq!(plain["rests_on"], plain["stock"], "{plain}");
    assert_eq!(first["steps"].as_array().map(Vec::len), Some(4), "facts and three tasks: {first}");
    // Nothing is new: there is nothing to fork.
    sandbox.good(&["up", "--no-cache"]);
    let again = said(&sandbox, &["provision"]);
    // Only the shell task has no way to know.
    recap(&again, "w1", "ok=5    changed=1");

    // A node whose variable differs has no part in the layer.
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
    // Kept labs rest on layers; they go with the sandbox, and its layers with them.
    for layer in [&first["layer"], &second["layer"]] {
        let _ = sandbox.run(&["image", "template", "rm", layer.as_str().expect("a key")]);
    }
}
