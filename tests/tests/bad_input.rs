//! Wrong input: a clear error, the documented exit code, and no changes. No machine is started.

use std::net::TcpListener;

use labctl_tests::Sandbox;

fn refused(lab: &str, args: &[&str], code: i32, words: &[&str]) {
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", lab);
    let (found, said) = sandbox.bad(args);
    assert_eq!(found, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    assert!(!sandbox.home().join("labs/bad/nodes").exists(), "nothing may be changed");
}

#[test]
fn wrong_yaml_names_file_and_line() {
    refused("name: bad\nnodes:\n\t- name: a\n", &["up"], 3, &["lab.yml:3"]);
}

#[test]
fn all_faults_are_reported_at_once() {
    let lab = "name: bad\ncolour: red\nnodes:\n  - name: a\n    memory: lots\n  - name: a\n    cpus: 0\n";
    refused(lab, &["up"], 3, &["lab.yml:2", "colour", "lab.yml:5", "memory", "lab.yml:7", "cpus"]);
}

#[test]
fn an_unknown_image_is_named_with_the_known_ones() {
    refused("name: bad\nimage: solaris\nnodes: [{name: a}]\n", &["up"], 3, &["lab.yml:2", "solaris", "debian-12"]);
}

#[test]
fn faults_of_the_lab_its_images_and_its_plays_are_told_in_one_step() {
    let lab = "name: bad\nimage: solaris\nnodes:\n  - {name: a, memory: lots}\n  - {name: b, image: mine}\nprovision:\n  - hosts: nobody\n  \
               - hosts: all\n    roles: [nowhere]\n  - hosts: all\n    tasks: [{copi: x, name: odd, dest: y}]\n";
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", lab);
    sandbox.write("images/mine.yml", "name: mine\nbootstrap: {mirrors: 3}\n");
    for args in [["up"], ["validate"], ["reload"], ["provision"]] {
        let (code, said) = sandbox.bad(&args);
        assert_eq!(code, 3, "{said}");
        for word in ["lab.yml:2", "no image `solaris`", "lab.yml:4", "memory", "mine.yml:2", "mirrors"] {
            assert!(said.contains(word), "{args:?}: `{word}` is not in:\n{said}");
        }
        let plays = args != ["reload"];
        assert_eq!(said.contains("nowhere") && said.contains("lab.yml:9"), plays, "{args:?}: {said}");
    }
}

#[test]
fn memory_beyond_the_hosts_is_refused() {
    refused("name: bad\nnodes: [{name: a, count: 9, memory: 900G}]\n", &["up"], 4, &["memory", "this host has"]);
}

#[test]
fn a_missing_role_is_found_before_anything_starts() {
    let lab = "name: bad\nnodes: [{name: a}]\nprovision:\n  - hosts: all\n    roles: [nowhere]\n";
    refused(lab, &["up"], 3, &["nowhere"]);
}

#[test]
fn missing_lab_file_says_what_to_do() {
    let sandbox = Sandbox::new();
    let (code, said) = sandbox.bad(&["up"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("labctl init"), "{said}");
}

#[test]
fn unknown_nodes_are_answered_with_the_known_ones() {
    refused("name: bad\nnodes: [{name: a}, {name: b}]\n", &["up", "c"], 5, &["`c`", "a, b"]);
}

#[test]
fn no_qemu_is_said_with_the_way_out() {
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: bad\nnodes: [{name: a}]\n");
    let output = sandbox.command(&["up"]).env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("qemu") && said.contains("labctl doctor"), "{said}");
}

#[test]
fn two_labs_on_one_subnet_are_refused() {
    let sandbox = Sandbox::new();
    let lab = |name: &str| format!("name: {name}\nnetwork: {{subnet: 10.99.0.0/24}}\nnodes: [{{name: a}}]\n");
    sandbox.write("one/lab.yml", &lab("one"));
    sandbox.write("bad/lab.yml", &lab("bad"));
    // The first step of `up`; if it is killed before anything boots, it has already taken the subnet.
    let record = labctl_lab::record::Record::prepare(&home(&sandbox), load(&sandbox, "one")).unwrap();
    record.save(&home(&sandbox).lab(&record.lab.name)).unwrap();
    let clash = labctl_lab::record::Record::prepare(&home(&sandbox), load(&sandbox, "bad")).unwrap_err();
    assert!(clash.message.contains("overlaps") && clash.message.contains("`one`"), "{clash}");
}

fn home(sandbox: &Sandbox) -> labctl_lab::home::Home {
    labctl_lab::home::Home::at(&sandbox.home(), &sandbox.folder().join("run")).unwrap()
}

fn load(sandbox: &Sandbox, name: &str) -> labctl_spec::lab::Lab {
    labctl_spec::load_lab(&sandbox.folder().join(name).join("lab.yml")).unwrap()
}

#[test]
fn no_disk_space_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: bad\nnodes: [{name: a, count: 200, memory: 64M}]\n");
    let full = sandbox.folder().join("full");
    std::fs::create_dir(&full).unwrap();
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&full).status();
    if !mounted.is_ok_and(|status| status.success()) {
        labctl_skip::skip!("small-disk", "this user may not mount a small file system");
        return;
    }
    let output = sandbox.command(&["up"]).env("LABCTL_HOME", full.join("home")).output().unwrap();
    std::process::Command::new("umount").arg(&full).status().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("free") || said.contains("memory"), "{said}");
    assert!(matches!(output.status.code(), Some(3 | 4)), "{said}");
}

#[test]
fn a_taken_port_is_known_to_the_switch() {
    let taken = TcpListener::bind("127.64.0.99:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let network = labctl_spec::parse_lab("name: taken\nnodes: [{name: a}]\n", std::path::Path::new("/lab.yml")).unwrap().network;
        let config = labctl_net::SwitchConfig { network, names: Vec::new(), upstream: Vec::new() };
        let switch = labctl_net::Switch::start(config);
        let address = std::net::SocketAddrV4::new([127, 64, 0, 99].into(), port);
        let listen = labctl_net::Listen { protocol: labctl_spec::lab::Protocol::Tcp, address };
        let why = switch.publish(listen, std::net::SocketAddrV4::new([10, 0, 0, 1].into(), 80)).await.unwrap_err();
        assert!(why.to_string().contains(&port.to_string()), "{why}");
    });
}

#[test]
fn what_is_no_file_of_ours_is_named_with_the_reason() {
    let sandbox = Sandbox::new();
    sandbox.write("folder.yml/x", "");
    std::fs::write(sandbox.folder().join("latin.yml"), b"name: bad\nnodes: [{name: a, hostnames: [caf\xe9]}]\n").unwrap();
    std::fs::write(sandbox.folder().join("binary.yml"), (0..=255).collect::<Vec<u8>>()).unwrap();
    sandbox.write("empty.yml", "");
    sandbox.write("list.yml", "- name: a\n");
    for (file, code, word) in [
        ("folder.yml", 3, "it is a folder"),
        ("none.yml", 5, "it does not exist"),
        ("/dev/zero", 3, "not an ordinary file"),
        ("latin.yml", 3, "latin.yml:2: the file is not UTF-8"),
        ("binary.yml", 3, "not UTF-8"),
        ("empty.yml", 3, "the file is empty"),
        ("list.yml", 3, "expected a mapping, found a list"),
    ] {
        let (found, said) = sandbox.bad(&["validate", file]);
        assert_eq!(found, code, "{said}");
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

#[test]
fn all_files_are_checked_in_one_pass() {
    let sandbox = Sandbox::new();
    sandbox.write("one.yml", "name: One\nnodes: [{name: a}]\n");
    sandbox.write("two.yml", "name: two\nnodes: [{name: a}]\n");
    sandbox.write("three.yml", "name: three\n");
    let output = sandbox.run(&["validate", "one.yml", "two.yml", "three.yml"]);
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3));
    assert!(out.contains("two.yml: lab `two`, 1 node in"), "{out}");
    assert!(errors.contains("one.yml:1:7") && errors.contains("three.yml:1:1"), "{errors}");
}

#[test]
fn plays_are_checked_with_their_roles() {
    let sandbox = Sandbox::new();
    sandbox.write("roles/web/tasks/main.yml", "- coppy: {src: a, dest: /b}\n  when: false\n");
    let lab = "name: plays\nnodes: [{name: a}]\nprovision:\n  - {hosts: all, roles: [web]}\n";
    sandbox.write("lab.yml", lab);
    // It may never run: not an error, but reported.
    let said = sandbox.good(&["validate"]);
    assert!(said.contains("all good") && said.contains("'coppy' is not supported") && said.contains("main.yml:1"), "{said}");
    assert!(said.contains("the nearest that are: copy"), "{said}");
    sandbox.write("lab.yml", &format!("{lab}  - {{hosts: all, tasks: [{{debug: {{}}, whne: x}}], roles: [none]}}\n"));
    let (code, said) = sandbox.bad(&["up"]);
    assert_eq!(code, 3);
    for part in ["lab.yml:5:", "did you mean `when`?", "the role 'none' was not found"] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn a_million_faults_are_a_screen_of_them() {
    let sandbox = Sandbox::new();
    let nodes: String = (0..2000).map(|n| format!("  - {{name: N{n}, cpus: 0}}\n")).collect();
    sandbox.write("lab.yml", &format!("name: bad\nnodes:\n{nodes}"));
    let (_, said) = sandbox.bad(&["validate"]);
    assert!(said.lines().count() < 40 && said.contains("... and 3970 more"), "{said}");
}

#[test]
fn nested_aliases_and_deep_nesting_end_early() {
    let mut laughs = String::from("name: bad\nnodes: [{name: a}]\nvariables:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("  a{level}: &a{level} [{items}]\n");
    }
    refused(&laughs, &["up"], 3, &["lab.yml:8", "aliases stand for more than"]);
    let deep = format!("name: bad\nnodes: [{{name: a}}]\nvariables: {{x: {}{}}}\n", "[".repeat(9000), "]".repeat(9000));
    refused(&deep, &["up"], 3, &["nested deeper than 128 levels"]);
    refused("name: bad\nvariables: &v {x: *v}\nnodes: [{name: a}]\n", &["up"], 3, &["lab.yml:2", "inside of its own anchor"]);
}
