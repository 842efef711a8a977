//! Which hosts a play runs on, and in which batches.

use std::sync::Arc;

use crate::data::Data;
use crate::error::PlaybookError;
use crate::playbook::Play;
use crate::python;
use crate::template::Scope;

use super::Run;
use crate::lock::lock;

/// The hosts of a play in its own order, and in pattern order, in which variables show them.
pub(super) fn hosts_of(run: &Run, play: &Play, scope: &Arc<Scope>) -> Result<(Vec<String>, Vec<String>), PlaybookError> {
    let wrong = |message: String| PlaybookError::Play { place: play.place.to_string(), message };
    let pattern = match scope.resolve(&play.hosts).map_err(|error| wrong(error.message))? {
        Data::List(list) => list.iter().map(python::str_of).collect::<Vec<_>>().join(","),
        other => python::str_of(&other),
    };
    let mut inventory = lock(&run.inventory);
    let mut hosts = inventory.select(&pattern);
    if hosts.is_empty() && matches!(pattern.as_str(), "localhost" | "127.0.0.1") {
        // Ansible's implicit localhost: it belongs to no group.
        hosts = vec![pattern.clone()];
        let mut states = lock(&run.hosts);
        let state = states.entry(pattern.clone()).or_default();
        Arc::make_mut(&mut state.inventory).insert("ansible_connection".into(), Data::str("local"));
        return Ok((hosts.clone(), hosts));
    }
    if let Some(limit) = &run.options.limit {
        let limited = inventory.select(limit);
        hosts.retain(|host| limited.contains(host));
    }
    let known = inventory.names();
    for host in &known {
        let vars = inventory.variables(host, &play.folder, &run.controller())?;
        lock(&run.hosts).entry(host.clone()).or_default().inventory = Arc::new(vars);
    }
    // Groups must exist for `groups` even if they are empty.
    inventory.group("all");
    drop(inventory);
    let plain = hosts.clone();
    match play.order.as_ref().map(python::str_of).as_deref() {
        Some("sorted") => hosts.sort(),
        Some("reverse_sorted") => {
            hosts.sort();
            hosts.reverse();
        }
        Some("reverse_inventory") => hosts.reverse(),
        Some("shuffle") => {
            use rand::seq::SliceRandom;
            hosts.shuffle(&mut run.controller().for_play(&play.place).random("order: shuffle"));
        }
        _ => {}
    }
    Ok((hosts, plain))
}

/// Splits hosts into batches: numbers or percentages, the last one repeated.
pub(super) fn batches(hosts: &[String], serial: &[String]) -> Result<Vec<Vec<String>>, String> {
    let mut rest = hosts;
    let mut out = Vec::new();
    let mut index = 0;
    while !rest.is_empty() {
        let size = match serial.get(index).or(serial.last()) {
            None => rest.len(),
            Some(text) => {
                let text = text.trim();
                let size = match text.strip_suffix('%') {
                    Some(percent) => {
                        let percent: f64 = percent.parse().map_err(|_| format!("serial '{text}' is not a number or percentage"))?;
                        ((percent / 100.0 * hosts.len() as f64) as usize).max(1)
                    }
                    None => text.parse::<i64>().map_err(|_| format!("serial '{text}' is not a number or percentage"))?.max(0) as usize,
                };
                if size == 0 { rest.len() } else { size.min(rest.len()) }
            }
        };
        out.push(rest[..size].to_vec());
        rest = &rest[size..];
        index += 1;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::batches;

    #[test]
    fn serial_cuts_hosts() {
        let hosts: Vec<String> = (1..=10).map(|n| n.to_string()).collect();
        let sizes = |serial: &[&str]| {
            let serial: Vec<String> = serial.iter().map(|text| (*text).to_owned()).collect();
            batches(&hosts, &serial).map(|batches| batches.iter().map(Vec::len).collect::<Vec<_>>())
        };
        assert_eq!(sizes(&[]).unwrap(), [10]);
        assert_eq!(sizes(&["3"]).unwrap(), [3, 3, 3, 1]);
        assert_eq!(sizes(&["1", "5"]).unwrap(), [1, 5, 4]);
        assert_eq!(sizes(&["30%"]).unwrap(), [3, 3, 3, 1]);
        assert_eq!(sizes(&["0"]).unwrap(), [10]);
        assert!(sizes(&["x"]).is_err());
    }
}
