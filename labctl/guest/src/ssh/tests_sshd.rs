//! Sessions with OpenSSH's server, one process per connection, on a socket pair.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use russh::keys::ssh_key::LineEnding;
use tokio::io::{AsyncReadExt, duplex};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::tests::{ask, command, key, login, much, public};
use super::*;

const SSHD: &str = "/usr/sbin/sshd";
const USER: u8 = 1;
const HOST: u8 = 2;

/// A server for one connection; stopped with the test.
struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server and this process's end of the connection; none if OpenSSH is not installed.
fn sshd() -> Option<(Sshd, UnixStream)> {
    if !Path::new(SSHD).exists() {
        labctl_skip::skip!("sshd", "there is no {SSHD}; install openssh-server");
        return None;
    }
    // sshd as root requires the empty folder that its service creates at boot.
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("key"), &key(HOST).to_openssh(LineEnding::LF).unwrap());
    write(&path("authorized"), &public(USER));
    let authorized = path("authorized");
    let conf = format!("AuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n", authorized.display());
    write(&path("conf"), &conf);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let child = Command::new(SSHD)
        .args(["-i", "-f"])
        .arg(path("conf"))
        .arg("-h")
        .arg(path("key"))
        .arg("-E")
        .arg(path("log"))
        .stdin(Stdio::from(OwnedFd::from(far.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(far)))
        .stderr(fs::File::create(path("stderr")).unwrap())
        .spawn()
        .unwrap();
    Some((Sshd { child, folder }, UnixStream::from_std(near).unwrap()))
}

fn me() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn openssh_with_another_key_is_refused() {
    let Some((_sshd, stream)) = sshd() else { return };
    let why = connect(stream, login(&me(), USER, 9)).await.err().unwrap();
    assert!(matches!(why, SshError::HostKey { .. }), "{why}");
}

#[tokio::test]
async fn openssh_runs_commands() {
    let Some((_sshd, stream)) = sshd() else { return };
    let session = connect(stream, login(&me(), USER, HOST)).await.unwrap();
    let (exit, out, err) = ask(&session, command("echo out; echo err >&2; exit 7"), b"").await.unwrap();
    assert_eq!((exit, &out[..], &err[..]), (Exit::Code(7), &b"out\n"[..], &b"err\n"[..]));
    let (exit, out, _) = ask(&session, command("cat; echo END"), &much()).await.unwrap();
    assert_eq!(exit, Exit::Code(0));
    assert!(out == [&much()[..], b"END\n"].concat(), "{} bytes came back", out.len());
    let (exit, ..) = ask(&session, command("true"), &much()).await.unwrap();
    assert_eq!(exit, Exit::Code(0));
    let (exit, ..) = ask(&session, command("kill -TERM $$"), b"").await.unwrap();
    assert_eq!(exit, Exit::Signal("TERM".into()));
    session.disconnect().await.unwrap();
}

#[tokio::test]
// Not SIGINT: processes started in the background of a script, as tests may be, ignore it, and so do their children.
async fn openssh_passes_signals_on() {
    if rustix::process::geteuid().is_root() {
        labctl_skip::skip!("ssh-signals", "OpenSSH passes signals on only with privilege separation, which root's sessions do not have");
        return;
    }
    let Some((_sshd, stream)) = sshd() else { return };
    let session = connect(stream, login(&me(), USER, HOST)).await.unwrap();
    let (tell, control) = mpsc::channel(1);
    let (mut seen, out) = duplex(1024);
    let (input, _keep) = duplex(1);
    let request = command("echo ready; exec sleep 1000");
    let told = async {
        let mut ready = [0; 6];
        seen.read_exact(&mut ready).await.unwrap();
        tell.send(Control::Terminate).await.unwrap();
    };
    let (exit, ()) = tokio::join!(session.run(&request, input, out, tokio::io::sink(), control), told);
    assert_eq!(exit.unwrap(), Exit::Signal("TERM".into()));
}

#[tokio::test]
async fn openssh_gives_a_terminal_and_resizes_it() {
    let Some((_sshd, stream)) = sshd() else { return };
    let session = connect(stream, login(&me(), USER, HOST)).await.unwrap();
    let terminal = Some(Terminal { kind: "vt100".into(), size: Size { columns: 123, rows: 45 } });
    // The shell reads the second line only after the size has changed.
    let request = Request { command: Some("echo $TERM; stty size; read line; stty size; exit 3".into()), terminal };
    let (tell, control) = mpsc::channel(1);
    let (mut seen, out) = duplex(1024);
    let (mut typed, input) = duplex(64);
    let talk = async {
        let mut text = String::new();
        while !text.contains("45 123\r\n") {
            text.push(seen.read_u8().await.unwrap().into());
        }
        assert!(text.contains("vt100\r\n"), "{text}");
        tell.send(Control::Resize(Size { columns: 80, rows: 24 })).await.unwrap();
        // Requests and input of a channel stay in order once sent; the permit is returned when the loop has taken the first one.
        let _taken = tell.reserve().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut typed, b"\r").await.unwrap();
        let mut rest = String::new();
        seen.read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("24 80\r\n"), "{rest}");
    };
    let (exit, ()) = tokio::join!(session.run(&request, input, out, tokio::io::sink(), control), talk);
    assert_eq!(exit.unwrap(), Exit::Code(3));
}
