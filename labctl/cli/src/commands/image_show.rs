//! `labctl image show`.

use labctl_core::images::{self, Shown};
use labctl_lab::Failure;
use labctl_lab::home::Home;

use crate::output::Table;
use crate::output::time::{seconds_since, spell};
use crate::session::Session;

pub fn run(session: &Session, home: &Home, name: &str) -> Result<(), Failure> {
    let shown = images::show(home, name)?;
    session.out.result(&shown, || table(&shown));
    Ok(())
}

fn table(shown: &Shown) -> String {
    let mut table = Table::new(&["IMAGE", shown.name.as_str()]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("id", shown.id.clone());
    row("size", format!("{} MiB of {} MiB", shown.bytes >> 20, shown.virtual_bytes >> 20));
    row("made", format!("{} ago", spell(seconds_since(shown.created_unix * 1000))));
    row("boots by", shown.boots_by.to_owned());
    if let Some(from) = &shown.provenance {
        row("base", format!("{} ({})", from.base, from.base_id.chars().take(12).collect::<String>()));
        if let Some(node) = &from.node {
            row("node", node.clone());
        }
        if !from.roles.is_empty() {
            row("roles", from.roles.join(", "));
        }
        row("packages", format!("{} (--json lists them)", from.packages.len()));
        row("labctl", from.labctl.clone());
    }
    table.render()
}
