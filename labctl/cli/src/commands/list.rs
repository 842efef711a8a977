//! `labctl list`.

use std::process::ExitCode;

use labctl_core::listing::{self, Listed};
use labctl_lab::Failure;

use crate::output::Table;
use crate::output::time::{seconds_since, spell};
use crate::session::Session;

/// Arguments of `labctl list`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub async fn run(session: &Session, _args: Args) -> Result<ExitCode, Failure> {
    let listed = listing::list(&session.home()?).await;
    session.out.result(&listed, || match listed.is_empty() {
        true => "there are no labs; `labctl init` writes a lab file".to_owned(),
        false => table(&listed),
    });
    Ok(ExitCode::SUCCESS)
}

/// The labs as a table, followed by the reasons why some cannot be read.
fn table(listed: &[Listed]) -> String {
    let mut table = Table::new(&["LAB", "STATE", "NODES", "MEMORY", "SINCE", "FOLDER"]);
    for lab in listed {
        let known = |text: String| if lab.error.is_none() { text } else { "-".to_owned() };
        let folder = lab.file.as_ref().and_then(|file| file.parent()).map_or_else(|| "-".to_owned(), |folder| folder.display().to_string());
        table.row([
            lab.name.to_string(),
            lab.state.clone(),
            known(lab.nodes.to_string()),
            known(format!("{} MiB", lab.memory_mib)),
            lab.since_unix_ms.map_or_else(|| "-".to_owned(), |since| format!("{} ago", spell(seconds_since(since)))),
            match &lab.clone_of {
                Some(origin) => format!("{folder} (clone of {origin})"),
                None => folder,
            },
        ]);
    }
    let wrong: Vec<String> = listed.iter().filter_map(|lab| Some(format!("{}: {}", lab.name, lab.error.as_ref()?))).collect();
    match wrong.is_empty() {
        true => table.render(),
        false => format!("{}\n\n{}\n`labctl prune` shows what can be removed", table.render(), wrong.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_that_cannot_be_read_is_a_row_with_its_reason() {
        let good = Listed {
            name: "demo".parse().unwrap(),
            state: "running".into(),
            running: 2,
            nodes: 2,
            memory_mib: 512,
            file: Some("/work/demo/lab.yml".into()),
            clone_of: None,
            since_unix_ms: Some(0),
            error: None,
        };
        let bad = Listed {
            name: "bad".parse().unwrap(),
            state: "unknown".into(),
            file: None,
            since_unix_ms: None,
            error: Some("WHY".into()),
            ..good.clone()
        };
        let text = table(&[good, bad]);
        let cells = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(cells(lines[0]), ["LAB", "STATE", "NODES", "MEMORY", "SINCE", "FOLDER"]);
        let row = cells(lines[1]);
        assert_eq!((&row[..4], row[5].as_str()), (&["demo", "running", "2", "512 MiB"].map(str::to_owned)[..], "/work/demo"));
        assert_eq!(cells(lines[2]), ["bad", "unknown", "-", "-", "-", "-"]);
        assert_eq!(lines[4], "bad: WHY");
    }
}
