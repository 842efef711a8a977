//! `labctl cat`.

use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};

use labctl_core::copy::{self, Inside};
use labctl_lab::client::Supervisor;
use labctl_lab::{Failure, Kind};
use serde_json::json;
use tokio::io::AsyncWrite;

use crate::output::write_out;
use crate::session::Session;

/// Arguments of `labctl cat`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl cat client1 /etc/nginx/conf.d/default.conf\n  labctl cat web1 /proc/meminfo /proc/loadavg\n\nThe files' bytes come as they are, one file after the other. A path that does not begin with a slash is below root's home."
)]
pub struct Args {
    /// Node
    node: String,
    /// Files in the node
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let record = session.record(&home)?;
    let node = session.node(&record.existing_lab(), &args.node)?;
    let supervisor = session.supervisor(&home.lab(&record.lab.name), &record.lab.name).await?;
    let mut failures = Vec::new();
    for path in args.paths {
        let from = Inside { node: node.clone(), path: path.into() };
        // Like cat(1): a file that cannot be read does not keep the others from being printed.
        if let Err(why) = print(session, &supervisor, &from).await {
            failures.push(why);
        }
    }
    one(failures).map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn print(session: &Session, supervisor: &Supervisor, from: &Inside) -> Result<(), Failure> {
    if !session.out.is_json() {
        return copy::print(supervisor, from, Out).await;
    }
    let mut bytes = Vec::new();
    copy::print(supervisor, from, &mut bytes).await?;
    let (encoding, content) = match String::from_utf8(bytes) {
        Ok(text) => ("utf-8", text),
        Err(why) => ("hex", why.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    session.out.json_line(&json!({ "node": from.node, "path": from.path, "encoding": encoding, "content": content }));
    Ok(())
}

/// All failures as one.
fn one(failures: Vec<Failure>) -> Option<Failure> {
    let messages: Vec<&str> = failures.iter().map(|why| why.message.as_str()).collect();
    let message = messages.join("\n");
    let kind = failures.first()?.kind;
    let kind = if failures.iter().all(|why| why.kind == kind) { kind } else { Kind::Machine };
    let hint = failures.iter().find_map(|why| why.hint.clone());
    Some(Failure { kind, message, hint })
}

/// Standard output, which ends this command quietly if its reader has gone.
struct Out;

impl AsyncWrite for Out {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        write_out(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_failed_is_named_once() {
        let missing = |path: &str| Failure::new(Kind::NotFound, format!("web:{path}: missing"));
        assert_eq!(one(Vec::new()), None);
        let both = one(vec![missing("/a"), missing("/b")]).unwrap();
        assert_eq!((both.kind, both.message.as_str()), (Kind::NotFound, "web:/a: missing\nweb:/b: missing"));
        let mixed = one(vec![missing("/a"), Failure::new(Kind::Input, "web:/etc: a folder").hint("H")]).unwrap();
        assert_eq!((mixed.kind, mixed.hint.as_deref()), (Kind::Machine, Some("H")));
    }
}
