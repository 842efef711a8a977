//! `iptables`: rules, chains and policies of the packet filter. iptables(8) itself reports whether a rule exists (`-C`).

use serde_json::{Map, Value};

use crate::modules::call::arguments::{dict, flag, list, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::spawn::{Output, Spawn};
use crate::modules::call::task::{Module, Task};
use crate::modules::network::iptables_rule::rule;

pub(crate) const MODULE: Module = Module {
    names: &["iptables"],
    params: &[
        text("table").of(&["filter", "nat", "mangle", "raw", "security"]).or("filter"),
        text("state").of(&["absent", "present"]).or("present"),
        text("action").of(&["append", "insert"]).or("append"),
        text("ip_version").of(&["ipv4", "ipv6", "both"]).or("ipv4"),
        text("chain"),
        text("rule_num"),
        text("protocol"),
        text("wait"),
        text("source"),
        text("to_source"),
        text("destination"),
        text("to_destination"),
        list("match").or(""),
        dict("tcp_flags"),
        text("jump"),
        text("gateway"),
        text("log_prefix"),
        text("log_level")
            .of(&["0", "1", "2", "3", "4", "5", "6", "7", "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"]),
        text("goto"),
        text("in_interface"),
        text("out_interface"),
        text("fragment"),
        text("set_counters"),
        text("source_port"),
        text("destination_port"),
        list("destination_ports").or(""),
        text("to_ports"),
        text("set_dscp_mark"),
        text("set_dscp_mark_class"),
        text("comment"),
        list("ctstate").or(""),
        text("src_range"),
        text("dst_range"),
        text("match_set"),
        text("match_set_flags").of(&["src", "dst", "src,dst", "dst,src", "src,src", "dst,dst"]),
        text("limit"),
        text("limit_burst"),
        text("uid_owner"),
        text("gid_owner"),
        text("reject_with"),
        text("icmp_type"),
        text("syn").of(&["ignore", "match", "negate"]).or("ignore"),
        flag("flush"),
        text("policy").of(&["ACCEPT", "DROP", "QUEUE", "RETURN"]),
        flag("chain_management"),
        flag("numeric"),
    ],
    files: false,
    run,
};

/// One of the two programs, run for one task.
struct Filter<'a> {
    task: &'a Task<'a>,
    program: &'static str,
    rule: &'a [String],
    wait: Option<String>,
}

impl Filter<'_> {
    fn ask(&self, action: &str, with_rule: bool, more: &[&str]) -> Result<Output, Fault> {
        let args = &self.task.args;
        let mut argv: Vec<String> = [self.program, "-t", args.str("table"), action].map(str::to_owned).to_vec();
        argv.extend(args.filled("chain").map(str::to_owned));
        if action == "-I" {
            argv.extend(args.filled("rule_num").map(str::to_owned));
        }
        if let Some(seconds) = &self.wait {
            argv.push("-w".to_owned());
            argv.extend(Some(seconds).filter(|seconds| !seconds.is_empty()).cloned());
        }
        if with_rule {
            argv.extend_from_slice(self.rule);
        }
        argv.extend(more.iter().map(|word| (*word).to_owned()));
        let name = argv.join(" ");
        Spawn::of(self.task, argv).run().map_err(|err| format!("could not run {name}: {err}").into())
    }

    fn must(&self, action: &str, with_rule: bool, more: &[&str]) -> Result<Output, Fault> {
        let output = self.ask(action, with_rule, more)?;
        if output.rc == 0 {
            return Ok(output);
        }
        let said = if output.stderr.is_empty() { output.out() } else { output.err() };
        Err(Fault::from(said.trim().to_owned()).with("rc", output.rc).with("stderr", output.err()))
    }

    fn numeric(&self) -> &'static [&'static str] {
        if self.task.args.flag("numeric") { &["--numeric"] } else { &[] }
    }

    /// Does what the task asks for; returns whether anything differed.
    fn converge(&self) -> Result<bool, Fault> {
        let (args, check) = (&self.task.args, self.task.check);
        if args.flag("flush") {
            if !check {
                self.must("-F", false, &[])?;
            }
            return Ok(true);
        }
        if let Some(policy) = args.filled("policy") {
            let listed = self.must("-L", false, self.numeric())?.out();
            let head = listed.lines().next().unwrap_or_default();
            let current = head.split_once("(policy ").map(|(_, rest)| rest.split([' ', ')']).next().unwrap_or_default());
            let differs = current.ok_or_else(|| Fault::from("Can't detect current policy"))? != policy;
            if differs && !check {
                self.must("-P", false, &[policy])?;
            }
            return Ok(differs);
        }
        let present = args.str("state") == "present";
        if self.rule.is_empty() {
            let differs = (self.ask("-L", false, self.numeric())?.rc == 0) != present;
            if differs && args.flag("chain_management") && !check {
                self.must(if present { "-N" } else { "-X" }, false, &[])?;
            }
            return Ok(differs);
        }
        let differs = (self.ask("-C", true, &[])?.rc == 0) != present;
        if differs && !check {
            let action = match (present, args.str("action")) {
                (false, _) => "-D",
                (true, "insert") => "-I",
                (true, _) => "-A",
            };
            self.must(action, true, &[])?;
        }
        Ok(differs)
    }

    /// The value of `wait` that this version supports: none before 1.4.20, no seconds before 1.6.0.
    fn supported_wait(&self) -> Result<Option<String>, Fault> {
        let Some(wait) = self.task.args.text("wait") else { return Ok(None) };
        let output = Spawn::of(self.task, [self.program, "--version"]).must()?.out();
        let version = output.split_once('v').map_or("", |(_, rest)| rest).split([' ', '\n']).next().unwrap_or_default();
        let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        Ok(match numbers {
            numbers if numbers < vec![1, 4, 20] => None,
            numbers if numbers < vec![1, 6, 0] => Some(String::new()),
            _ => Some(wait.to_owned()),
        })
    }
}

fn check_arguments(task: &Task<'_>) -> Result<(), Fault> {
    let args = &task.args;
    args.exclusive(&["set_dscp_mark", "set_dscp_mark_class"])?;
    if args.flag("flush") && args.has("policy") {
        return Err("parameters are mutually exclusive: flush|policy".into());
    }
    for mark in ["set_dscp_mark", "set_dscp_mark_class"] {
        if args.has(mark) && !args.has("jump") {
            return Err(format!("missing parameter(s) required by '{mark}': jump").into());
        }
    }
    args.needed_if("jump", "TEE", &["gateway"])?;
    args.needed_if("jump", "tee", &["gateway"])?;
    if !args.flag("flush") && !args.has("chain") {
        return Err("flush is False but all of the following are missing: chain".into());
    }
    let logs = args.filled("log_prefix").is_some() || args.filled("log_level").is_some();
    if logs && args.text("jump").is_some_and(|jump| jump != "LOG") {
        return Err("Logging options can only be used with the LOG jump target.".into());
    }
    Ok(())
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    check_arguments(task)?;
    let rule = rule(args);
    let programs: &[&str] = match args.str("ip_version") {
        "ipv6" => &["ip6tables"],
        "both" => &["iptables", "ip6tables"],
        _ => &["iptables"],
    };
    let mut changed = false;
    for program in programs {
        let mut filter = Filter { task, program, rule: &rule, wait: None };
        filter.wait = filter.supported_wait()?;
        changed |= filter.converge()?;
    }
    let mut result = Map::new();
    result.insert("changed".into(), changed.into());
    for key in ["ip_version", "table", "chain", "state", "wait"] {
        result.insert(key.into(), args.text(key).map_or(Value::Null, Value::from));
    }
    result.insert("flush".into(), args.flag("flush").into());
    result.insert("chain_management".into(), args.flag("chain_management").into());
    result.insert("rule".into(), rule.join(" ").into());
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    /// A filter that keeps its rules in its notes.
    fn bench() -> Bench {
        let bench = Bench::new();
        let script = r#"case "$*" in
            *--version*) echo 'iptables v1.8.9 (nf_tables)'; exit;;
            *-L\ INPUT*) echo 'Chain INPUT (policy ACCEPT)'; exit;;
            *-L\ *) exit 1;;
            *-C\ *) rule=$(echo "$*" | sed 's/-C/-A/'); grep -qxFe "${0##*/} $rule" "$NOTES" 2>/dev/null; exit;;
            esac
            echo "${0##*/} $*" >> "$NOTES""#;
        bench.program("iptables", script);
        bench.program("ip6tables", script);
        bench
    }

    #[test]
    fn a_rule_is_added_once() {
        let bench = bench();
        let args = json!({"chain": "INPUT", "protocol": "tcp", "destination_port": "8500", "jump": "ACCEPT", "comment": "a b"});
        assert_eq!(bench.call("iptables", args.clone(), true).result["changed"], true);
        assert!(bench.notes().is_empty());
        let result = bench.run("ansible.builtin.iptables", args.clone());
        assert_eq!(result["rule"], "-p tcp -j ACCEPT --destination-port 8500 -m comment --comment a b");
        assert_eq!(bench.run("iptables", args)["changed"], false);
        assert_eq!(bench.notes(), ["iptables -t filter -A INPUT -p tcp -j ACCEPT --destination-port 8500 -m comment --comment a b"]);
    }

    #[test]
    fn both_versions_insertion_and_removal() {
        let bench = bench();
        let args = json!({"chain": "INPUT", "ip_version": "both", "action": "insert", "rule_num": 2, "source": "!10.0.0.1", "wait": "5",
            "state": "present", "goto": "X"});
        bench.run("iptables", args);
        assert_eq!(bench.notes()[1], "ip6tables -t filter -I INPUT 2 -w 5 ! -s 10.0.0.1 -g X");
        bench.forget_notes();
        let absent = json!({"chain": "INPUT", "jump": "DROP", "state": "absent"});
        assert_eq!(bench.run("iptables", absent)["changed"], false);
    }

    #[test]
    fn policies_chains_and_flushes() {
        let bench = bench();
        assert_eq!(bench.run("iptables", json!({"chain": "INPUT", "policy": "ACCEPT"}))["changed"], false);
        assert_eq!(bench.run("iptables", json!({"chain": "INPUT", "policy": "DROP"}))["changed"], true);
        bench.run("iptables", json!({"chain": "LAB", "chain_management": true}));
        bench.run("iptables", json!({"table": "nat", "flush": true}));
        assert_eq!(bench.notes(), ["iptables -t filter -P INPUT DROP", "iptables -t filter -N LAB", "iptables -t nat -F"]);
    }

    #[test]
    fn senseless_tasks_are_refused() {
        let bench = bench();
        assert!(bench.fault("iptables", json!({"jump": "DROP"})).contains("chain"));
        assert!(bench.fault("iptables", json!({"chain": "X", "jump": "DROP", "log_prefix": "x"})).starts_with("Logging options"));
        assert!(bench.fault("iptables", json!({"chain": "X", "jump": "TEE"})).contains("gateway"));
    }
}
