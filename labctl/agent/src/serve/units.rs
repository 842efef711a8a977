//! State of systemd units.

use std::process::{Command, Stdio};

use labctl_wire::{AgentError, ErrorKind, UnitState};

use super::failed;

/// The states of `units`, in that order, by one `systemctl show`.
pub fn states(units: &[String]) -> Result<Vec<UnitState>, AgentError> {
    if let Some(bad) = units.iter().find(|unit| unit.starts_with('-') || unit.is_empty()) {
        return Err(AgentError { kind: ErrorKind::Invalid, message: format!("`{bad}` is not a unit name") });
    }
    let output = Command::new("systemctl")
        .args(["show", "--property=Id,LoadState,ActiveState,SubState,MainPID,NRestarts", "--"])
        .args(units)
        .stdin(Stdio::null())
        .output()
        .map_err(failed("systemctl show"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let blocks: Vec<&str> = text.split("\n\n").filter(|block| !block.trim().is_empty()).collect();
    if blocks.len() != units.len() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(AgentError { kind: ErrorKind::Io, message: format!("systemctl show: {}", why.trim()) });
    }
    Ok(units.iter().zip(blocks).map(|(unit, block)| state(unit, block)).collect())
}

/// A unit that does not exist is inactive and `not-found`.
fn state(unit: &str, block: &str) -> UnitState {
    let property = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let missing = property("LoadState") == "not-found";
    UnitState {
        unit: unit.to_owned(),
        active: property("ActiveState").to_owned(),
        sub: if missing { "not-found".to_owned() } else { property("SubState").to_owned() },
        main_pid: property("MainPID").parse().unwrap_or(0),
        restarts: property("NRestarts").parse().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemctl_shows() {
        let block = "MainPID=412\nNRestarts=3\nId=consul.service\nLoadState=loaded\nActiveState=active\nSubState=running";
        let state = state("consul.service", block);
        assert_eq!((state.main_pid, state.restarts, state.active.as_str()), (412, 3, "active"));
        let gone = super::state("x.service", "LoadState=not-found\nActiveState=inactive\nSubState=dead\nMainPID=0");
        assert_eq!((gone.active.as_str(), gone.sub.as_str(), gone.main_pid), ("inactive", "not-found", 0));
    }
}
