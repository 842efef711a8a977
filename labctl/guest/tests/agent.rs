//! The real agent, as a process on this host, over its standard streams.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use labctl_guest::{AGENT_PROGRAM, Agent, GuestError, Link, agent, relay};
use labctl_wire::{ErrorKind, Exec, FromAgent, Put, Reply, Request, Stream, ToAgent};
use tempfile::TempDir;
use tokio::process::{Child, Command};

struct Guest {
    agent: Agent,
    folder: TempDir,
    _process: Child,
}

/// The agent's program as a file. Written once, before any test starts a process: a program that is still open for writing anywhere,
/// including in a fork of another test, cannot be run (ETXTBSY, execve(2)).
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("labctl-agent");
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, AGENT_PROGRAM).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    })
}

async fn guest() -> Guest {
    let folder = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut process =
        Command::new(program()).arg("stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().unwrap();
    let stream = tokio::io::join(process.stdout.take().unwrap(), process.stdin.take().unwrap());
    let link = Link::over(stream);
    link.up().await.unwrap();
    Guest { agent: Agent::new(link), folder, _process: process }
}

fn shell(line: &str) -> Exec {
    Exec { argv: ["sh", "-c", line].map(str::to_owned).to_vec(), ..Exec::default() }
}

#[tokio::test]
async fn output_and_exit_code_come_back() {
    let guest = guest().await;
    let output = guest.agent.output(shell("echo out; echo err >&2; exit 3"), 1000).await.unwrap();
    assert_eq!((output.code, &output.stdout[..], &output.stderr[..]), (3, &b"out\n"[..], &b"err\n"[..]));
    let killed = guest.agent.output(shell("kill -9 $$"), 1000).await.unwrap();
    assert_eq!(killed.code, 137);
}

#[tokio::test]
async fn much_output_arrives_whole() {
    let guest = guest().await;
    let output = guest.agent.output(shell("head -c 5000000 /dev/zero"), usize::MAX).await.unwrap();
    assert_eq!(output.stdout.len(), 5_000_000);
}

#[tokio::test]
async fn a_child_that_keeps_the_pipes_open_is_not_waited_for() {
    let guest = guest().await;
    let output = guest.agent.output(shell("sleep 600 & echo $!"), 1000).await.unwrap();
    assert_eq!(output.code, 0);
    let child = String::from_utf8(output.stdout).unwrap();
    let killed = guest.agent.output(shell(&format!("kill {child}")), 1000).await.unwrap();
    assert_eq!(killed.code, 0, "the child was still running");
}

#[tokio::test]
async fn standard_input_is_fed_and_ended() {
    let guest = guest().await;
    let mut exchange = guest.agent.exec(Exec { stdin: true, ..shell("cat; echo end") }).unwrap();
    let id = exchange.id();
    exchange.send(ToAgent::Data { id, bytes: b"hello ".to_vec().into() }).unwrap();
    exchange.send(ToAgent::End { id }).unwrap();
    let mut text = Vec::new();
    loop {
        match exchange.next().await.unwrap() {
            FromAgent::Data { stream: Stream::Out, bytes, .. } => text.extend_from_slice(&bytes),
            FromAgent::Done { result, .. } => {
                assert_eq!(result, Ok(Reply::Exited { code: 0, signal: None }));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(text, b"hello end\n");
}

#[tokio::test]
async fn a_terminal_is_one() {
    let guest = guest().await;
    let exec = Exec { terminal: Some((91, 17)), ..shell("test -t 0 && stty size") };
    let output = guest.agent.output(exec, 1000).await.unwrap();
    assert_eq!((output.code, &output.stdout[..]), (0, &b"17 91\r\n"[..]));
}

#[tokio::test]
async fn a_program_is_stopped_at_its_limit_or_when_nobody_wants_it() {
    let guest = guest().await;
    let late = guest.agent.output(Exec { timeout_ms: Some(50), ..shell("sleep 600") }, 1000).await.unwrap_err();
    assert!(matches!(late, GuestError::Agent(why) if why.kind == ErrorKind::TimedOut));
    let mut exchange = guest.agent.exec(shell("echo $$; exec sleep 600")).unwrap();
    let FromAgent::Data { bytes, .. } = exchange.next().await.unwrap() else { panic!("no output") };
    let pid = String::from_utf8(bytes.into_vec()).unwrap();
    drop(exchange);
    let gone = format!("while kill -0 {} 2>/dev/null; do :; done", pid.trim());
    assert_eq!(guest.agent.output(shell(&gone), 1000).await.unwrap().code, 0);
}

#[tokio::test]
async fn unknown_programs_and_users_are_named() {
    let guest = guest().await;
    let missing = Exec { argv: vec!["/no/such/program".into()], ..Exec::default() };
    let why = guest.agent.output(missing, 0).await.unwrap_err().to_string();
    assert!(why.contains("/no/such/program"), "{why}");
    let stranger = Exec { user: Some("nobody-of-that-name".into()), ..shell("true") };
    let why = guest.agent.output(stranger, 0).await.unwrap_err().to_string();
    assert!(why.contains("nobody-of-that-name"), "{why}");
}

#[tokio::test]
async fn files_go_there_and_back() {
    let guest = guest().await;
    let path = guest.folder.path().join("deep/er/file").to_str().unwrap().to_owned();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7) as u8).collect();
    let put = Put { path: path.clone(), mode: 0o640, size: content.len() as u64, ..Put::default() };
    let sum = guest.agent.put(put, &content[..]).await.unwrap();
    let mut back = Vec::new();
    assert_eq!(guest.agent.get(&path, &mut back).await.unwrap(), (content.len() as u64, 0o640));
    assert!(back == content, "another content came back");
    let twice = Put { path: path.clone(), mode: 0o600, size: 3, sha256: Some(sum), ..Put::default() };
    let why = guest.agent.put(twice, &b"abc"[..]).await.unwrap_err();
    assert!(why.to_string().contains("was announced"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap().len(), content.len(), "a refused file must not replace the old one");
    assert_eq!(std::fs::read_dir(guest.folder.path().join("deep/er")).unwrap().count(), 1, "nothing may be left behind");
}

#[tokio::test]
async fn many_requests_at_once_do_not_wait_for_each_other() {
    let guest = guest().await;
    let mut blocked = guest.agent.exec(shell("head -c 50000000 /dev/zero; echo done")).unwrap();
    blocked.next().await.unwrap();
    for _ in 0..20 {
        guest.agent.ping().await.unwrap();
    }
    drop(blocked);
    guest.agent.ping().await.unwrap();
}

#[tokio::test]
async fn a_relay_is_as_good_as_the_agent() {
    let guest = guest().await;
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let relayed = tokio::spawn(relay::relay(guest.agent.link().clone(), theirs));
    let link = Link::over(ours);
    link.up().await.unwrap();
    let far = Agent::new(link);
    let output = far.output(shell("head -c 3000000 /dev/zero; exit 4"), usize::MAX).await.unwrap();
    assert_eq!((output.code, output.stdout.len()), (4, 3_000_000));
    let mut exchange = far.exec(shell("echo $$; exec sleep 600")).unwrap();
    let FromAgent::Data { bytes, id, .. } = exchange.next().await.unwrap() else { panic!("no output") };
    exchange.send(agent::credit(id, bytes.len())).unwrap();
    let pid = String::from_utf8(bytes.into_vec()).unwrap();
    drop((exchange, far));
    relayed.await.unwrap();
    let gone = format!("while kill -0 {} 2>/dev/null; do :; done", pid.trim());
    assert_eq!(guest.agent.output(shell(&gone), 1000).await.unwrap().code, 0, "the client's program outlived it");
    assert_eq!(guest.agent.ask(Request::Ping).await.unwrap(), Reply::Done);
}

/// A tree goes to the agent, from there to another one, and back.
#[tokio::test]
async fn trees_go_both_ways_and_between_agents() {
    use std::sync::Arc;

    use labctl_guest::tree::{Side, between};
    use labctl_tree::{Passed, Receiver, Rules, walk};
    use labctl_wire::tree::Receive;
    use serde_bytes::ByteBuf;

    let (one, other) = (guest().await, guest().await);
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    std::fs::create_dir_all(from.join("deep/empty")).unwrap();
    // More than both windows hold, in files and in names.
    std::fs::write(from.join("big"), (0..3_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>()).unwrap();
    for number in 0..3000 {
        std::fs::write(from.join(format!("deep/{number:0200}")), number.to_string()).unwrap();
    }
    let path = |guest: &Guest| guest.folder.path().join("to").into_os_string().into_encoded_bytes();
    let request = |guest: &Guest| Receive { path: ByteBuf::from(path(guest)), ..Receive::default() };
    let manifest = Arc::new(walk::all(&from, &Rules::default(), None));
    let (tell, told) = std::sync::mpsc::channel();
    let sent =
        one.agent.send_tree(request(&one), manifest.clone(), None, Box::new(move |passed| tell.send(passed).unwrap())).await.unwrap();
    let bytes = sent.bytes;
    assert_eq!(told.iter().last(), Some(Passed { bytes, total: Some(bytes) }));
    assert_eq!((sent.written, sent.folders, sent.faults), (3001, 3, vec![]));
    let again = one.agent.send_tree(request(&one), manifest, None, Box::new(|_| {})).await.unwrap();
    assert!(!again.changed(), "{again:?}");
    let (here, there) = (&one.agent, &other.agent);
    let (passed, _) = between(here, ByteBuf::from(path(&one)), there, request(&other), Box::new(|_| {})).await.unwrap();
    assert_eq!((passed.written, passed.faults), (3001, vec![]));
    let back = Receiver { path: folder.path().join("back"), ..Receiver::default() };
    let (received, sent) = other.agent.receive_tree(ByteBuf::from(path(&other)), back, Box::new(|_| {})).await.unwrap();
    assert_eq!((received.written, received.faults, sent.faults), (3001, vec![], vec![]));
    assert_eq!(std::fs::read(folder.path().join("back/big")).unwrap(), std::fs::read(from.join("big")).unwrap());
    assert!(folder.path().join("back/deep/empty").is_dir());
    let none = || ByteBuf::from("/dev/null/none");
    let unreadable = between(here, none(), there, request(&other), Box::new(|_| {})).await.unwrap_err();
    let unwritable = between(here, ByteBuf::from(path(&one)), there, Receive { path: none(), ..Receive::default() }, Box::new(|_| {}));
    assert_eq!((unreadable.0, unwritable.await.unwrap_err().0), (Side::From, Side::To));
    let missing = one.agent.receive_tree(ByteBuf::from("/none/there"), Receiver::default(), Box::new(|_| {})).await;
    assert!(matches!(missing, Err(GuestError::Agent(why)) if why.kind == ErrorKind::NotFound));
}
