//! QEMU's control protocol (docs/interop/qmp-spec.rst): JSON lines on a unix socket.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::MachineError;

/// Events that a slow listener may lag behind; older ones are dropped for it.
const EVENTS: usize = 64;

type Answer = oneshot::Sender<Result<Value, MachineError>>;

/// An open QMP connection; cheap to clone. One task owns the socket and answers commands in order.
#[derive(Debug, Clone)]
pub struct Qmp {
    commands: mpsc::Sender<(String, Value, Answer)>,
    events: broadcast::Sender<Value>,
}

impl Qmp {
    /// Connects and leaves negotiation mode. Also gives the process id of the QEMU that listens (`SO_PEERCRED`).
    pub async fn connect(socket: &Path) -> Result<(Self, Option<i32>), MachineError> {
        let stream = UnixStream::connect(socket).await.map_err(MachineError::io(format!("connect to {}", socket.display())))?;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let (read, write) = stream.into_split();
        let mut connection = Connection { read: BufReader::new(read), write, events: broadcast::channel(EVENTS).0 };
        connection.line().await?;
        connection.execute("qmp_capabilities", Value::Null).await?;
        // One command at a time is under way; a few may queue.
        let (commands, mut queue) = mpsc::channel::<(String, Value, Answer)>(8);
        let events = connection.events.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    next = queue.recv() => {
                        let Some((command, arguments, answer)) = next else { return };
                        let result = connection.execute(&command, arguments).await;
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
        Ok((Self { commands, events }, pid))
    }

    /// Runs a command; `arguments` is an object or null.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, MachineError> {
        let (answer, result) = oneshot::channel();
        let gone = || MachineError::Disconnected(format!("`{command}` was not answered"));
        self.commands.send((command.to_owned(), arguments, answer)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Asynchronous events from now on, such as `{"event": "SHUTDOWN", ...}`. The channel closes with the connection.
    pub fn events(&self) -> broadcast::Receiver<Value> {
        self.events.subscribe()
    }

    /// Waits until the connection is closed.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }
}

struct Connection {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    events: broadcast::Sender<Value>,
}

impl Connection {
    /// The next message. Safe to drop while it waits only between messages; `read_until` keeps what it has read.
    async fn line(&mut self) -> Result<Value, MachineError> {
        let broken = |why: String| MachineError::Disconnected(why);
        let mut line = String::new();
        let length = self.read.read_line(&mut line).await.map_err(|why| broken(why.to_string()))?;
        if length == 0 {
            return Err(broken("QEMU closed it".into()));
        }
        serde_json::from_str(&line).map_err(|why| broken(why.to_string()))
    }

    fn publish(&self, message: Value) {
        if message.get("event").is_some() {
            // Nobody may be listening.
            let _ = self.events.send(message);
        }
    }

    async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, MachineError> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let line = format!("{request}\n");
        self.write.write_all(line.as_bytes()).await.map_err(|why| MachineError::Disconnected(why.to_string()))?;
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
