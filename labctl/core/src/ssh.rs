//! SSH for users: a session in this process, or what OpenSSH needs to connect by itself.

mod access;
mod openssh;

use std::io::ErrorKind;
use std::time::Duration;

use labctl_guest::input;
use labctl_guest::ssh::{Login, SshError, connect};
use labctl_lab::client::Supervisor;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

pub use access::{Access, config, config_file};
pub use openssh::replace_by_openssh;

/// Where a node's SSH server listens.
const PORT: u16 = 22;

/// How long to wait for a node's boot to finish before its SSH server must accept.
const BOOTED: Duration = Duration::from_secs(120);

/// A connection to a node's SSH server. The agent answers before that server listens, so a refusal counts only once the boot is over.
pub async fn dial(supervisor: &Supervisor, node: &NodeName) -> Result<UnixStream, Failure> {
    match supervisor.dial(node, PORT).await {
        Err(why) if why.kind == Kind::Machine => {
            let booting = async {
                let agent = supervisor.agent(node).await?;
                // Whatever the result, the second refusal is the answer.
                let _ = agent.await_booted().await;
                Ok::<(), Failure>(())
            };
            // For a guest that does not answer at all, this failure says more than a refusal.
            timeout(BOOTED, booting).await.unwrap_or(Ok(()))?;
            let hint = format!("check whether the SSH server is running: labctl exec {node} -- systemctl status ssh");
            supervisor.dial(node, PORT).await.map_err(|why| why.hint(hint))
        }
        dialled => dialled,
    }
}

/// Logs in as `user` and runs `command` (joined by blanks and interpreted by the node's shell, as ssh(1) does), or a shell if it is empty, on this process's
/// terminal or pipes. Returns the exit code of the command; 128 + the signal's number if a signal killed it.
pub async fn session(stream: UnixStream, record: &Record, node: &NodeName, user: &str, command: &[String]) -> Result<u8, Failure> {
    let kept = record.nodes.get(node).ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no node `{node}`")))?;
    let login = Login { user: user.into(), private_key: record.ssh_key.private.clone(), host_key: kept.host_key.public.clone() };
    let ended = async {
        let session = connect(stream, login).await?;
        let exit = session.attach((!command.is_empty()).then(|| command.join(" "))).await?;
        // The command has exited; a lost goodbye changes nothing.
        let _ = session.disconnect().await;
        Ok(exit.code())
    };
    match ended.await {
        Ok(code) | Err(SshError::Left { code }) => Ok(code),
        // The reader of the output has closed it: the same code as after SIGPIPE (13).
        Err(SshError::Local { why, .. }) if why.kind() == ErrorKind::BrokenPipe => Ok(128 + 13),
        Err(why) => Err(failure(node, &why)),
    }
}

fn failure(node: &NodeName, why: &SshError) -> Failure {
    let failure = Failure::new(Kind::Machine, format!("{node}: {why}"));
    match why {
        SshError::HostKey { .. } => failure.hint(
            "something else answers on this node's port 22, or its host key was changed by hand; `labctl reload` writes the right one",
        ),
        SshError::Refused { user } => failure.hint(format!(
            "the lab's key opens root and the `user` of the lab file; for {user}, the account, its authorized_keys or sshd_config was changed \
             in the guest; `labctl exec {node} -- COMMAND` needs none of them"
        )),
        SshError::Disconnected | SshError::Silent(_) => {
            failure.hint(format!("check whether the SSH server is running: labctl exec {node} -- systemctl status ssh"))
        }
        SshError::Key { .. } => Failure { kind: Kind::Internal, ..failure },
        SshError::Local { .. } => Failure { kind: Kind::Host, ..failure },
        SshError::Request(_) | SshError::Left { .. } | SshError::Protocol(_) => failure,
        // These only apply to machines outside a lab.
        SshError::Unknown { .. } | SshError::Unreachable { .. } | SshError::Proxy(_) | SshError::NotLetIn { .. } | SshError::Push(_) => {
            failure
        }
    }
}

/// Copies standard input to `stream` and `stream` to standard output, until the node closes: for `ProxyCommand`. The end of input is passed
/// on; the node's remaining output is still printed.
pub async fn carry(stream: UnixStream) -> Result<(), Failure> {
    let mut input = input::stdin().map_err(Failure::io("standard input"))?;
    let (mut from, mut to) = stream.into_split();
    let inwards = tokio::spawn(async move {
        let copied = tokio::io::copy(&mut input, &mut to).await;
        // The node may have closed already.
        let _ = to.shutdown().await;
        copied
    });
    let mut output = tokio::io::stdout();
    let copied = tokio::io::copy(&mut from, &mut output).await;
    inwards.abort();
    match copied {
        Err(why) if !matches!(why.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Err(Failure::io("cannot forward the SSH connection")(why))
        }
        _ => Ok(()),
    }
}
