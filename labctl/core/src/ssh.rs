//! SSH for users: a session in this process, or what OpenSSH needs to connect by itself.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use labctl_guest::input;
use labctl_guest::ssh::{Login, SshError, connect};
use labctl_lab::client::Supervisor;
use labctl_lab::home::LabHome;
use labctl_lab::record::{Record, names};
use labctl_lab::{Failure, Kind, persist};
use labctl_spec::ident::NodeName;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

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

/// Runs `command` (joined by blanks and interpreted by the node's shell, as ssh(1) does), or a shell if it is empty, on this process's
/// terminal or pipes. Returns the exit code of the command; 128 + the signal's number if a signal killed it.
pub async fn session(stream: UnixStream, record: &Record, node: &NodeName, command: &[String]) -> Result<u8, Failure> {
    let kept = record.nodes.get(node).ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no node `{node}`")))?;
    let login = Login { user: "root".into(), private_key: record.ssh_key.private.clone(), host_key: kept.host_key.public.clone() };
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
        SshError::Refused { .. } => failure
            .hint(format!("root's authorized_keys or sshd_config was changed in the guest; `labctl exec {node} -- COMMAND` needs neither")),
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

/// Configuration for ssh(1) and tools that use it, for these nodes (all if none is named). Writes the lab's private key and the pinned host
/// keys beside the lab's record, readable by this user only.
pub fn config(home: &LabHome, record: &Record, nodes: &[NodeName]) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(Failure::io("cannot find labctl's own program"))?;
    let (key, known) = (home.folder().join("id_ed25519"), home.folder().join("known_hosts"));
    persist::write(&key, format!("{}\n", record.ssh_key.private.trim_end()).as_bytes())?;
    persist::write(&known, known_hosts(record).as_bytes())?;
    let mut text = String::new();
    for node in record.lab.nodes.iter().filter(|node| nodes.is_empty() || nodes.contains(&node.name)) {
        text += &format!(
            "Host {}\n  HostName {name}\n  HostKeyAlias {}\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  UpdateHostKeys no\n  ProxyCommand {} --lab {} ssh --proxy {name}\n\n",
            names(node).join(" "),
            alias(record, &node.name),
            quoted(&key)?,
            quoted(&known)?,
            for_shell(&program)?,
            record.lab.name,
            name = node.name,
        );
    }
    Ok(text)
}

/// The name under which a node's key is pinned: nodes of other labs may have the same host names.
fn alias(record: &Record, node: &NodeName) -> String {
    format!("{node}.{}.labctl", record.lab.name)
}

fn known_hosts(record: &Record) -> String {
    let keys = record
        .nodes
        .iter()
        .flat_map(|(name, kept)| std::iter::once(&kept.host_key).chain(&kept.more_host_keys).map(move |key| (name, key)));
    keys.map(|(name, key)| format!("{} {}\n", alias(record, name), key.public.trim_end())).collect()
}

fn unwritable(path: &Path) -> Failure {
    Failure::new(Kind::Host, format!("{}: this path cannot be written in ssh_config", path.display()))
        .hint("set LABCTL_HOME to a folder whose path has no quotes, backslashes, `$` or line breaks")
}

/// Formats a path for ssh_config(5): in quotes, with `%` doubled.
fn quoted(path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\n', '\r', '\\', '$']) => Ok(format!("\"{}\"", text.replace('%', "%%"))),
        _ => Err(unwritable(path)),
    }
}

/// Formats a program for ProxyCommand, which a shell interprets after ssh has replaced `%`.
fn for_shell(path: &Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) if !text.contains(['\n', '\r']) => Ok(format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))),
        _ => Err(unwritable(path)),
    }
}
