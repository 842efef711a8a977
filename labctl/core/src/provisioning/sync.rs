//! Files and folders that nodes get before they are provisioned.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use labctl_guest::Agent;
use labctl_lab::client::Supervisor;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::{Lab, Node};
use labctl_wire::{ModuleCall, Put};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

/// A file on the host and its destination.
struct Pair {
    from: PathBuf,
    to: PathBuf,
}

/// Copies the files; returns how many were changed in nodes.
pub async fn run(lab: &Lab, supervisor: &Supervisor, nodes: &[NodeName]) -> Result<usize, Failure> {
    let mut copies = JoinSet::new();
    for node in lab.nodes.iter().filter(|node| !node.sync.is_empty() && (nodes.is_empty() || nodes.contains(&node.name))) {
        let pairs = pairs(node)?;
        let (supervisor, name) = (supervisor.clone(), node.name.clone());
        copies.spawn(async move {
            let agent = supervisor.agent(&name).await?;
            let mut changed = 0;
            for pair in pairs {
                changed += usize::from(copy(&agent, &name, &pair).await?);
            }
            Ok::<usize, Failure>(changed)
        });
    }
    let mut changed = 0;
    while let Some(copied) = copies.join_next().await {
        changed += copied.map_err(|why| Failure::new(Kind::Internal, why.to_string()))??;
    }
    Ok(changed)
}

/// Digest of all that is copied: source, destination, content, mode.
pub fn digest(lab: &Lab) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for node in &lab.nodes {
        for pair in pairs(node)? {
            let (sha256, _, mode) = sum(&pair.from)?;
            add(node.name.as_str().as_bytes());
            add(pair.to.as_os_str().as_encoded_bytes());
            add(sha256.as_bytes());
            add(&mode.to_le_bytes());
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// All files below the node's sources. Links are followed: the guest gets what the user sees.
fn pairs(node: &Node) -> Result<Vec<Pair>, Failure> {
    let mut pairs = Vec::new();
    for sync in &node.sync {
        let mut folders = vec![Pair { from: sync.from.clone(), to: sync.to.clone() }];
        while let Some(Pair { from, to }) = folders.pop() {
            let about = fs::metadata(&from).map_err(Failure::io(from.display()))?;
            if !about.is_dir() {
                pairs.push(Pair { from, to });
                continue;
            }
            for entry in fs::read_dir(&from).map_err(Failure::io(from.display()))? {
                let entry = entry.map_err(Failure::io(from.display()))?;
                folders.push(Pair { from: entry.path(), to: to.join(entry.file_name()) });
            }
        }
    }
    pairs.sort_by(|one, other| one.to.cmp(&other.to));
    Ok(pairs)
}

/// Copies a file unless the node has it; then it takes one round trip.
async fn copy(agent: &Agent, node: &NodeName, pair: &Pair) -> Result<bool, Failure> {
    let (sha256, size, mode) = sum(&pair.from)?;
    let mut args = Map::new();
    args.insert("dest".into(), json!(pair.to));
    args.insert("mode".into(), json!(format!("{mode:04o}")));
    args.insert("_sha256".into(), json!(sha256));
    args.insert("_size".into(), json!(size));
    args.insert("_original_basename".into(), json!(pair.to.file_name().unwrap_or_default().to_string_lossy()));
    let call = ModuleCall { module: "copy".into(), args, ..ModuleCall::default() };
    if let Some(folder) = pair.to.parent() {
        make_folder(agent, node, folder).await?;
    }
    let mut reply = agent.module(call.clone()).await?;
    if reply.needs_content {
        let put = Put { path: ModuleCall::spool_path(&sha256), mode: 0o600, sha256: Some(sha256), ..Put::default() };
        agent.put_file(put, &pair.from).await?;
        reply = agent.module(call).await?;
    }
    outcome(node, &pair.to, &reply.result)
}

async fn make_folder(agent: &Agent, node: &NodeName, folder: &Path) -> Result<bool, Failure> {
    let mut args = Map::new();
    args.insert("path".into(), json!(folder));
    args.insert("state".into(), json!("directory"));
    let reply = agent.module(ModuleCall { module: "file".into(), args, ..ModuleCall::default() }).await?;
    outcome(node, folder, &reply.result)
}

fn outcome(node: &NodeName, path: &Path, result: &Map<String, Value>) -> Result<bool, Failure> {
    let said = |key: &str| result.get(key).and_then(Value::as_bool).unwrap_or(false);
    if said("failed") {
        let why = result.get("msg").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(Failure::new(Kind::Machine, format!("{node}: sync {}: {why}", path.display())));
    }
    Ok(said("changed"))
}

/// SHA-256 (hex), length and permission bits of a file.
fn sum(path: &Path) -> Result<(String, u64, u32), Failure> {
    let mut file = fs::File::open(path).map_err(Failure::io(path.display()))?;
    let mode = file.metadata().map_err(Failure::io(path.display()))?.permissions().mode() & 0o777;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(Failure::io(path.display()))? {
            0 => return Ok((hex::encode(hash.finalize()), size, mode)),
            count => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_copied_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("tree/in")).unwrap();
        fs::write(path("tree/in/leaf"), "one").unwrap();
        let lab = |to: &str| {
            let text = format!("name: a\nnodes: [{{name: n, sync: [{{from: tree, to: {to}}}]}}]\n");
            labctl_spec::parse_lab(&text, &path("lab.yml")).unwrap()
        };
        let mut seen = vec![digest(&lab("/srv")).unwrap()];
        assert_eq!(digest(&lab("/srv")).unwrap(), seen[0]);
        let mut differs = |what: &str, lab: &Lab| {
            let now = digest(lab).unwrap();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        differs("place", &lab("/opt"));
        fs::write(path("tree/in/leaf"), "two").unwrap();
        differs("content", &lab("/srv"));
        fs::set_permissions(path("tree/in/leaf"), fs::Permissions::from_mode(0o755)).unwrap();
        differs("mode", &lab("/srv"));
        fs::rename(path("tree/in/leaf"), path("tree/leaf")).unwrap();
        differs("name", &lab("/srv"));
        fs::write(path("tree/new"), "").unwrap();
        differs("a new file", &lab("/srv"));
        let gone = lab("/srv");
        fs::remove_dir_all(path("tree")).unwrap();
        assert!(digest(&gone).is_err());
    }
}
