//! Commands in guests, with the caller's own streams.

use std::collections::BTreeMap;
use std::io::Write;

use labctl_guest::agent::credit;
use labctl_guest::{Agent, Exchange, Outbox};
use labctl_spec::ident::NodeName;
use labctl_wire::{Exec, FromAgent, Reply, ToAgent, WINDOW};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use labctl_wire::Stream;

use labctl_lab::client::Supervisor;
use labctl_lab::{Failure, Kind};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Additional environment.
    pub env: BTreeMap<String, String>,
    /// Working directory; the user's home unless given.
    pub cwd: Option<String>,
    /// User; root if empty.
    pub user: String,
    /// Allocate a terminal of the size of ours.
    pub terminal: bool,
    /// Forward our standard input.
    pub stdin: bool,
}

impl Given {
    fn exec(&self) -> Exec {
        let size = self.terminal.then(|| {
            let size = rustix::termios::tcgetwinsize(std::io::stdin());
            size.map_or((80, 24), |size| (size.ws_col, size.ws_row))
        });
        let mut env = self.env.clone();
        if self.terminal {
            env.entry("TERM".to_owned()).or_insert_with(|| std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned()));
        }
        Exec {
            argv: self.argv.clone(),
            env,
            cwd: self.cwd.clone(),
            user: Some(self.user.clone()).filter(|user| !user.is_empty()),
            terminal: size,
            stdin: self.stdin,
            timeout_ms: None,
        }
    }
}

/// Runs a command in one node with our standard streams; returns its exit code. Interrupts are forwarded to it.
pub async fn attached(supervisor: &Supervisor, node: &NodeName, given: Given) -> Result<u8, Failure> {
    let agent = supervisor.agent(node).await?;
    let raw = given.terminal.then(labctl_guest::terminal::RawTerminal::enter).transpose();
    let _raw = raw.map_err(Failure::io("cannot prepare the terminal"))?;
    let mut exchange = agent.exec(given.exec())?;
    let id = exchange.id();
    let (input, granted) = mpsc::unbounded_channel();
    if given.stdin {
        // Not tokio's own, which would wait for one more key after the command has exited.
        let stdin = labctl_guest::input::stdin().map_err(Failure::io("standard input"))?;
        tokio::spawn(feed(id, exchange.outbox(), granted, stdin));
    }
    let mut interrupts = signal(SignalKind::interrupt()).map_err(Failure::io("cannot watch for interrupts"))?;
    let mut resizes = signal(SignalKind::window_change()).map_err(Failure::io("cannot watch the terminal"))?;
    loop {
        let message = tokio::select! {
            message = exchange.next() => message?,
            _ = interrupts.recv() => {
                exchange.send(ToAgent::Signal { id, signal: 2 })?;
                continue;
            }
            _ = resizes.recv(), if given.terminal => {
                if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdin()) {
                    exchange.send(ToAgent::Resize { id, columns: size.ws_col, rows: size.ws_row })?;
                }
                continue;
            }
        };
        match message {
            FromAgent::Data { stream, bytes, .. } => {
                let written = match stream {
                    Stream::Out => print(&mut std::io::stdout().lock(), &bytes),
                    Stream::Err => print(&mut std::io::stderr().lock(), &bytes),
                };
                if written.is_err() {
                    // Our reader has closed the pipe; stop the command too.
                    return Ok(141);
                }
                exchange.send(credit(id, bytes.len()))?;
            }
            FromAgent::Credit { bytes, .. } => {
                // The feeder may have finished already.
                let _ = input.send(bytes as usize);
            }
            FromAgent::Done { result, .. } => return exit_code(node, result),
            FromAgent::Ready { .. } => {}
        }
    }
}

fn print(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

fn exit_code(node: &NodeName, result: Result<Reply, labctl_wire::AgentError>) -> Result<u8, Failure> {
    match result {
        Ok(Reply::Exited { code, .. }) => Ok(u8::try_from(code).unwrap_or(255)),
        Ok(other) => Err(Failure::new(Kind::Internal, format!("{node}: unexpected answer: {other:?}"))),
        Err(why) => Err(Failure::new(Kind::Machine, format!("{node}: {why}"))),
    }
}

/// Forwards standard input, within the window.
async fn feed(id: u64, to: Outbox, mut granted: mpsc::UnboundedReceiver<usize>, mut stdin: UnixStream) {
    let mut buffer = vec![0; labctl_wire::CHUNK];
    let mut window = WINDOW;
    loop {
        while window < buffer.len() {
            match granted.recv().await {
                Some(bytes) => window += bytes,
                None => return,
            }
        }
        let length = stdin.read(&mut buffer).await.unwrap_or(0);
        window -= length;
        let message = match length {
            0 => ToAgent::End { id },
            _ => ToAgent::Data { id, bytes: buffer[..length].to_vec().into() },
        };
        if to.send(message).is_err() || length == 0 {
            return;
        }
    }
}

/// Runs a command in several nodes at once; `print` gets each line. Returns the highest exit code.
pub async fn on_all(
    supervisor: &Supervisor,
    nodes: &[NodeName],
    given: &Given,
    print: &(dyn Fn(&NodeName, Stream, &[u8]) + Send + Sync),
) -> Result<u8, Failure> {
    let (lines, mut printed) = mpsc::channel::<(NodeName, Stream, Vec<u8>)>(64);
    let mut runs = JoinSet::new();
    for node in nodes {
        let node = node.clone();
        let (supervisor, lines, exec) =
            (supervisor.clone(), lines.clone(), Given { terminal: false, stdin: false, ..given.clone() }.exec());
        runs.spawn(async move { by_line(&supervisor.agent(&node).await?, &node, exec, lines).await });
    }
    drop(lines);
    while let Some((node, stream, line)) = printed.recv().await {
        print(&node, stream, &line);
    }
    let (mut highest, mut failures) = (0, Vec::new());
    while let Some(run) = runs.join_next().await {
        match run {
            Ok(Ok(code)) => highest = highest.max(code),
            Ok(Err(why)) => failures.push(why.message),
            Err(why) => failures.push(why.to_string()),
        }
    }
    if failures.is_empty() { Ok(highest) } else { Err(Failure::new(Kind::Machine, failures.join("\n"))) }
}

async fn by_line(agent: &Agent, node: &NodeName, exec: Exec, lines: mpsc::Sender<(NodeName, Stream, Vec<u8>)>) -> Result<u8, Failure> {
    let mut exchange: Exchange = agent.exec(exec)?;
    let mut rest: [Vec<u8>; 2] = Default::default();
    loop {
        match exchange.next().await? {
            FromAgent::Data { id, stream, bytes } => {
                let kept = &mut rest[usize::from(stream == Stream::Err)];
                kept.extend_from_slice(&bytes);
                while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
                    let line = kept.drain(..=end).collect::<Vec<_>>();
                    // A closed printer only means that nobody reads the output.
                    let _ = lines.send((node.clone(), stream, line[..end].to_vec())).await;
                }
                exchange.send(credit(id, bytes.len()))?;
            }
            FromAgent::Done { result, .. } => {
                for (stream, line) in [Stream::Out, Stream::Err].into_iter().zip(rest).filter(|(_, line)| !line.is_empty()) {
                    let _ = lines.send((node.clone(), stream, line)).await;
                }
                return exit_code(node, result);
            }
            FromAgent::Credit { .. } | FromAgent::Ready { .. } => {}
        }
    }
}
