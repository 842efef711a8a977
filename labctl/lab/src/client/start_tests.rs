//! This test program, started a second time, acts as another version's supervisor.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use super::*;
use crate::control::Answer;
use crate::home::Home;

/// What the fake supervisor does, and where it listens.
const ROLE: &str = "LABCTL_TEST_SUPERVISOR";

/// Not a test: the fake supervisor. `obedient` exits when a call arrives, `deaf` accepts connections but reads nothing.
#[test]
#[ignore = "started by other tests"]
fn played() {
    let Some((how, socket)) = std::env::var(ROLE).ok().and_then(|role| role.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
    else {
        return;
    };
    let listener = UnixListener::bind(socket).unwrap();
    // On standard error, because the test harness uses standard output itself.
    std::io::stderr().write_all(b"ready\n").unwrap();
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        if how == "obedient" && stream.read(&mut [0; 64]).unwrap() > 0 {
            std::process::exit(0);
        }
        kept.push(stream);
    }
}

/// Killed when the test is over, whatever its result.
struct Played(Child);

impl Drop for Played {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn play(how: &str, home: &LabHome, arguments: &[&str]) -> Played {
    let socket = home.sockets().join("supervisor-0ld");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "client::start::tests::played"]).args(arguments);
    command.env(ROLE, format!("{how} {}", socket.display())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = [0; 6];
    child.stderr.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    Played(child)
}

fn lab(scratch: &Path) -> (LabHome, LabName) {
    let name: LabName = "tiny".parse().unwrap();
    let home = Home::at(&scratch.join("data"), &scratch.join("run")).unwrap().lab(&name);
    home.make().unwrap();
    (home, name)
}

async fn replace(home: &LabHome, lab: &LabName) -> Result<Vec<Event>, Failure> {
    let said = Mutex::new(Vec::new());
    replace_foreign(home, lab, &|event| said.lock().unwrap().push(event)).await?;
    Ok(said.into_inner().unwrap())
}

#[tokio::test]
async fn a_foreign_supervisor_is_asked_to_end() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, name) = lab(scratch.path());
    let mut played = play("obedient", &home, &[]);
    let said = replace(&home, &name).await.unwrap();
    assert!(matches!(&said[..], [Event::Note { text }] if text.contains("asked to exit")), "{said:?}");
    assert!(played.0.wait().unwrap().success());
    assert_eq!(replace(&home, &name).await.unwrap(), [], "what nobody listens on is no supervisor");
}

#[tokio::test]
async fn a_deaf_one_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, name) = lab(scratch.path());
    let mut played = play("deaf", &home, &["supervisor", "tiny"]);
    let said = replace(&home, &name).await.unwrap();
    assert!(matches!(&said[..], [Event::Note { text }] if text.contains("killed")), "{said:?}");
    assert!(!played.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_process_that_is_no_supervisor_of_the_lab_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, name) = lab(scratch.path());
    let mut played = play("deaf", &home, &["supervisor", "other"]);
    let why = replace(&home, &name).await.unwrap_err();
    assert_eq!(why.kind, Kind::Conflict);
    assert!(why.message.contains(&played.0.id().to_string()), "{why}");
    assert_eq!(played.0.try_wait().unwrap(), None);
}

#[tokio::test]
async fn a_supervisor_is_not_taken_from_a_command_at_work() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, name) = lab(scratch.path());
    let mut played = play("obedient", &home, &[]);
    // A command in our own process does not count as another.
    let own = Work::begin(&home, &|_| {}).await.unwrap();
    assert_eq!(Work::of_another(&home).unwrap(), None);
    // The lock is held; the number in the file shows whether another process holds it.
    fs::write(home.work_lock(), "1\n").unwrap();
    let why = replace(&home, &name).await.unwrap_err();
    assert!(why.message.contains("pid 1"), "{why}");
    assert_eq!(played.0.try_wait().unwrap(), None);
    drop(own);
    assert_eq!(replace(&home, &name).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_supervisor_of_this_build_is_not_foreign() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, name) = lab(scratch.path());
    let listener = tokio::net::UnixListener::bind(home.supervisor_socket()).unwrap();
    let (found, ()) = tokio::join!(Supervisor::running(&home), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await.unwrap() > 0);
        stream.write_all(&frame(&Answer::Done)).await.unwrap();
    });
    assert!(found.is_some());
    assert_eq!(replace(&home, &name).await.unwrap(), []);
}

#[tokio::test]
async fn one_that_is_just_ending_is_none() {
    let scratch = tempfile::tempdir().unwrap();
    let (home, _) = lab(scratch.path());
    let listener = tokio::net::UnixListener::bind(home.supervisor_socket()).unwrap();
    // Still in the queue when the listener is closed.
    let (found, ()) = tokio::join!(Supervisor::running(&home), async {
        tokio::task::yield_now().await;
        drop(listener);
    });
    assert!(found.is_none());
    // Accepted from the queue, but never served.
    fs::remove_file(home.supervisor_socket()).unwrap();
    let listener = tokio::net::UnixListener::bind(home.supervisor_socket()).unwrap();
    let (found, ()) = tokio::join!(Supervisor::running(&home), async { drop(listener.accept().await.unwrap()) });
    assert!(found.is_none());
}
