//! Plays on machines outside a lab: an Ansible inventory, the controller, SSH.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use labctl_lab::event::Each;
use labctl_lab::home::Home;
use labctl_lab::{Failure, Kind};
use labctl_provision::{Book, Connection, EventFn, Inventory, ListedTask, Options, Recap, Setup, Target};
use tokio_util::sync::CancellationToken;

use super::artifacts::StoredArtifacts;
use super::channel::Channel;
use super::remote::Remote;
use super::{failure, idle, machines};
use crate::images;

/// Playbooks and the machines that they act on.
pub struct Play {
    /// Playbooks, run one after the other.
    pub files: Vec<PathBuf>,
    /// Inventories: files, folders, or host names with a comma. If empty, only the controller is known.
    pub inventory: Vec<String>,
    /// The login user where neither inventory nor play names one.
    pub user: Option<String>,
    /// The private key where the inventory names none.
    pub private_key: Option<PathBuf>,
    /// Options of the run.
    pub options: Options,
}

impl Play {
    fn inventory(&self) -> Result<Inventory, Failure> {
        Inventory::from_sources(&self.inventory).map_err(|fault| Failure::new(Kind::Input, fault.to_string()))
    }

    fn books(&self) -> Vec<Book> {
        self.files.iter().cloned().map(Book::File).collect()
    }

    /// Every machine of an inventory is reached through SSH.
    fn reach(&self) -> impl Fn(&Connection) -> Option<Arc<dyn Target>> + Send + Sync + 'static {
        let (user, key) = (self.user.clone(), self.private_key.clone());
        move |connection| {
            let mut connection = connection.clone();
            connection.user = connection.user.or_else(|| user.clone());
            connection.key = connection.key.or_else(|| key.clone());
            Some(Arc::new(Channel::new(Remote::new(connection))))
        }
    }

    /// Roles are looked up beside the playbook, which the engine does, and where Ansible looks by default.
    fn options(&self) -> Options {
        let beside = |file: &PathBuf| file.parent().unwrap_or(Path::new(".")).join("../roles");
        let mut role_paths: Vec<PathBuf> = self.files.iter().map(beside).collect();
        match std::env::var("ANSIBLE_ROLES_PATH") {
            Ok(paths) => role_paths.extend(std::env::split_paths(&paths)),
            Err(_) => {
                role_paths.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ansible/roles")));
                role_paths.extend(["/usr/share/ansible/roles", "/etc/ansible/roles"].map(PathBuf::from));
            }
        }
        Options { role_paths, ..self.options.clone() }
    }
}

/// The tasks that would run.
pub fn list_play(play: &Play) -> Result<Vec<ListedTask>, Failure> {
    labctl_provision::list_tasks(&play.books(), idle(play.inventory()?), play.options()).map_err(|why| failure(&why))
}

/// The plays that would run, by name, and their hosts.
pub fn list_play_hosts(play: &Play) -> Result<Vec<(String, Vec<String>)>, Failure> {
    labctl_provision::list_hosts(&play.books(), idle(play.inventory()?), play.options()).map_err(|why| failure(&why))
}

/// Runs plays; `each` receives events about artifacts meanwhile. Failed tasks are not a failure of this call: the recap counts them.
pub async fn play(home: &Home, play: &Play, events: EventFn, cancel: CancellationToken, each: Each<'_>) -> Result<Recap, Failure> {
    let (notes, mut noted) = tokio::sync::mpsc::unbounded_channel();
    let setup = Setup {
        inventory: play.inventory()?,
        targets: machines::machines(home, Box::new(play.reach())),
        artifacts: Some(Arc::new(StoredArtifacts::new(images::store(home)?, notes))),
        events,
        cancel,
    };
    let books = play.books();
    let running = labctl_provision::run(&books, setup, play.options());
    tokio::pin!(running);
    loop {
        tokio::select! {
            recap = &mut running => return recap.map_err(|why| failure(&why)),
            Some(event) = noted.recv() => each(event),
        }
    }
}
