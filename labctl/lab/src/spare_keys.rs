//! SSH host keys of the kinds that Debian makes besides Ed25519, made ahead by ssh-keygen: one RSA key takes the processor for as long as
//! several forks do.
//!
//! ```text
//! DATA/spare-keys/ID.json     the further host keys of one node, which nobody has yet
//! ```
//!
//! A set is used once. Commands make what a lab's nodes still need while its images and templates are prepared; supervisors keep some in
//! stock ([`SpareKeys::keep_stock`]), so that the next lab need not wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::Rng;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::home::{Home, make_closed};
use crate::keys::KeyPair;
use crate::{Failure, Kind, persist};

/// The kinds, and their sizes in bits: those of ssh-keygen's option `-A`.
const KINDS: [(&str, &str); 2] = [("rsa", "3072"), ("ecdsa", "256")];

/// How long a supervisor waits before it makes keys in stock: until then, what a command started needs the processor.
const CALM: Duration = Duration::from_secs(60);

/// Smallest and largest number of sets in stock: a lab that is larger than the one before should rarely have to wait.
const STOCK: (usize, usize) = (10, 32);

/// Folders in which keys are made begin with this and the maker's process id.
const WORK: &str = "keys-";

/// Whether someone waits for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// As many at once as there are processors.
    Now,
    /// One by one, with whatever time the processor has left.
    Sometime,
}

/// The keys in stock.
#[derive(Debug, Clone)]
pub struct SpareKeys {
    folder: PathBuf,
    scratch: PathBuf,
}

impl SpareKeys {
    /// Those of this home.
    pub fn of(home: &Home) -> Self {
        Self { folder: home.data().join("spare-keys"), scratch: home.scratch().to_owned() }
    }

    fn sets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }

    /// Makes sets until there are `count`.
    pub async fn provide(&self, count: usize) -> Result<(), Failure> {
        self.fill(count, Haste::Now).await
    }

    /// Keeps as many sets in stock as a lab like this one takes, and a few more, without getting into anyone's way.
    pub async fn keep_stock(&self, nodes: usize) -> Result<(), Failure> {
        tokio::time::sleep(CALM).await;
        self.fill(nodes.clamp(STOCK.0, STOCK.1), Haste::Sometime).await
    }

    async fn fill(&self, count: usize, haste: Haste) -> Result<(), Failure> {
        self.tidy();
        let missing = count.saturating_sub(self.sets().len());
        let at_once = match haste {
            Haste::Now => std::thread::available_parallelism().map_or(1, usize::from),
            Haste::Sometime => 1,
        };
        let mut making = JoinSet::new();
        for _ in 0..missing {
            if making.len() >= at_once
                && let Some(made) = making.join_next().await
            {
                settled(made)?;
            }
            let spares = self.clone();
            making.spawn(async move { spares.make(haste).await });
        }
        while let Some(made) = making.join_next().await {
            settled(made)?;
        }
        Ok(())
    }

    /// Removes the folders of processes that were killed at their work: they may hold private keys.
    fn tidy(&self) {
        for entry in fs::read_dir(&self.scratch).into_iter().flatten().flatten() {
            let maker = || Pid::from_raw(entry.file_name().to_str()?.strip_prefix(WORK)?.split_once('-')?.0.parse().ok()?);
            if maker().is_some_and(|maker| test_kill_process(maker) == Err(Errno::SRCH)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    async fn make(&self, haste: Haste) -> Result<(), Failure> {
        let prefix = format!("{WORK}{}-", std::process::id());
        let work = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.scratch).map_err(Failure::io(self.scratch.display()))?;
        let mut set = Vec::new();
        for (kind, bits) in KINDS {
            set.push(generate(&work.path().join(kind), kind, bits, haste).await?);
        }
        make_closed(&self.folder)?;
        let mut name = [0; 8];
        rand::rng().fill_bytes(&mut name);
        persist::write_json(&self.folder.join(format!("{}.json", hex::encode(name))), &set)
    }

    /// Takes a set out of stock; none if there is none.
    pub fn take(&self, comment: &str) -> Option<Vec<KeyPair>> {
        self.sets().into_iter().find_map(|path| {
            let set: Option<Vec<KeyPair>> = persist::read_json(&path).ok().flatten();
            // It belongs to whoever removes it; another command may have been quicker. What cannot be read is of no use to anyone.
            fs::remove_file(&path).ok()?;
            Some(set?.iter().map(|key| key.with_comment(comment)).collect())
        })
    }
}

fn settled(made: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    made.unwrap_or_else(|why| Err(Failure::new(Kind::Internal, why.to_string())))
}

async fn generate(file: &Path, kind: &str, bits: &str, haste: Haste) -> Result<KeyPair, Failure> {
    const KEYGEN: &str = "ssh-keygen";
    let mut command = match haste {
        Haste::Now => Command::new(KEYGEN),
        Haste::Sometime => Command::new("nice"),
    };
    if haste == Haste::Sometime {
        command.args(["-n", "19", KEYGEN]);
    }
    command.args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", "root", "-f"]).arg(file);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|why| {
        Failure::new(Kind::Host, format!("{KEYGEN} cannot be run: {why}")).hint("install it: sudo apt-get install openssh-client")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(Kind::Host, format!("{KEYGEN} -t {kind}: {}: {said}", output.status)));
    }
    let read = |path: &Path| fs::read_to_string(path).map_err(Failure::io(path.display()));
    Ok(KeyPair { private: read(file)?, public: read(&file.with_extension("pub"))?.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let dead = gone.id();
        gone.wait().unwrap();
        let names = [format!("{WORK}{dead}-a"), format!("{WORK}{}-b", std::process::id()), format!("{WORK}x-c"), "other".to_owned()];
        for name in &names {
            fs::create_dir(home.scratch().join(name)).unwrap();
        }
        SpareKeys::of(&home).tidy();
        assert_eq!(names.map(|name| home.scratch().join(name).exists()), [false, true, true, true]);
    }

    #[tokio::test]
    async fn each_set_is_used_once() {
        if Command::new("ssh-keygen").arg("-?").stdin(Stdio::null()).output().await.is_err() {
            labctl_skip::skip!("ssh-keygen", "ssh-keygen is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let spares = SpareKeys::of(&home);
        assert_eq!(spares.take("root@n1"), None);
        spares.provide(1).await.unwrap();
        spares.provide(1).await.unwrap();
        assert_eq!(spares.sets().len(), 1, "enough is enough");
        assert_eq!(fs::metadata(&spares.folder).unwrap().mode() & 0o777, 0o700);
        let set = spares.take("root@n1").unwrap();
        let words: Vec<&str> = set.iter().filter_map(|key| key.public.split(' ').next()).collect();
        assert_eq!(words, ["ssh-rsa", "ecdsa-sha2-nistp256"]);
        assert!(set.iter().all(|key| key.public.ends_with(" root@n1")), "{set:?}");
        assert_eq!(spares.take("root@n2"), None);
        fs::write(spares.folder.join("bad.json"), "{").unwrap();
        assert_eq!(spares.take("root@n2"), None);
        assert_eq!(fs::read_dir(&spares.folder).unwrap().count(), 0, "no private key is left behind");
    }
}
