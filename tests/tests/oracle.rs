//! Playbook cases run by ansible-core and by labctl, compared: see `tests/oracle/run.py`.
//!
//! Needs ansible-core in `target/ansible-venv` (`make install-ansible`, or ANSIBLE_VENV) and mount namespaces; skipped with a printed
//! reason where they are missing.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_tests::Sandbox;

/// Fewer cases than this mean that the corpus was not found.
const AT_LEAST: u32 = 150;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn python() -> Result<PathBuf, String> {
    let venv = env::var_os("ANSIBLE_VENV").map_or_else(|| target().join("ansible-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    let works = Command::new(&python).args(["-c", "import ansible.release"]).stdin(Stdio::null()).output();
    match works {
        Ok(output) if output.status.success() => Ok(python),
        _ => Err(format!("there is no ansible-core in {}; `make install-ansible` puts it there", venv.display())),
    }
}

fn namespaces() -> Result<(), String> {
    let mut arguments = vec!["--mount"];
    if !is_root() {
        arguments.push("--map-root-user");
    }
    match Command::new("unshare").args(arguments).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("mount namespaces are not to be had here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(why) => Err(format!("unshare: {why}")),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[test]
fn labctl_does_what_ansible_does() {
    let found = python().and_then(|python| namespaces().map(|()| python));
    let python = match found {
        Ok(python) => python,
        Err(why) => {
            labctl_skip::skip!("oracle", "{why}");
            return;
        }
    };
    let labctl = env::var_os("LABCTL").map_or_else(|| target().join("debug/labctl"), PathBuf::from);
    assert!(labctl.is_file(), "there is no {}: cargo build --package labctl", labctl.display());
    let log = target().join("oracle.log");
    let status = Command::new(python)
        .arg(workspace().join("tests/oracle/run.py"))
        .arg("--labctl")
        .arg(&labctl)
        .arg("--cache")
        .arg(target().join("oracle"))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::fs::File::create(target().join("oracle.err")).unwrap())
        .status()
        .unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    let last = said.lines().last().unwrap_or_default();
    eprintln!("{last}");
    assert!(status.success(), "{said}");
    let agree: u32 = last.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(agree >= AT_LEAST, "only {last}");
}

/// Values that are read wrongly if a format is written carelessly.
const LAB: &str = r##"
name: read
variables: {version: "1.10", mode: "0644", nothing: null, agreed: "yes", list: [1, "a b", true, {k: "it's \"x\""}], big: 1.0e+16, "no": 1, umlaut: "ü 🙂"}
user: {name: dev}
groups: {front: {variables: {colour: "#red; blue", lines: "a\nb"}}, back_end: {variables: {ansible_user: admin}}}
nodes:
  - {name: web, count: 2, groups: [front], variables: {own: "None", path: 'C:\x', empty: ""}}
  - {name: db, groups: [back_end]}
  - {name: alone}
"##;

#[test]
fn ansible_reads_a_labs_inventory_in_all_its_forms() {
    let ansible = match python() {
        Ok(python) => python.with_file_name("ansible-inventory"),
        Err(why) => {
            labctl_skip::skip!("oracle", "{why}");
            return;
        }
    };
    let sandbox = Sandbox::new();
    let home = Home::at(&sandbox.home(), sandbox.folder()).unwrap();
    let lab = labctl_spec::load_lab(&sandbox.write("lab.yml", LAB)).unwrap();
    Record::prepare(&home, lab).unwrap().save(&home.lab(&"read".parse().unwrap())).unwrap();
    let read = |source: &str| -> serde_json::Value {
        let command = format!("{} -i {source} --list", ansible.display());
        let labctl = sandbox.command(&[]);
        let path = std::env::join_paths([labctl_tests::program().parent().unwrap().to_owned(), "/usr/bin".into(), "/bin".into()]).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", &command]).envs(labctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bash.env("PATH", path).env("ANSIBLE_HOME", sandbox.folder().join("ansible")).current_dir(sandbox.folder());
        let output = bash.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("WARNING"), "{source}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    sandbox.write("hosts.ini", &sandbox.good(&["inventory", "--ini"]));
    sandbox.write("dynamic", "#!/bin/sh\nexec labctl inventory \"$@\"\n");
    std::fs::set_permissions(sandbox.folder().join("dynamic"), PermissionsExt::from_mode(0o755)).unwrap();
    let piped = read("<(labctl inventory)");
    for source in ["hosts.ini", "./dynamic", "<(labctl inventory --yaml)"] {
        assert_eq!(read(source), piped, "{source}");
    }
    let of = |host: &str, name: &str| piped["_meta"]["hostvars"][host][name].clone();
    assert_eq!((of("web1", "version"), of("web1", "own"), of("db", "nothing")), ("1.10".into(), "None".into(), serde_json::Value::Null));
    assert_eq!((of("web2", "path"), of("web2", "colour"), of("web2", "big")), ("C:\\x".into(), "#red; blue".into(), 1e16.into()));
    assert_eq!(of("alone", "no"), 1);
    assert_eq!((of("alone", "ansible_user"), of("db", "ansible_user")), ("dev".into(), "admin".into()));
    let arguments = of("web1", "ansible_ssh_common_args");
    let arguments = arguments.as_str().unwrap();
    assert!(arguments.contains("HostKeyAlias=web1.read.labctl") && arguments.contains("ssh --proxy web1"), "{arguments}");
    assert_eq!(piped["front"]["hosts"], serde_json::json!(["web1", "web2"]));
}
