//! Golden images: an image of a provisioned machine, that labs boot by its name.

use labctl_tests::{Sandbox, can_boot};

const ROLE: &str = r#"
- {copy: {dest: /opt/tool, content: "tool"}}
- copy:
    dest: /etc/systemd/system/tool.service
    content: |
      [Service]
      ExecStart=/bin/sh -c 'while sleep 0.1; do date > /var/lib/tool/state; done'
      StateDirectory=tool
      [Install]
      WantedBy=multi-user.target
- {systemd: {name: tool, state: started, enabled: true, daemon_reload: true}}
"#;

/// Removes the images that this test made from the store that all tests share.
struct Images<'a>(&'a Sandbox);

impl Drop for Images<'_> {
    fn drop(&mut self) {
        for name in ["tool", "again", "again.draft", "tool.draft"] {
            self.0.run(&["image", "rm", name]);
        }
    }
}

#[test]
fn an_image_is_baked_with_roles_and_of_a_node() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("roles/tool/tasks/main.yml", ROLE);
    let images = Images(&sandbox);
    let (code, said) = sandbox.bad(&["image", "bake", "tool", "--role", "none"]);
    assert!(code == 3 && said.contains("none"), "{code}: {said}");
    assert_eq!(sandbox.json(&["list"]).as_array().map(Vec::len), Some(0), "nothing is left of it");
    sandbox.good(&["image", "bake", "tool", "--role", "tool", "--remove", "/var/lib/tool/state", "--memory", "384M"]);
    assert_eq!(sandbox.json(&["list"]).as_array().map(Vec::len), Some(0), "its builder is gone");
    let (code, said) = sandbox.bad(&["image", "bake", "tool", "--role", "tool"]);
    assert!(code == 6 && said.contains("exists already"), "{code}: {said}");
    let shown = sandbox.json(&["image", "show", "tool"]);
    let from = &shown["provenance"];
    assert_eq!((from["base"].as_str(), from["roles"][0].as_str()), (Some("debian-12"), Some("tool")), "{shown}");
    assert!(from["packages"].as_array().unwrap().iter().any(|package| package.as_str().unwrap().starts_with("systemd ")), "{shown}");

    // Nodes with it have what the role did, and nothing of the machine on which it did it.
    sandbox.write("lab.yml", "name: golden\nnodes:\n  - {name: \"n{index}\", count: 2, image: tool, memory: 384M}\n");
    sandbox.good(&["up"]);
    let run = |node: &str, command: &str| sandbox.good(&["exec", node, "--", "sh", "-c", command]);
    assert_eq!(run("n1", "cat /opt/tool; systemctl is-active tool"), "toolactive\n");
    for file in ["/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/hostname"] {
        assert_ne!(run("n1", &format!("cat {file}")), run("n2", &format!("cat {file}")), "{file}");
    }
    assert_eq!(run("n2", "ls /var/log/journal").trim(), run("n2", "cat /etc/machine-id").trim(), "there is no other machine's journal");
    assert_eq!(sandbox.good(&["ssh", "n2", "--", "hostname"]), "n2\n");
    let (code, said) = sandbox.bad(&["image", "rm", "tool"]);
    assert!(code == 6 && said.contains("golden"), "{code}: {said}");

    // Of a node, which runs again afterwards.
    run("n1", "echo more > /opt/more; date > /var/lib/tool/kept");
    sandbox.good(&["image", "bake", "again", "--from", "n1", "--remove", "/var/lib/tool"]);
    assert_eq!(run("n1", "ls /var/lib/tool").split_whitespace().collect::<Vec<_>>(), ["kept", "state"], "the node keeps its files");
    sandbox.good(&["destroy", "--yes"]);
    sandbox.write("lab.yml", "name: golden\nnodes:\n  - {name: n1, image: again, memory: 384M}\n");
    sandbox.good(&["up"]);
    // Its service starts again in an empty folder.
    let state = "until ls /var/lib/tool/state >/dev/null 2>&1; do sleep 0.2; done; ls /var/lib/tool";
    assert_eq!(run("n1", &format!("cat /opt/tool /opt/more; {state}")), "toolmore\nstate\n");
    assert_eq!(sandbox.json(&["image", "show", "again"])["provenance"]["node"], "golden/n1");
    sandbox.good(&["destroy", "--yes"]);
    drop(images);
    let (code, said) = sandbox.bad(&["up"]);
    assert!(code == 4 && said.contains("not in this store"), "{code}: {said}");
}
