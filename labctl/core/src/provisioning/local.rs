//! The controller itself as a machine: the guests' agent as a child of this process, on a socket pair.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_guest::{AGENT_PROGRAM, AGENT_SHA256, Agent, Link};
use labctl_lab::home::Home;
use labctl_provision::TargetError;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::channel::{Open, Opened};

/// How long the agent may take to answer: it runs on this machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens channels to an agent on the controller. It inherits this process's working folder and environment, as with Ansible's local
/// connection.
pub struct Controller {
    folder: PathBuf,
    root: bool,
}

impl Controller {
    /// An agent as this user, or as root through `sudo -n`.
    pub fn new(home: &Home, root: bool) -> Self {
        Self { folder: home.agent(), root: root && !rustix::process::geteuid().is_root() }
    }

    async fn start(&self) -> Result<Opened, String> {
        let program =
            program(&self.folder).map_err(|why| format!("cannot write the agent's program into {}: {why}", self.folder.display()))?;
        let io = |what: &'static str| move |why: std::io::Error| format!("cannot {what}: {why}");
        // Root's files must not get in the user's way.
        let state = self.folder.join(if self.root { "state-root" } else { "state" });
        let log_path = self.folder.join(if self.root { "agent-root.log" } else { "agent.log" });
        let log = File::create(&log_path).map_err(io("write the agent's log"))?;
        let (near, far) = StdStream::pair().map_err(io("make a socket pair"))?;
        near.set_nonblocking(true).map_err(io("make a socket pair"))?;
        let variables = [(labctl_wire::STATE_VARIABLE, state.display().to_string()), (labctl_wire::INHERIT_VARIABLE, "1".to_owned())];
        let mut command = match self.root {
            false => Command::new(&program),
            true => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "env"]).args(variables.iter().map(|(name, value)| format!("{name}={value}"))).arg(&program);
                sudo
            }
        };
        command.arg("stdio").envs(variables);
        let output = far.try_clone().map_err(io("make a socket pair"))?;
        command.stdin(Stdio::from(OwnedFd::from(far))).stdout(Stdio::from(OwnedFd::from(output))).stderr(Stdio::from(log));
        // Ctrl-C is for labctl, which stops between two tasks.
        command.process_group(0);
        let child = command.spawn().map_err(io("start the agent"))?;
        drop(command);
        let link = Link::over(UnixStream::from_std(near).map_err(io("make a socket pair"))?);
        let answered = link.up_within(PATIENCE).await;
        tokio::spawn(reap(child));
        answered.map_err(|why| {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            let hint = if self.root { "; tasks with `become` need passwordless sudo on this host, or labctl started as root" } else { "" };
            format!("the agent on the controller does not answer: {why}{}{}{hint}", if said.is_empty() { "" } else { ": " }, said.trim())
        })?;
        Ok(Opened { agent: Agent::new(link), state: state.display().to_string() })
    }
}

/// The child exits when its stream closes; it only has to be reaped.
async fn reap(mut child: Child) {
    let _ = child.wait().await;
}

/// The agent's program as a file, named by its content.
fn program(folder: &Path) -> std::io::Result<PathBuf> {
    let path = folder.join(format!("agent-{}", &AGENT_SHA256[..16]));
    if fs::metadata(&path).is_ok_and(|meta| meta.len() == AGENT_PROGRAM.len() as u64) {
        return Ok(path);
    }
    let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempfile_in(folder)?;
    std::io::Write::write_all(&mut file, AGENT_PROGRAM)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|why| why.error)?;
    Ok(path)
}

impl Open for Controller {
    fn name(&self) -> String {
        "localhost".to_owned()
    }

    fn open(&self) -> BoxFuture<'_, Result<Opened, TargetError>> {
        Box::pin(async move { self.start().await.map_err(TargetError::Failed) })
    }

    fn reboots(&self) -> bool {
        false
    }
}
