//! The client side of the supervisor's socket, used by commands.

mod recall;
mod start;

use std::sync::Arc;
use std::time::Duration;

use labctl_guest::{Agent, Link};
use labctl_spec::ident::{LabName, NodeName};
use labctl_spec::network::{EdgeCounters, HeldFrames};
use labctl_wire::{Unframer, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::control::{Answer, Call, LabStatus};
use crate::event::{Each, Event};
use crate::home::LabHome;
use crate::{Failure, Kind};

pub use recall::RECALL;

/// What a new supervisor writes to its standard output once it listens.
pub const READY: &str = "ready";

/// What it writes if the lab already has a supervisor, which may be shutting down. Anything else says why it cannot start.
pub const TAKEN: &str = "taken";

/// A lab's supervisor. Each call uses its own connection.
#[derive(Debug, Clone)]
pub struct Supervisor {
    home: LabHome,
    /// While this connection is open, a supervisor without machines does not exit.
    _stay: Arc<Connection>,
}

/// A connection that answers a call.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    unframer: Unframer,
    waiting: std::collections::VecDeque<Answer>,
}

impl Supervisor {
    /// The running supervisor of this labctl build; none if there is none or it is from a different build.
    pub async fn running(home: &LabHome) -> Option<Self> {
        home.reach().ok()?;
        match Self::connected(home).await {
            None if recall::recall(home).await => Self::connected(home).await,
            found => found,
        }
    }

    async fn connected(home: &LabHome) -> Option<Self> {
        let mut stay = Connection::with(home, &Call::Stay).await.ok()?;
        // Connecting is not enough: a supervisor that is shutting down still listens but never answers.
        matches!(stay.answer().await, Ok(Answer::Done)).then(|| Self { home: home.clone(), _stay: Arc::new(stay) })
    }

    /// The running supervisor, or a new one. One from a different labctl build is replaced, and `each` gets a note about it. The lab's
    /// record must exist.
    pub async fn ensure(home: &LabHome, lab: &LabName, each: Each<'_>) -> Result<Self, Failure> {
        match Self::running(home).await {
            Some(running) => Ok(running),
            None => start::ensure(home, lab, each).await,
        }
    }

    /// Whether a process is the lab's supervisor, whatever its version, also if it does not listen.
    pub fn exists(home: &LabHome) -> bool {
        recall::Holder::of(home).is_some()
    }

    /// Sends a call.
    pub async fn call(&self, call: &Call) -> Result<Connection, Failure> {
        Connection::with(&self.home, call).await
    }

    /// A call whose answer is `Done`; events go to `each`.
    pub async fn run(&self, call: &Call, mut each: impl FnMut(Event)) -> Result<(), Failure> {
        let mut connection = self.call(call).await?;
        loop {
            match connection.answer().await? {
                Answer::Event(event) => each(event),
                Answer::Done => return Ok(()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// The lab's state.
    pub async fn status(&self) -> Result<LabStatus, Failure> {
        match self.call(&Call::Status).await?.answer().await? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// The lab's state now and after every change, and its events: the answers to [`Call::Watch`].
    pub async fn watch(&self) -> Result<Connection, Failure> {
        self.call(&Call::Watch).await
    }

    /// A channel to a node's agent; waits until the agent answers.
    pub async fn agent(&self, node: &NodeName) -> Result<Agent, Failure> {
        let stream = self.open(&Call::Agent { node: node.clone() }).await?;
        let link = Link::over(stream);
        link.up().await?;
        Ok(Agent::new(link))
    }

    /// A TCP connection to a node, over the lab's network.
    pub async fn dial(&self, node: &NodeName, port: u16) -> Result<UnixStream, Failure> {
        self.open(&Call::Dial { node: node.clone(), port }).await
    }

    async fn open(&self, call: &Call) -> Result<UnixStream, Failure> {
        let mut connection = self.call(call).await?;
        // Read byte by byte: the bytes after the answer are not an answer and belong to the user of the stream.
        match connection.next(1).await? {
            Answer::Open => Ok(connection.stream),
            other => Err(unexpected(&other)),
        }
    }

    /// Holds every frame of the lab until the returned hold is released or dropped, for at most `limit`.
    pub async fn hold(&self, limit: Duration) -> Result<Hold, Failure> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut connection = self.call(&Call::Hold { limit_ms }).await?;
        match connection.answer().await? {
            Answer::Done => Ok(Hold(connection)),
            other => Err(unexpected(&other)),
        }
    }

    /// What an impairment of the network has done to frames so far.
    pub async fn impaired(&self, id: &str) -> Result<EdgeCounters, Failure> {
        match self.call(&Call::Impaired { id: id.to_owned() }).await?.answer().await? {
            Answer::Impaired(frames) => Ok(frames),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops the supervisor but not the machines; returns once it has exited.
    pub async fn leave(&self) -> Result<(), Failure> {
        let mut connection = self.call(&Call::Leave).await?;
        match connection.answer().await? {
            Answer::Done => {}
            other => return Err(unexpected(&other)),
        }
        // Until it exits it still listens, but answers nothing.
        while connection.answer().await.is_ok() {}
        Ok(())
    }
}

/// A held network. The supervisor releases it when the connection closes, for whatever reason.
pub struct Hold(Connection);

impl Hold {
    /// Releases the frames.
    pub async fn release(mut self) -> Result<HeldFrames, Failure> {
        self.0.stream.write_all(&frame(&Call::Release)).await.map_err(|_| gone())?;
        match self.0.answer().await? {
            Answer::Held(held) => Ok(held),
            other => Err(unexpected(&other)),
        }
    }
}

impl Connection {
    /// Connects and sends a call.
    async fn with(home: &LabHome, call: &Call) -> Result<Self, Failure> {
        let mut stream = UnixStream::connect(home.supervisor_socket()).await.map_err(|_| gone())?;
        stream.write_all(&frame(call)).await.map_err(|_| gone())?;
        Ok(Self { stream, unframer: Unframer::new(), waiting: Default::default() })
    }

    /// The next answer; a failure of the call is an error.
    pub async fn answer(&mut self) -> Result<Answer, Failure> {
        self.next(64 << 10).await
    }

    /// The same, reading at most `most` bytes from the stream at a time.
    async fn next(&mut self, most: usize) -> Result<Answer, Failure> {
        let mut buffer = vec![0; most];
        loop {
            match self.waiting.pop_front() {
                Some(Answer::Failed(failure)) => return Err(failure),
                Some(answer) => return Ok(answer),
                None => {}
            }
            let length = self.stream.read(&mut buffer).await.map_err(|_| gone())?;
            if length == 0 {
                return Err(gone());
            }
            let mut broken = None;
            self.unframer.feed(&buffer[..length], |packet| match packet {
                Ok(answer) => self.waiting.push_back(answer),
                Err(why) => broken = Some(why),
            });
            if let Some(why) = broken {
                return Err(Failure::new(Kind::Internal, format!("cannot read the supervisor's answer: {why}")));
            }
        }
    }
}

fn gone() -> Failure {
    Failure::new(Kind::Conflict, "the lab's supervisor exited").hint("repeat the command; it starts a new one")
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::new(Kind::Internal, format!("unexpected answer from the supervisor: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::home::Home;

    const BANNER: &[u8] = b"SSH-2.0-x\r\n\0";

    /// Data from a server that speaks first, such as SSH, may arrive together with the answer.
    #[tokio::test]
    async fn what_follows_an_open_answer_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap().lab(&"x".parse().unwrap());
        home.make().unwrap();
        let listener = UnixListener::bind(home.supervisor_socket()).unwrap();
        tokio::spawn(async move {
            let (mut stay, _) = listener.accept().await.unwrap();
            stay.write_all(&frame(&Answer::Done)).await.unwrap();
            let (mut dialled, _) = listener.accept().await.unwrap();
            dialled.write_all(&[frame(&Answer::Open), BANNER.to_vec()].concat()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let supervisor = Supervisor::running(&home).await.unwrap();
        let mut stream = supervisor.dial(&"a".parse().unwrap(), 22).await.unwrap();
        let mut said = [0; BANNER.len()];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, BANNER);
    }
}
