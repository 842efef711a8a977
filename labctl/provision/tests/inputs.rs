//! What a run records about its controller: everything that it read, and nothing else, makes a later run different.
#![allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run")]

mod fake;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fake::Bench;
use futures_util::FutureExt;
use labctl_provision::{Inputs, Manifest};

/// Runs; returns what was recorded.
fn noted(bench: &mut Bench) -> Result<Manifest, String> {
    bench.options.inputs = Inputs::default();
    bench.run();
    bench.options.inputs.manifest()
}

/// The program of an artifact as the fake store has it.
fn change(bench: &Bench, manifest: &Manifest) -> Option<String> {
    let store = bench.folder.path().join("store");
    manifest.change(&|_, name, _| std::fs::read_to_string(store.join(name)).ok().map(|text| fake::sha(&text)))
}

/// A play with everything that reads files.
const READER: &str = "=== site.yml
- hosts: all
  gather_facts: false
  vars_files: [vars.yml, [missing.yml, second.yml]]
  vars: {which: b, nested: \"{{ lookup('file', 'nested') }}\"}
  roles: [web]
  tasks:
  - include_tasks: \"more-{{ which }}.yml\"
  - import_tasks: imported.yml
  - include_role: {name: late}
  - include_vars: {dir: several}
  - include_vars: one.yml
  - copy: {src: plain, dest: /plain}
  - copy: {src: tree/, dest: /tree}
  - copy: {src: \"{{ lookup('first_found', ['special', 'usual']) }}\", dest: /found}
  - copy: {src: \"{{ item }}\", dest: /globbed/}
    with_fileglob: globbed/*.conf
  - debug: {msg: \"{{ item }}\"}
    with_first_found: [never, usual]
  - debug: {msg: \"{{ lookup('csvfile', 'k', file='table.csv', delimiter=',') }} {{ lookup('ini', 'k', section='s', file='t.ini') }}\"}
  - debug: {msg: \"{{ nested }} {{ by_group }} {{ by_host }} {{ by_all }}\"}
  - assemble: {src: parts, dest: /parts, remote_src: false}
  - script: go.sh
  - unarchive: {src: a.tar, dest: /a}
  - debug: {msg: \"{{ (playbook_dir ~ '/maybe') is exists }}\"}
  - command: echo {{ lookup('template', 'inline.j2') }}
  - synchronize: {src: synced, dest: /synced}
    ignore_errors: true
  handlers:
  - import_tasks: handlers.yml
=== hosts
[servers]
h1
=== vars.yml
a: 1
=== second.yml
b: 1
=== group_vars/all/main.yml
by_all: 1
=== group_vars/servers.yml
by_group: 1
=== host_vars/h1.yml
by_host: 1
=== more-b.yml
- debug: {msg: more}
=== imported.yml
- debug: {msg: imported}
=== handlers.yml
- {name: own, debug: {msg: own}}
=== several/x.yml
x: 1
=== one.yml
one: 1
=== plain
plain
=== tree/in/leaf
leaf
=== usual
usual
=== nested
nested
=== globbed/a.conf
a
=== table.csv
k,v
=== t.ini
[s]
k=v
=== parts/1
1
=== go.sh
go
=== a.tar
tar
=== inline.j2
inline
=== synced/s
s
=== store/prog
prog
=== roles/web/meta/main.yml
dependencies: [base]
=== roles/web/meta/argument_specs.yml
argument_specs: {main: {options: {d: {}}}}
=== roles/web/defaults/main.yml
d: 1
=== roles/web/vars/main.yml
v: 1
=== roles/web/handlers/main.yml
- {name: again, debug: {msg: again}}
=== roles/web/artifacts.yml
declared
=== roles/web/tasks/main.yml
- template: {src: page.j2, dest: /page}
- artifact: {name: prog, dest: /prog}
=== roles/web/templates/page.j2
{% include 'part.j2' %}
=== roles/web/templates/part.j2
{{ lookup('file', 'deep') }} {{ d }} {{ v }}
=== roles/web/files/deep
deep
=== roles/base/tasks/main.yml
- debug: {msg: base}
=== roles/late/tasks/main.yml
- debug: {msg: late}
";

/// Files that are created where something is searched for first.
const APPEARS: &[&str] = &[
    "missing.yml",
    "special",
    "never",
    "files/plain",
    "files/usual",
    "files/nested",
    "files/table.csv",
    "files/tree/x",
    "tree/in/new",
    "tree/new",
    "globbed/b.conf",
    "files/globbed/b.conf",
    "several/y.yml",
    "parts/2",
    "maybe",
    "synced/t",
    "group_vars/all/more.yml",
    "group_vars/all.yml",
    "group_vars/servers/main.yml",
    "host_vars/h1.json",
    "vars/one.yml",
    "templates/inline.j2",
    "roles/web/part.j2.yml",
    "roles/web/meta/main.yaml",
    "roles/web/vars/main.json",
    "roles/web/files/page.j2",
    "roles/web/tasks/more-b.yml",
    "roles/base/defaults/main.yml",
    "roles/base/handlers/main.yml",
    "roles/late/meta/main.yml",
    "roles/web/templates/deep",
];

/// Those of them that are never looked at: they come after what was found, or have other names.
const IDLE: &[&str] = &[
    "roles/web/part.j2.yml",
    "roles/web/meta/main.yaml",
    "roles/web/vars/main.json",
    "roles/web/files/page.j2",
    "roles/web/tasks/more-b.yml",
    "roles/web/templates/deep",
];

#[test]
fn every_file_that_was_read_counts_and_no_other() {
    let mut bench = Bench::new(READER);
    let root = bench.folder.path().to_owned();
    std::fs::write(root.join("README"), "beside").unwrap();
    let manifest = noted(&mut bench).unwrap();
    assert_eq!(change(&bench, &manifest), None);
    let again = noted(&mut bench).unwrap();
    assert_eq!((again.digest(), &again), (manifest.digest(), &manifest), "the same run notes the same");
    // Serialized, as it is when kept.
    let manifest: Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
    let mut files = Vec::new();
    all_files(&root, &mut files);
    files.retain(|file| !file.ends_with("README") && !file.ends_with("hosts"));
    assert!(files.len() > 35, "{files:?}");
    for file in &files {
        let old = std::fs::read(file).unwrap();
        std::fs::write(file, [&old[..], b"\n# more"].concat()).unwrap();
        let told = change(&bench, &manifest).unwrap_or_else(|| panic!("{} was read", file.display()));
        assert!(told.contains(&*file.parent().unwrap().to_string_lossy()) || told.contains("prog"), "{}: {told}", file.display());
        std::fs::remove_file(file).unwrap();
        assert!(change(&bench, &manifest).is_some(), "{} is gone", file.display());
        std::fs::write(file, old).unwrap();
        if file.starts_with(root.join("synced")) {
            // Times are copied too.
            assert!(change(&bench, &manifest).is_some());
            let manifest = noted(&mut bench).unwrap();
            assert_eq!(change(&bench, &manifest), None);
            break;
        }
        assert_eq!(change(&bench, &manifest), None, "{} is as it was", file.display());
    }
    let manifest = noted(&mut bench).unwrap();
    std::fs::write(root.join("README"), "changed").unwrap();
    std::fs::create_dir(root.join("target")).unwrap();
    assert_eq!(change(&bench, &manifest), None);
}

#[test]
fn a_file_that_would_be_found_first_counts() {
    for name in APPEARS {
        let mut bench = Bench::new(READER);
        let manifest = noted(&mut bench).unwrap();
        let file = bench.folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "{}\n").unwrap();
        assert_eq!(change(&bench, &manifest).is_some(), !IDLE.contains(name), "{name}");
    }
}

#[test]
fn a_role_in_a_nearer_folder_counts() {
    let mut bench =
        Bench::new("=== site.yml\n- hosts: all\n  gather_facts: false\n  roles: [r]\n=== far/r/tasks/main.yml\n- debug: {msg: far}\n");
    bench.options.role_paths = vec![bench.folder.path().join("near"), bench.folder.path().join("far")];
    let manifest = noted(&mut bench).unwrap();
    assert_eq!(change(&bench, &manifest), None);
    std::fs::create_dir_all(bench.folder.path().join("near/r")).unwrap();
    assert!(change(&bench, &manifest).unwrap().ends_with("near/r"));
}

fn all_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The synced file last: its time cannot be restored.
    entries.sort_by_key(|path| (path.ends_with("synced"), path.clone()));
    for path in entries {
        if path.is_dir() { all_files(&path, out) } else { out.push(path) }
    }
}

/// Tasks that prevent keeping a lab, and the reported reason.
const GIVEN_UP: &[(&str, &str)] = &[
    ("- {name: t, debug: {msg: \"{{ lookup('pipe', 'true') }}\"}}", "task `t` (DIR/site.yml:4) runs a program on the controller (pipe)"),
    ("- {name: t, debug: {msg: \"{{ query('ansible.builtin.pipe', 'true') }}\"}}", "(pipe)"),
    ("- {name: t, debug: {msg: \"{{ item }}\"}, with_pipe: ['true']}", "task `t` (DIR/site.yml:4) runs a program on the controller (pipe)"),
    ("- {name: t, debug: {msg: \"{{ item }}\"}, with_ansible.builtin.lines: ['true']}", "(lines)"),
    ("- {name: t, debug: {msg: \"{{ from_group }}\"}}", "task `t` (DIR/site.yml:4), because of DIR/group_vars/all.yml:2: runs a program"),
    ("- {name: t, debug: {msg: \"{{ lookup('url', 'http://127.0.0.1:1/', errors='ignore') }}\"}}", "(url)"),
    ("- {name: t, debug: {msg: \"{{ lookup('password', 'made') }}\"}}", "uses random numbers (password)"),
    ("- {name: t, debug: {msg: x}, when: \"now().year > 0\"}", "task `t` (DIR/site.yml:4) reads the clock (now())"),
    ("- {name: t, template: {src: dated.j2, dest: /x}}", "reads the clock (template_run_date)"),
    ("- {name: t, template: {src: outer.j2, dest: /x}}", "(pipe)"),
    ("- {name: t, command: hostname, delegate_to: \"localhost\"}", "task `t` (DIR/site.yml:4) runs on the controller"),
    ("- {name: t, command: hostname, delegate_to: \"{{ 'local' ~ 'host' }}\"}", "runs on the controller"),
    ("- {name: t, command: hostname, delegate_to: 127.0.0.1}", "runs on the controller"),
    ("- {name: t, command: hostname, connection: local}", "runs on the controller"),
    ("- {name: t, command: hostname, vars: {ansible_connection: local}}", "runs on the controller"),
    ("- {name: t, local_action: command hostname}", "runs on the controller"),
    ("- {name: t, copy: {content: x, dest: /x}, delegate_to: localhost}", "runs on the controller"),
    (
        "- {name: t, fetch: {src: /x, dest: out, fail_on_missing: false}}",
        "task `t` (DIR/site.yml:4) copies a file to the controller (fetch)",
    ),
    ("- {name: t, synchronize: {src: /x, dest: out, mode: pull}, ignore_errors: true}", "runs on the controller"),
    ("- {name: t, include_tasks: piping.yml}", "task `inner` (DIR/piping.yml:1) runs a program"),
];

#[test]
fn what_no_list_covers_is_told_with_task_file_and_line() {
    for (task, wanted) in GIVEN_UP {
        let mut bench = Bench::new(&format!(
            "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  {task}\n=== group_vars/all.yml\nother: 1\nfrom_group: \"{{{{ lookup('pipe', 'true') }}}}\"\n\
             === dated.j2\n{{{{ template_run_date }}}}\n=== outer.j2\n{{% include 'inner.j2' %}}\n=== inner.j2\n{{{{ lookup('pipe', 'true') }}}}\n\
             === piping.yml\n- {{name: inner, debug: {{msg: \"{{{{ lookup('pipe', 'true') }}}}\"}}}}\n"
        ));
        let told = noted(&mut bench).expect_err(task);
        let told = told.replace(&bench.folder.path().display().to_string(), "DIR").replace("site.yml:5", "site.yml:4");
        assert!(told.contains(wanted), "{task}: {told}");
    }
}

#[test]
fn a_play_on_the_controller_is_given_up_however_it_is_written() {
    for hosts in ["localhost", "'localhost'", "127.0.0.1", "\"{{ 'localhost' }}\""] {
        let mut bench = Bench::new(&format!("=== site.yml\n- hosts: {hosts}\n  gather_facts: false\n  tasks:\n  - command: hostname\n"));
        assert!(noted(&mut bench).unwrap_err().contains("runs on the controller"), "{hosts}");
        let mut bench = Bench::new(&format!("=== site.yml\n- hosts: {hosts}\n  tasks: []\n"));
        assert!(noted(&mut bench).unwrap_err().contains("runs on the controller"), "its facts: {hosts}");
    }
    let mut bench = Bench::new("=== site.yml\n- hosts: all\n  order: shuffle\n  gather_facts: false\n  tasks: []\n");
    assert!(noted(&mut bench).unwrap_err().contains("site.yml:1) uses random numbers (order: shuffle)"));
}

/// Tasks that only look as if they prevented keeping a lab.
#[test]
fn words_alone_give_nothing_up() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - debug: {msg: \"lookup('pipe') fetch: delegate_to: localhost\"}\n  - debug: {msg: here}\n    delegate_to: localhost\n  \
         - debug: {msg: \"{{ lookup('pipe', 'date') }}\"}\n    when: false\n  - template: {src: plain.j2, dest: /x}\n  - pause: {seconds: 1}\n  - command: hostname\n    async: 10\n  \
         - debug: {msg: \"{{ 59 | random(seed=inventory_hostname) }} {{ lookup('password', 'secret') }}\"}\n=== plain.j2\nplain\n=== secret\nword\n",
    );
    let manifest = noted(&mut bench).unwrap();
    assert_eq!(change(&bench, &manifest), None);
    assert_eq!(noted(&mut bench).unwrap(), manifest, "no result differs from run to run");
}

#[test]
fn a_file_that_changes_during_the_run_is_told() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {src: f, dest: /one}\n  - pause: {seconds: 1}\n  - copy: {src: f, dest: /two}\n=== f\nold\n",
    );
    let file = bench.folder.path().join("f");
    bench.options.sleep = Some(Arc::new(move |_| {
        std::fs::write(&file, "new").unwrap();
        async {}.boxed()
    }));
    let told = noted(&mut bench).unwrap_err();
    assert!(told.ends_with("/f changed during the run"), "{told}");
    assert!(noted(&mut bench).is_ok());
}

/// An environment variable counts with its value. A child process asks again, because this process's environment must not change.
#[test]
fn a_variable_of_the_environment_counts() {
    const KEPT: &str = "LABCTL_TEST_KEPT";
    if let Ok(kept) = std::env::var(KEPT) {
        let manifest: Manifest = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
        println!("changed: {:?}", manifest.change(&|_, _, _| None));
        return;
    }
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {content: \"{{ lookup('ansible.builtin.env', 'LABCTL_TEST_WORD') }}\", dest: /word}\n  \
         - command: echo {{ '$CARGO_PKG_NAME' | expandvars }}\n",
    );
    let manifest = noted(&mut bench).unwrap();
    let kept = bench.folder.path().join("kept");
    let text = serde_json::to_string(&manifest).unwrap();
    assert!(!text.contains("labctl-provision\""), "values may be secrets: they are not written down");
    std::fs::write(&kept, text).unwrap();
    let told = |name: &str, value: Option<&str>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_variable_of_the_environment_counts", "--nocapture"]).env(KEPT, &kept);
        match value {
            Some(value) => child.env(name, value),
            None => child.env_remove(name),
        };
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().find_map(|line| line.split_once("changed: ").map(|(_, told)| told.to_owned())).unwrap()
    };
    let variable = |name: &str| format!("Some(\"the environment variable {name}\")");
    assert_eq!(told("LABCTL_TEST_WORD", None), "None");
    assert_eq!(told("LABCTL_TEST_OTHER", Some("1")), "None");
    assert_eq!(told("LABCTL_TEST_WORD", Some("1")), variable("LABCTL_TEST_WORD"));
    assert_eq!(told("LABCTL_TEST_WORD", Some("")), variable("LABCTL_TEST_WORD"));
    assert_eq!(told("CARGO_PKG_NAME", Some("other")), variable("CARGO_PKG_NAME"));
    assert_eq!(told("CARGO_PKG_NAME", None), variable("CARGO_PKG_NAME"));
}
