//! `labctl logs`.

use std::process::ExitCode;

use labctl_core::exec::{self, Given};
use labctl_lab::{Failure, Kind, follow};

use crate::output::write_out;
use crate::session::Session;

/// Arguments of `labctl logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl logs web1 --unit nginx --follow\n  labctl logs web1 --console       what the machine printed, even if it is not running\n  labctl logs                      the supervisor's log"
)]
pub struct Args {
    /// Node; without it, the log of the lab's supervisor
    node: Option<String>,
    /// Output of the node's serial console
    #[arg(long, short, conflicts_with = "unit")]
    console: bool,
    /// Journal of a unit in the node
    #[arg(long, short)]
    unit: Option<String>,
    /// Maximum number of lines
    #[arg(long, short = 'n', default_value_t = 200)]
    lines: usize,
    /// Continue with new lines until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.known_lab(&home)?;
    let lab_home = home.lab(&lab.name);
    let Some(node) = &args.node else {
        return file(session, &lab_home.supervisor_log(), &args).await;
    };
    let node = session.node(&lab, node)?;
    if args.console {
        return file(session, &lab_home.node(&node).join("console.log"), &args).await;
    }
    let supervisor = session.supervisor(&lab_home, &lab.name).await?;
    let mut argv: Vec<String> = ["journalctl", "--no-pager", "-n"].map(str::to_owned).to_vec();
    argv.push(args.lines.to_string());
    argv.extend(args.follow.then(|| "--follow".to_owned()));
    argv.extend(args.unit.iter().flat_map(|unit| ["--unit".to_owned(), unit.clone()]));
    let code = exec::attached(&supervisor, &node, Given { argv, user: "root".into(), ..Given::default() }).await?;
    Ok(ExitCode::from(code))
}

/// Prints the end of a log file and, if requested, what is appended to it.
async fn file(session: &Session, path: &std::path::Path, args: &Args) -> Result<ExitCode, Failure> {
    let text = std::fs::read(path).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Kind::NotFound, format!("there is no log yet: {}", path.display())),
        _ => Failure::io(path.display())(why),
    })?;
    if text.is_empty() && !args.follow {
        session.out.say(&format!("the log is empty: {}", path.display()));
    }
    write_out(last_lines(&text, args.lines));
    if args.follow {
        follow::added(path, text.len() as u64, &mut |bytes| write_out(bytes)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let ended = text.strip_suffix(b"\n").unwrap_or(text);
    let breaks = ended.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match (lines, breaks.map(|(at, _)| at + 1).nth(lines.saturating_sub(1))) {
        (0, _) => &[],
        (_, Some(start)) => &text[start..],
        (_, None) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_lines_are_whole() {
        for (lines, last) in [(0, ""), (1, "c\n"), (2, "b\nc\n"), (3, "a\nb\nc\n"), (9, "a\nb\nc\n")] {
            assert_eq!(last_lines(b"a\nb\nc\n", lines), last.as_bytes(), "{lines}");
        }
        assert_eq!(last_lines(b"a\nb", 1), b"b");
        assert_eq!(last_lines(b"", 5), b"");
    }
}
