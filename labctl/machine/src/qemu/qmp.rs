//! QEMU's control protocol (docs/interop/qmp-spec.rst): JSON lines on a unix socket.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::pulse::{Hang, Limits, Sign, sign, while_alive};
use crate::MachineError;

/// Number of events that a slow listener may lag behind; it misses older ones.
const EVENTS: usize = 64;

/// A queued command.
#[derive(Debug)]
struct Order {
    command: String,
    arguments: Value,
    /// A file to pass along with it.
    file: Option<OwnedFd>,
    answer: oneshot::Sender<Result<Value, MachineError>>,
}

/// An open QMP connection; cheap to clone. One task owns the socket and answers commands in order.
#[derive(Debug, Clone)]
pub struct Qmp {
    commands: mpsc::Sender<Order>,
    /// Weak, so that the channel closes when the connection does.
    events: broadcast::WeakSender<Value>,
    /// The QEMU that listens, if the system tells.
    pid: Option<i32>,
    /// How long a command may take.
    limits: Limits,
}

impl Qmp {
    /// Connects and leaves negotiation mode.
    pub async fn connect(socket: &Path) -> Result<Self, MachineError> {
        let stream = UnixStream::connect(socket).await.map_err(MachineError::io(format!("connect to {}", socket.display())))?;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let (read, write) = stream.into_split();
        let mut connection = Connection { read: BufReader::new(read), begun: Vec::new(), write, events: broadcast::channel(EVENTS).0 };
        let greeted = async {
            connection.line().await?;
            connection.execute("qmp_capabilities", Value::Null, None).await
        };
        while_alive(greeted, Limits::GREETING, || seen(pid)).await.map_err(|hang| hangs("qmp_capabilities", pid, hang))??;
        // One command is executed at a time; a few may queue.
        let (commands, mut queue) = mpsc::channel::<Order>(8);
        let events = connection.events.downgrade();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    next = queue.recv() => {
                        let Some(Order { command, arguments, file, answer }) = next else { return };
                        // Given up while it was queued. It must not be carried out long after that.
                        if answer.is_closed() { continue }
                        let result = connection.execute(&command, arguments, file).await;
                        let broken = matches!(result, Err(MachineError::Disconnected(_)));
                        let _ = answer.send(result);
                        if broken { return }
                    }
                    line = connection.line() => match line {
                        Ok(line) => connection.publish(line),
                        Err(_) => return,
                    },
                }
            }
        });
        Ok(Self { commands, events, pid, limits: Limits::COMMAND })
    }

    /// The process id of the QEMU that listens (`SO_PEERCRED`).
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Runs a command; `arguments` is an object or null. Fails with [`MachineError::Hangs`] if QEMU does not answer, such as one that is
    /// stopped; it may then carry out the command later.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, MachineError> {
        self.order(command, arguments, None).await
    }

    /// Passes an open file to QEMU, which then knows it as `name` (`getfd`).
    pub async fn pass(&self, name: &str, file: OwnedFd) -> Result<(), MachineError> {
        self.order("getfd", json!({ "fdname": name }), Some(file)).await.map(drop)
    }

    async fn order(&self, command: &str, arguments: Value, file: Option<OwnedFd>) -> Result<Value, MachineError> {
        let (answer, result) = oneshot::channel();
        let gone = || MachineError::Disconnected(format!("no response to `{command}`"));
        let order = Order { command: command.to_owned(), arguments, file, answer };
        let answered = async {
            self.commands.send(order).await.map_err(|_| gone())?;
            result.await.map_err(|_| gone())?
        };
        while_alive(answered, self.limits, || seen(self.pid)).await.map_err(|hang| hangs(command, self.pid, hang))?
    }

    /// Asynchronous events from now on, such as `{"event": "SHUTDOWN", ...}`. The channel closes with the connection.
    pub fn events(&self) -> broadcast::Receiver<Value> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// Waits until the connection is closed.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }
}

/// What is seen of the main thread, which answers.
fn seen(pid: Option<i32>) -> Sign {
    pid.map_or(Sign::Unseen, |pid| sign(pid, &[pid]))
}

pub fn hangs(command: &str, pid: Option<i32>, hang: Hang) -> MachineError {
    let remedy = match (hang, pid) {
        (Hang::Stopped, Some(pid)) => format!("; `kill -CONT {pid}` lets it go on"),
        _ => String::new(),
    };
    MachineError::Hangs { command: command.to_owned(), why: format!("{hang}{remedy}") }
}

struct Connection {
    read: BufReader<OwnedReadHalf>,
    /// The part of a message received so far.
    begun: Vec<u8>,
    write: OwnedWriteHalf,
    events: broadcast::Sender<Value>,
}

impl Connection {
    /// The next message. Cancel-safe: what has been received so far is kept.
    async fn line(&mut self) -> Result<Value, MachineError> {
        let broken = |why: String| MachineError::Disconnected(why);
        let length = self.read.read_until(b'\n', &mut self.begun).await.map_err(|why| broken(why.to_string()))?;
        if length == 0 {
            return Err(broken("QEMU closed it".into()));
        }
        let line = std::mem::take(&mut self.begun);
        serde_json::from_slice(&line).map_err(|why| broken(why.to_string()))
    }

    fn publish(&self, message: Value) {
        if message.get("event").is_some() {
            // There may be no listeners.
            let _ = self.events.send(message);
        }
    }

    /// Writes a line; `file` is sent with its first byte (unix(7), `SCM_RIGHTS`).
    async fn write(&mut self, line: &[u8], file: Option<OwnedFd>) -> std::io::Result<()> {
        let Some(file) = file else { return self.write.write_all(line).await };
        let (first, rest) = line.split_at(1);
        let stream: &UnixStream = self.write.as_ref();
        let send = || {
            let descriptors = [file.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut along = SendAncillaryBuffer::new(&mut space);
            along.push(SendAncillaryMessage::ScmRights(&descriptors));
            sendmsg(stream, &[IoSlice::new(first)], &mut along, SendFlags::empty()).map_err(Into::into)
        };
        stream.async_io(Interest::WRITABLE, send).await?;
        self.write.write_all(rest).await
    }

    async fn execute(&mut self, command: &str, arguments: Value, file: Option<OwnedFd>) -> Result<Value, MachineError> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let line = format!("{request}\n");
        self.write(line.as_bytes(), file).await.map_err(|why| MachineError::Disconnected(why.to_string()))?;
        loop {
            let mut message = self.line().await?;
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                let why = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(MachineError::Refused { command: command.to_owned(), why });
            }
            self.publish(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    /// Code that waits for an event must find out that no more will come.
    #[tokio::test]
    async fn events_end_with_the_connection() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let qemu = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            let mut lines = BufReader::new(stream);
            lines.read_line(&mut String::new()).await.unwrap();
            lines.get_mut().write_all(b"{\"return\": {}}\n{\"event\": \"STOP\"}\n").await.unwrap();
            lines.read_line(&mut String::new()).await.unwrap();
        });
        let qmp = Qmp::connect(&socket).await.unwrap();
        let mut events = qmp.events();
        let asked = qmp.execute("quit", Value::Null).await;
        assert!(matches!(asked, Err(MachineError::Disconnected(_))), "{asked:?}");
        qemu.await.unwrap();
        loop {
            match events.recv().await {
                Ok(event) => assert_eq!(event["event"], "STOP"),
                Err(why) => {
                    assert_eq!(why, RecvError::Closed);
                    break;
                }
            }
        }
        assert_eq!(qmp.events().recv().await, Err(RecvError::Closed));
    }

    /// A QEMU that is stopped in the middle of a command, and one command behind it in the queue.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_stopped_process_is_given_up_and_what_was_queued_is_not_carried_out_later() {
        use std::process::{Command, Stdio};
        use std::time::Duration;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let (go_on, gone_on) = oneshot::channel::<()>();
        let qemu = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            lines.next_line().await.unwrap();
            lines.get_mut().get_mut().write_all(b"{\"return\": {}}\n").await.unwrap();
            let first = lines.next_line().await.unwrap().unwrap();
            gone_on.await.unwrap();
            lines.get_mut().get_mut().write_all(b"{\"return\": 1}\n").await.unwrap();
            let next = lines.next_line().await.unwrap().unwrap();
            lines.get_mut().get_mut().write_all(b"{\"return\": 2}\n").await.unwrap();
            (first, next)
        });
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id() as i32;
        let process = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
        let mut qmp = Qmp::connect(&socket).await.unwrap();
        qmp.pid = Some(pid);
        qmp.limits = Limits { stopped: Duration::from_millis(500), ..Limits::COMMAND };
        let (one, two) = tokio::join!(qmp.execute("one", Value::Null), qmp.execute("two", Value::Null));
        for given_up in [one, two] {
            let said = given_up.unwrap_err().to_string();
            assert!(said.contains("the process is stopped") && said.contains(&format!("`kill -CONT {pid}`")), "{said}");
        }
        go_on.send(()).unwrap();
        assert_eq!(qmp.execute("three", Value::Null).await.unwrap(), 2);
        let (first, next) = qemu.await.unwrap();
        assert!(first.contains("one") && next.contains("three"), "{first} {next}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
