//! State of systemd units.

use std::path::Path;

use labctl_wire::{AgentError, ErrorKind, UnitState};

use crate::systemd::{CallError, Systemd, UnitSummary, unit_name};

/// The states of `units`, in the same order, in two round trips to systemd. A unit that does not exist is inactive and `not-found`.
pub fn states(units: &[String]) -> Result<Vec<UnitState>, AgentError> {
    states_under(Path::new("/"), units)
}

fn states_under(root: &Path, units: &[String]) -> Result<Vec<UnitState>, AgentError> {
    if let Some(bad) = units.iter().find(|unit| unit.starts_with('-') || unit.is_empty()) {
        return Err(AgentError { kind: ErrorKind::Invalid, message: format!("`{bad}` is not a unit name") });
    }
    let mut systemd = connect(root)?;
    let names: Vec<String> = units.iter().map(|unit| unit_name(unit)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = systemd.units_named(&names).map_err(refused(&units.join(", ")))?;
    if found.len() != units.len() {
        let message = format!("systemd reported {} units instead of {}", found.len(), units.len());
        return Err(AgentError { kind: ErrorKind::Io, message });
    }
    let processes = systemd.processes(&found).map_err(refused(&units.join(", ")))?;
    Ok(units.iter().zip(found).zip(processes).map(|((unit, found), processes)| state(unit, found, processes)).collect())
}

/// A connection to the system's manager under `root`.
pub(super) fn connect(root: &Path) -> Result<Systemd, AgentError> {
    Systemd::connect(root, None, None).map_err(refused("system"))
}

/// An error from systemd, with what was asked for.
pub(super) fn refused(what: &str) -> impl FnOnce(CallError) -> AgentError {
    move |why| AgentError {
        kind: match &why {
            CallError::Refused { name, .. } if name == "org.freedesktop.DBus.Error.InvalidArgs" => ErrorKind::Invalid,
            CallError::Refused { .. } | CallError::Io(_) => ErrorKind::Io,
        },
        message: format!("systemd, {what}: {why}"),
    }
}

fn state(unit: &str, found: UnitSummary, (main_pid, restarts): (u64, u64)) -> UnitState {
    UnitState {
        unit: unit.to_owned(),
        active: found.active,
        sub: if found.load == "not-found" { found.load } else { found.sub },
        main_pid: i32::try_from(main_pid).unwrap_or(0),
        restarts: u32::try_from(restarts).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::test_peer::{Answer, Arg, Message, play, text};

    fn listed(name: &str, load: &str, active: &str, sub: &str) -> Arg {
        let texts = [name, "", load, active, sub, "", &format!("/unit/{name}")].map(text);
        Arg::List(texts.into_iter().chain([Arg::Unsigned(0), text(""), text("/")]).collect())
    }

    fn answer(call: &Message) -> Vec<Answer> {
        let property = call.body.get(1).map_or("", Arg::text);
        vec![match (call.member.as_str(), call.path.as_str()) {
            ("ListUnitsByNames", _) if call.body[0].list().iter().any(|name| name.text().contains('/')) => {
                Answer::Refusal("org.freedesktop.DBus.Error.InvalidArgs", "not a unit name")
            }
            ("ListUnitsByNames", _) => {
                let units = call.body[0].list().iter().map(|name| match name.text() {
                    "consul.service" => listed("consul.service", "loaded", "active", "running"),
                    "a.socket" => listed("a.socket", "loaded", "active", "listening"),
                    other => listed(other, "not-found", "inactive", "dead"),
                });
                Answer::Reply("a(ssssssouso)", vec![Arg::List(units.collect())])
            }
            ("Get", "/unit/consul.service") => Answer::Reply("v", vec![Arg::Unsigned(if property == "MainPID" { 412 } else { 3 })]),
            ("Get", "/unit/a.socket") => Answer::Refusal("org.freedesktop.DBus.Error.UnknownInterface", ""),
            _ => Answer::Reply("v", vec![Arg::Unsigned(0)]),
        }]
    }

    #[test]
    fn units_are_told_in_the_order_asked() {
        let folder = tempfile::tempdir().unwrap();
        play(folder.path(), answer);
        let states = states_under(folder.path(), &["x".into(), "consul".into(), "a.socket".into()]).unwrap();
        let told: Vec<_> = states.iter().map(|s| (s.unit.as_str(), s.active.as_str(), s.sub.as_str(), s.main_pid, s.restarts)).collect();
        assert_eq!(
            told,
            [("x", "inactive", "not-found", 0, 0), ("consul", "active", "running", 412, 3), ("a.socket", "active", "listening", 0, 0)]
        );
    }

    #[test]
    fn bad_names_and_a_missing_systemd_are_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(states_under(folder.path(), &["-x".into()]).unwrap_err().kind, ErrorKind::Invalid);
        let gone = states_under(folder.path(), &["x".into()]).unwrap_err();
        assert!(gone.message.contains("/run/systemd/private"), "{}", gone.message);
        play(folder.path(), answer);
        assert_eq!(states_under(folder.path(), &["a/b".into()]).unwrap_err().kind, ErrorKind::Invalid);
    }
}
