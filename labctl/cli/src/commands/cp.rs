//! `labctl cp`.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;

use labctl_core::copy::{self, Copied, Inside};
use labctl_lab::client::Supervisor;
use labctl_lab::event::Event;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;
use tokio::signal::unix::{SignalKind, signal};

use crate::session::Session;

/// Exit codes after Ctrl-C and `kill`: 128 + SIGINT, 128 + SIGTERM.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Arguments of `labctl cp`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl cp ./conf web1:/etc/app        a folder: /etc/app, or /etc/app/conf if /etc/app exists\n  labctl cp web1:/var/log/syslog ./     and back\n  labctl cp motd all:/etc/motd          to every node\n  labctl cp web1:/etc/hosts web2:/tmp/  from node to node\n  tar cz . | labctl cp - web1:/root/x.tgz\n\nModes and the times of files are kept; links are copied as links. `./a:b` is a file of the host with a colon in its name."
)]
pub struct Args {
    /// Files or folders: paths here, `NODE:PATH`, or `-` for standard input
    #[arg(required = true, value_name = "FROM")]
    from: Vec<OsString>,
    /// Target: a path here, `NODE:PATH` (a group stands for its nodes), or `-` for standard output
    #[arg(value_name = "TO")]
    to: OsString,
    /// Owner in the node: USER, USER:GROUP or :GROUP [default: root]
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
}

/// One side of a copy.
enum Side<'a> {
    Stream,
    Host(&'a Path),
    Nodes(Vec<NodeName>, OsString),
}

impl<'a> Side<'a> {
    /// File names are bytes; only a node's name must be text.
    fn read(session: &Session, lab: &Lab, text: &'a OsStr) -> Result<Self, Failure> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        let colon = bytes.iter().position(|byte| *byte == b':');
        let node = colon.and_then(|at| std::str::from_utf8(&bytes[..at]).ok()).filter(|node| !node.contains('/') && !node.is_empty());
        let Some((at, node)) = colon.zip(node) else { return Ok(Self::Host(Path::new(text))) };
        let nodes = session.nodes(lab, &[node.to_owned()], None).map_err(|why| {
            let hint = why.hint.clone().unwrap_or_default();
            why.hint(format!("{hint}; a file of this host with a colon in its name: ./{}", text.display()))
        })?;
        Ok(Self::Nodes(nodes, OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
    }
}

/// Several things go into one folder, whether it exists or not.
fn as_folder(to: &OsStr) -> OsString {
    let mut path = to.as_bytes().to_vec();
    while path.last() == Some(&b'/') {
        path.pop();
    }
    path.push(b'/');
    OsString::from_vec(path)
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let lab = record.existing_lab();
    let from = args.from.iter().map(|text| Side::read(session, &lab, text)).collect::<Result<Vec<_>, _>>()?;
    let several = from.len() > 1 && args.to != "-" && !args.to.as_bytes().ends_with(b":");
    let to = if several { as_folder(&args.to) } else { args.to.clone() };
    let to = Side::read(session, &lab, &to)?;
    if args.owner.is_some() && !matches!(to, Side::Nodes(..)) {
        return Err(Failure::new(Kind::Input, "--owner is for copies into a node").hint("leave it out"));
    }
    let shown: Vec<String> = args.from.iter().map(|text| text.display().to_string()).collect();
    let pairs: Vec<(&str, &Side<'_>)> = shown.iter().map(String::as_str).zip(&from).collect();
    for (text, from) in &pairs {
        refuse(text, from, &to, pairs.len() == 1)?;
    }
    let supervisor = session.supervisor(&home.lab(&lab.name), &lab.name).await?;
    let streams = matches!(to, Side::Stream) || from.iter().any(|from| matches!(from, Side::Stream));
    let work = async {
        for (text, from) in &pairs {
            each(session, &supervisor, text, from, &to, &args).await?;
        }
        Ok(ExitCode::SUCCESS)
    };
    if streams {
        // Ctrl-C ends this process at once, because a read from a pipe cannot be interrupted; the node notices.
        return work.await;
    }
    let mut terminated = signal(SignalKind::terminate()).map_err(Failure::io("cannot watch for signals"))?;
    tokio::select! {
        done = work => done,
        // What is incomplete is removed on both sides.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
        _ = terminated.recv() => Ok(ExitCode::from(TERMINATED)),
    }
}

/// Refuses what cannot be meant, before anything is copied.
fn refuse(text: &str, from: &Side<'_>, to: &Side<'_>, alone: bool) -> Result<(), Failure> {
    let wrong = |message: String, hint: &str| Err(Failure::new(Kind::Input, message).hint(hint));
    match (from, to) {
        (Side::Nodes(nodes, _), _) if nodes.len() != 1 => wrong(format!("`{text}` names {} nodes", nodes.len()), "copy from one node"),
        (Side::Host(_) | Side::Stream, Side::Host(_) | Side::Stream) => {
            wrong(format!("`{text}`: neither side is in a node"), "write `NODE:PATH` for one of them")
        }
        (Side::Stream, Side::Nodes(nodes, _)) if nodes.len() != 1 => {
            wrong("standard input can be copied to one node only".to_owned(), "save it to a file first")
        }
        (Side::Stream, _) | (_, Side::Stream) if !alone => wrong("`-` cannot be one of several".to_owned(), "use one command for each"),
        (Side::Stream, Side::Nodes(_, path)) if path.is_empty() || path.as_bytes().ends_with(b"/") => {
            wrong("what comes from standard input has no name".to_owned(), "write the whole path in the node, with a file name")
        }
        (Side::Stream, _) if std::io::stdin().is_terminal() => {
            wrong("standard input is a terminal".to_owned(), "pipe something into it: `tar c . | labctl cp - NODE:/root/x.tar`")
        }
        _ => Ok(()),
    }
}

/// Copies one source to all targets.
async fn each(session: &Session, supervisor: &Supervisor, text: &str, from: &Side<'_>, to: &Side<'_>, args: &Args) -> Result<(), Failure> {
    let owner = args.owner.as_deref();
    let show = |event| session.out.event(&event);
    let source = match from {
        Side::Nodes(nodes, path) => nodes.first().map(|node| Inside { node: node.clone(), path: path.clone() }),
        _ => None,
    };
    match (source, to) {
        (Some(source), Side::Stream) => copy::print(supervisor, &source, tokio::io::stdout()).await,
        (Some(source), Side::Host(to)) => {
            let copied = copy::from_node(supervisor, &source, to, &show).await?;
            told(session, text, &args.to.display().to_string(), &copied);
            Ok(())
        }
        (source, Side::Nodes(nodes, path)) => {
            let mut failures = Vec::new();
            for node in nodes {
                let to = Inside { node: node.clone(), path: path.clone() };
                let copied = match (&source, from) {
                    (Some(source), _) => copy::between(supervisor, source, &to, owner, &show).await,
                    (None, Side::Host(from)) => copy::to_node(supervisor, from, &to, owner, &show).await,
                    (None, _) => copy::stream_to_node(supervisor, Box::new(std::io::stdin()), &to, owner, &show).await,
                };
                match copied {
                    Ok(copied) => told(session, text, &format!("{node}:{}", path.display()), &copied),
                    Err(why) => failures.push(why),
                }
            }
            let message = failures.iter().map(|why| why.message.clone()).collect::<Vec<_>>().join("\n");
            failures.into_iter().next().map_or(Ok(()), |first| Err(Failure { message, ..first }))
        }
        // Refused before.
        (None, _) => Ok(()),
    }
}

fn told(session: &Session, from: &str, to: &str, copied: &Copied) {
    if !copied.skipped.is_empty() {
        session.out.event(&Event::Note { text: format!("{from}: not copied: {}", copied.skipped.join(", ")) });
    }
    if session.out.is_json() {
        let Copied { written, folders, bytes, .. } = copied;
        let done = serde_json::json!({ "event": "copied", "from": from, "to": to, "written": written, "folders": folders, "bytes": bytes });
        session.out.json_line(&done);
    } else {
        let files = if copied.written == 1 { "1 file".to_owned() } else { format!("{} files", copied.written) };
        session.out.say(&format!("{from} -> {to}: {files}, {}", indicatif::BinaryBytes(copied.bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_with_one_slash_whatever_its_bytes() {
        assert_eq!(as_folder(OsStr::from_bytes(b"caf\xe9")), OsStr::from_bytes(b"caf\xe9/"));
        assert_eq!((as_folder("a:x//".as_ref()), as_folder("/".as_ref())), ("a:x/".into(), "/".into()));
    }
}
