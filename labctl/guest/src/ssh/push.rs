//! The agent on a machine that is not part of a lab: sent once, named by its content, and started over SSH.
//!
//! ```text
//! ask:   is ~/.cache/labctl/agent-SHA256 there, and is this a machine that can run it?
//! send:  into a temporary name, checked there by sha256sum, renamed
//! start: `agent stdio` with a state folder below /tmp that is removed when the agent exits
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, DuplexStream, duplex, empty};
use tokio::sync::mpsc;

use super::host::Said;
use super::{Exit, Request, Session, SshError};

/// Bytes between the link and the SSH channel.
const BUFFER: usize = 256 << 10;

impl AsyncWrite for Said {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A started agent.
pub struct Started {
    /// Its frames.
    pub stream: DuplexStream,
    /// Its state folder.
    pub state: String,
    /// What it, or the shell before it, writes to standard error.
    said: Said,
}

impl Started {
    /// The standard error output so far, for a message about an agent that does not answer.
    pub fn said(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let said = self.said.clone();
        move || said.text()
    }
}

impl Session {
    /// Runs a line in the user's shell to completion; returns its standard output.
    async fn line(&self, line: String, input: &[u8]) -> Result<String, SshError> {
        let mut out = Vec::new();
        let said = Said::default();
        let (_tell, control) = mpsc::channel(1);
        let request = Request { command: Some(line), terminal: None };
        let exit = match input.is_empty() {
            true => self.run(&request, empty(), &mut out, said.clone(), control).await?,
            false => self.run(&request, input, &mut out, said.clone(), control).await?,
        };
        match exit {
            Exit::Code(0) => Ok(String::from_utf8_lossy(&out).trim().to_owned()),
            other => Err(SshError::Push(format!("exit code {}: {}", other.code(), said.text()))),
        }
    }

    /// Sends `program` unless it is already there, and starts it with the argument `stdio`; as root with `sudo -n` if `root` is set and the
    /// user is not root.
    pub async fn start_agent(self, program: &[u8], root: bool) -> Result<Started, SshError> {
        let digest = hex::encode(Sha256::digest(program));
        let folder = r#""${XDG_CACHE_HOME:-$HOME/.cache}/labctl""#;
        let name = format!("agent-{digest}");
        let size = program.len();
        let asked = format!(
            r#"uname -sm; id -u; f={folder}/{name}; if [ -x "$f" ] && [ "$(wc -c <"$f")" -eq {size} ]; then echo here; else echo missing; fi; echo "$f""#
        );
        let answer = self.line(posix(&asked), b"").await?;
        let mut lines = answer.lines().rev();
        // The last four lines: output of a login script comes before them.
        let (path, there, user, kind) = (lines.next(), lines.next(), lines.next(), lines.next());
        let (Some(path), Some(there), Some(user), Some(kind)) = (path, there, user, kind) else {
            return Err(SshError::Push(format!("its shell gives an unexpected answer: {answer}")));
        };
        let wanted = format!("Linux {}", std::env::consts::ARCH);
        if kind != wanted {
            return Err(SshError::Push(format!("it is {kind}; the agent of this labctl needs {wanted}")));
        }
        if there != "here" {
            let send = format!(
                r#"umask 077; d={folder}; mkdir -p "$d" && t="$d/{name}.$$" && trap 'rm -f "$t"' EXIT && cat >"$t" && echo "{digest}  $t" | sha256sum -c - >/dev/null && chmod 700 "$t" && mv -f "$t" "$d/{name}""#
            );
            self.line(posix(&send), program).await?;
        }
        let state = format!("/tmp/labctl-{}", hex::encode(rand::random::<[u8; 8]>()));
        let run = format!(
            r#"mkdir -m 711 {state} && cd && {variable}={state} {program} stdio; c=$?; rm -rf {state}; exit $c"#,
            variable = labctl_wire::STATE_VARIABLE,
            program = quoted(path),
        );
        let line = match root && user != "0" {
            true => format!("sudo -n {}", posix(&run)),
            false => posix(&run),
        };
        let (near, far) = duplex(BUFFER);
        let (input, output) = tokio::io::split(far);
        let said = Said::default();
        let errors = said.clone();
        tokio::spawn(async move {
            let session = self;
            let (_tell, control) = mpsc::channel(1);
            let request = Request { command: Some(line), terminal: None };
            match session.run(&request, input, output, errors.clone(), control).await {
                Ok(Exit::Code(0)) => {}
                Ok(exit) => errors.add(format!(" (exit code {})", exit.code()).as_bytes()),
                Err(why) => errors.add(format!(" ({why})").as_bytes()),
            }
        });
        Ok(Started { stream: near, state, said })
    }
}

/// Makes a line work in any login shell: sh reads all of it.
fn posix(line: &str) -> String {
    format!("sh -c {}", quoted(line))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
