//! `capabilities`: a program's privileges beyond those of its user, stored in the attribute `security.capability` of its file
//! (capabilities(7)). It is read and written directly, so that the guest needs neither getcap nor setcap.

use serde_json::json;

use crate::modules::call::arguments::{path, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::capability_set::{CapabilitySet, Flags, number};

pub(crate) const MODULE: Module = Module {
    names: &["capabilities"],
    params: &[
        path("path").must().aka(&["key"]),
        text("capability").must().aka(&["cap"]),
        text("state").of(&["absent", "present"]).or("present"),
    ],
    files: false,
    run,
};

const ATTRIBUTE: &str = "security.capability";

fn read(path: &str) -> Result<CapabilitySet, Fault> {
    let mut value = [0; 64];
    match rustix::fs::getxattr(path, ATTRIBUTE, &mut value) {
        Ok(length) => CapabilitySet::parse(&value[..length]).ok_or_else(|| format!("Unable to get capabilities of {path}").into()),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(CapabilitySet::default()),
        Err(err) => Err(err).attempt("read the capabilities of", path),
    }
}

/// Splits `cap_net_raw+ep` into number, operator and flags; without an operator, only the capability is named.
fn clause(text: &str) -> Result<(u32, Option<(char, Flags)>), Fault> {
    let text = text.trim().to_lowercase();
    let at = text.find(['=', '-', '+']);
    let name = &text[..at.unwrap_or(text.len())];
    let number = number(name).ok_or_else(|| Fault::from(format!("{name} is not a capability; see capabilities(7)")))?;
    let Some(at) = at else { return Ok((number, None)) };
    let flags = Flags::parse(&text[at + 1..]).ok_or_else(|| Fault::from(format!("flags must be of e, i and p: {text}")))?;
    Ok((number, text[at..].chars().next().map(|operator| (operator, flags))))
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (path, state) = (args.str("path"), args.str("state"));
    let (number, operation) = clause(args.str("capability"))?;
    if state == "present" && operation.is_none() {
        return Err("Couldn't find operator (one of: ('=', '-', '+'))".into());
    }
    if !std::path::Path::new(path).exists() {
        if task.check {
            // An earlier task may install the program.
            return Ok(json!({"changed": true, "state": state, "msg": "capabilities changed"}).into());
        }
        return Err(format!("Unable to get capabilities of {path}").into());
    }
    let before = read(path)?;
    let mut after = before;
    let old = before.flags(number);
    after.set(
        number,
        match operation {
            Some(('-', flags)) if state == "present" => old.without(flags),
            Some((_, flags)) if state == "present" => flags,
            _ => Flags::default(),
        },
    )?;
    if after == before {
        return Ok(json!({"changed": false, "state": state}).into());
    }
    if !task.check {
        if after.is_empty() {
            rustix::fs::removexattr(path, ATTRIBUTE).attempt("remove the capabilities of", path)?;
        } else {
            rustix::fs::setxattr(path, ATTRIBUTE, &after.bytes(), rustix::fs::XattrFlags::empty())
                .attempt("set the capabilities of", path)?;
        }
    }
    let mut result = json!({"changed": true, "state": state, "msg": "capabilities changed", "stdout": ""});
    if task.diff {
        result["diff"] = json!({"before": format!("{before}\n"), "after": format!("{after}\n")});
    }
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn a_program_gains_and_loses_them() {
        let bench = Bench::new();
        bench.write("program", "");
        let args = json!({"path": bench.text_path("program"), "capability": "cap_net_bind_service+ep"});
        let probe = bench.call("capabilities", args.clone(), false);
        if probe.result.contains_key("failed") {
            labctl_skip::skip!("capabilities", "this user or file system cannot hold capabilities: {}", probe.result["msg"]);
            return;
        }
        bench.run("capabilities", json!({"path": bench.text_path("program"), "capability": "cap_net_bind_service", "state": "absent"}));
        bench.converges("community.general.capabilities", args, true);
        bench.converges("capabilities", json!({"path": bench.text_path("program"), "capability": "CAP_NET_BIND_SERVICE=ep"}), false);
        bench.converges("capabilities", json!({"path": bench.text_path("program"), "capability": "cap_net_raw=ep"}), true);
        let absent = json!({"path": bench.text_path("program"), "capability": "cap_net_bind_service", "state": "absent"});
        bench.converges("capabilities", absent, true);
    }

    #[test]
    fn faults_are_clear() {
        let bench = Bench::new();
        bench.write("program", "");
        let fault = |capability: &str| bench.fault("capabilities", json!({"path": bench.text_path("program"), "capability": capability}));
        assert!(fault("cap_net_raw").starts_with("Couldn't find operator"));
        assert!(fault("cap_fly+ep").contains("cap_fly is not a capability"));
        assert!(fault("cap_net_raw+x").contains("flags must be of"));
        assert!(bench.fault("capabilities", json!({"path": "/no", "capability": "cap_net_raw+p"})).starts_with("Unable to get"));
    }
}
