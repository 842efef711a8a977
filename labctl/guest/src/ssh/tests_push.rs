//! The agent on a foreign machine: OpenSSH's server on a port of 127.0.0.1.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use russh::keys::ssh_key::LineEnding;

use super::tests::{key, public};
use super::*;
use crate::{AGENT_PROGRAM, Agent, Link};

const SSHD: &str = "/usr/sbin/sshd";
const USER: u8 = 1;
const HOST: u8 = 2;

struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A listening server; the cache folder of users that log in is the test's own.
fn sshd() -> Option<Sshd> {
    if !Path::new(SSHD).exists() {
        labctl_skip::skip!("sshd", "there is no {SSHD}; install openssh-server");
        return None;
    }
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("key"), &key(HOST).to_openssh(LineEnding::LF).unwrap());
    write(&path("user"), &key(USER).to_openssh(LineEnding::LF).unwrap());
    write(&path("authorized"), &public(USER));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = format!(
        "Port {port}\nListenAddress 127.0.0.1\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nSetEnv XDG_CACHE_HOME={}\nPidFile none\n",
        path("authorized").display(),
        path("cache").display(),
    );
    write(&path("conf"), &conf);
    let known = format!("[127.0.0.1]:{port} {}\n", public(HOST).trim());
    write(&path("known_hosts"), &known);
    let child = Command::new(SSHD)
        .args(["-D", "-f"])
        .arg(path("conf"))
        .arg("-h")
        .arg(path("key"))
        .arg("-E")
        .arg(path("log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("stderr")).unwrap())
        .spawn()
        .unwrap();
    // It starts listening within moments; earlier connections are refused.
    let begin = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(path("log")).unwrap_or_default());
        std::thread::yield_now();
    }
    Some(Sshd { child, folder, port })
}

fn machine(sshd: &Sshd) -> Machine {
    let me = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    Machine {
        address: "127.0.0.1".into(),
        port: sshd.port,
        user: me.trim().to_owned(),
        keys: vec![sshd.folder.path().join("user")],
        keys_named: true,
        known_hosts: vec![sshd.folder.path().join("known_hosts")],
        alias: None,
        agent: None,
    }
}

fn cached(sshd: &Sshd) -> Vec<(String, std::time::SystemTime)> {
    let files = fs::read_dir(sshd.folder.path().join("cache/labctl")).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().modified().unwrap())).collect()
}

#[tokio::test]
async fn the_agent_is_pushed_once_and_leaves_only_its_file() {
    let Some(sshd) = sshd() else { return };
    let mut states = Vec::new();
    let mut first = Vec::new();
    for round in 0..2 {
        let started = machine(&sshd).enter().await.unwrap().start_agent(AGENT_PROGRAM, false).await.unwrap();
        let (said, state) = (started.said(), started.state.clone());
        let link = Link::over(started.stream);
        link.up_within(Duration::from_secs(30)).await.unwrap_or_else(|why| panic!("{why}: {}", said()));
        let agent = Agent::new(link);
        agent.ping().await.unwrap();
        assert!(Path::new(&state).is_dir());
        match round {
            0 => first = cached(&sshd),
            _ => assert_eq!(cached(&sshd), first, "it was sent again"),
        }
        states.push(state);
    }
    assert_eq!(first.len(), 1);
    assert!(first[0].0.starts_with("agent-"));
    // Both links are gone; the shells on the other side clean up when they notice.
    let begin = std::time::Instant::now();
    while states.iter().any(|state| Path::new(state).exists()) {
        assert!(begin.elapsed() < Duration::from_secs(20), "a state folder stays");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn unknown_and_changed_host_keys_are_refused() {
    let Some(sshd) = sshd() else { return };
    let mut machine = machine(&sshd);
    let known = sshd.folder.path().join("known_hosts");
    let kept = fs::read_to_string(&known).unwrap();
    write(&known, &format!("[127.0.0.1]:{} {}\n", sshd.port, public(9).trim()));
    let why = machine.enter().await.err().unwrap();
    assert!(matches!(why, SshError::HostKey { .. }), "{why}");
    write(&known, &format!("@revoked * {}\n{kept}", public(HOST).trim()));
    assert!(matches!(machine.enter().await.err().unwrap(), SshError::Unknown { .. }));
    machine.known_hosts = vec![sshd.folder.path().join("none")];
    let why = machine.enter().await.err().unwrap().to_string();
    assert!(why.contains(&format!("ssh-keyscan -p {} 127.0.0.1 >> ", sshd.port)), "{why}");
}

#[tokio::test]
async fn keys_that_do_not_fit_are_told() {
    let Some(sshd) = sshd() else { return };
    let mut machine = machine(&sshd);
    let other = sshd.folder.path().join("other");
    write(&other, &key(7).to_openssh(LineEnding::LF).unwrap());
    machine.keys = vec![other, sshd.folder.path().join("gone")];
    let why = machine.enter().await.err().unwrap().to_string();
    assert!(why.contains("other was refused") && why.contains("gone: No such file"), "{why}");
}
