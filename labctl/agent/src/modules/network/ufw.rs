//! `ufw`: the uncomplicated firewall. Its rules are read from its files; changes are made by its program.

use std::fs;

use serde_json::json;

use crate::modules::call::arguments::{flag, int, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["ufw"],
    params: &[
        text("state").of(&["enabled", "disabled", "reloaded", "reset"]),
        text("default").aka(&["policy"]).of(&["allow", "deny", "reject"]),
        text("logging").of(&["full", "high", "low", "medium", "off", "on"]),
        text("direction").of(&["in", "incoming", "out", "outgoing", "routed"]),
        flag("delete"),
        flag("route"),
        int("insert"),
        text("insert_relative_to").of(&["zero", "first-ipv4", "last-ipv4", "first-ipv6", "last-ipv6"]).or("zero"),
        text("rule").of(&["allow", "deny", "limit", "reject"]),
        text("interface").aka(&["if"]),
        text("interface_in").aka(&["if_in"]),
        text("interface_out").aka(&["if_out"]),
        flag("log"),
        text("from_ip").aka(&["from", "src"]).or("any"),
        text("from_port"),
        text("to_ip").aka(&["dest", "to"]).or("any"),
        text("to_port").aka(&["port"]),
        text("proto").aka(&["protocol"]).of(&["ah", "any", "esp", "ipv6", "tcp", "udp", "gre", "igmp", "vrrp"]),
        text("name").aka(&["app"]),
        text("comment"),
    ],
    files: false,
    run,
};

/// Where ufw keeps its rules, by version.
const RULES: [&str; 6] = [
    "/lib/ufw/user.rules",
    "/lib/ufw/user6.rules",
    "/etc/ufw/user.rules",
    "/etc/ufw/user6.rules",
    "/var/lib/ufw/user.rules",
    "/var/lib/ufw/user6.rules",
];

struct Ufw<'a> {
    task: &'a Task<'a>,
    commands: Vec<String>,
    /// `ufw status verbose` before any change.
    status: String,
    /// The rules before any change.
    rules: String,
}

impl Ufw<'_> {
    fn ask(&mut self, words: &[&str]) -> Result<String, Fault> {
        self.commands.push(format!("ufw {}", words.join(" ")));
        let argv = std::iter::once("ufw").chain(words.iter().copied());
        let output = Spawn::of(self.task, argv).env("LANG", "C").run();
        let output = output.map_err(|err| Fault::from(format!("could not run ufw: {err}")))?;
        if output.rc == 0 {
            return Ok(output.out());
        }
        let said = if output.stderr.is_empty() { output.out() } else { output.err() };
        Err(Fault::from(said.trim().to_owned()).with("rc", output.rc).with("commands", self.commands.clone()))
    }

    /// The lines that each represent a rule.
    fn current_rules(&self) -> String {
        let files = RULES.iter().filter_map(|file| fs::read_to_string(self.task.root.join(file)).ok());
        files.map(|text| tuples(&text)).collect()
    }

    fn state(&mut self, wanted: &str) -> Result<bool, Fault> {
        let enabled = self.status.contains("Status: active");
        if !self.task.check {
            let word = match wanted {
                "enabled" => "enable",
                "disabled" => "disable",
                "reloaded" => "reload",
                _ => "reset",
            };
            self.ask(&["-f", word])?;
        }
        Ok(match wanted {
            "enabled" => self.task.check && !enabled,
            "disabled" => self.task.check && enabled,
            _ => true,
        })
    }

    fn logging(&mut self, wanted: &str) -> Result<bool, Fault> {
        let said = self.status.lines().find_map(|line| line.strip_prefix("Logging: ")).unwrap_or_default();
        let (switch, level) = said.split_once(' ').unwrap_or((said, ""));
        let level = level.trim_matches(['(', ')']);
        let changed = match (switch, wanted) {
            ("on", "off") | ("off", "on" | "low" | "medium" | "high" | "full") => true,
            ("on", "on") | ("off", _) => false,
            ("on", wanted) => wanted != level,
            _ => true,
        };
        if !self.task.check {
            self.ask(&["logging", wanted])?;
        }
        Ok(changed)
    }

    fn default(&mut self, wanted: &str) -> Result<bool, Fault> {
        let direction = self.task.args.text("direction");
        if matches!(direction, Some("in" | "out")) {
            return Err(
                "For default, direction must be one of \"outgoing\", \"incoming\" and \"routed\", or direction must not be specified."
                    .into(),
            );
        }
        if !self.task.check {
            let words: Vec<&str> = ["default", wanted].into_iter().chain(direction).collect();
            self.ask(&words)?;
            return Ok(false);
        }
        let said = self.status.lines().find_map(|line| line.strip_prefix("Default: ")).unwrap_or_default();
        let of = format!("({})", direction.unwrap_or("incoming"));
        let current = said.split(',').find_map(|part| part.trim().strip_suffix(&of));
        Ok(current.map(str::trim).is_none_or(|current| current != wanted && current != "disabled"))
    }

    /// Where to insert the rule; none if it belongs at the end.
    fn place(&mut self, insert: i64) -> Result<Option<i64>, Fault> {
        let relative = self.task.args.str("insert_relative_to");
        if relative == "zero" {
            return Ok(Some(insert));
        }
        let numbered = Spawn::of(self.task, ["ufw", "status", "numbered"]).env("LANG", "C").must()?.out();
        let lines: Vec<(i64, bool)> = numbered
            .lines()
            .filter_map(|line| {
                let number = line.strip_prefix('[')?.split(']').next()?.trim().parse().ok()?;
                Some((number, line.contains("(v6)")))
            })
            .collect();
        let last = lines.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let last_v4 = lines.iter().filter(|(_, v6)| !v6).map(|(number, _)| *number).max();
        let base = match relative {
            "first-ipv4" => 1,
            "last-ipv4" => last_v4.unwrap_or(1),
            "first-ipv6" => last_v4.map_or(1, |number| number + 1),
            _ if lines.iter().any(|(_, v6)| *v6) => last,
            _ => last + 1,
        };
        // ufw refuses a number greater than that of the last rule.
        Ok(Some(insert + base).filter(|place| *place <= last))
    }

    fn rule(&mut self, wanted: &str) -> Result<bool, Fault> {
        let (task, args) = (self.task, &self.task.args);
        let direction = args.text("direction");
        if !matches!(direction, Some("in" | "out") | None) {
            return Err("For rules, direction must be one of \"in\" and \"out\", or direction must not be specified.".into());
        }
        if !args.flag("route") && args.has("interface_in") && args.has("interface_out") {
            return Err("Only route rules can combine interface_in and interface_out".into());
        }
        let place = match args.int("insert").filter(|_| !args.flag("delete")) {
            Some(insert) => self.place(insert)?.map(|place| place.to_string()),
            None => None,
        };
        let mut words: Vec<&str> = Vec::new();
        for (wanted, word) in [(task.check, "--dry-run"), (args.flag("route"), "route"), (args.flag("delete"), "delete")] {
            words.extend(wanted.then_some(word));
        }
        if let Some(place) = &place {
            words.extend(["insert", place]);
        }
        words.push(wanted);
        words.extend(direction);
        let interfaces = [("interface", None, "on"), ("interface_in", Some("in"), "on"), ("interface_out", Some("out"), "on")];
        for (name, way, on) in interfaces {
            if let Some(interface) = args.filled(name) {
                words.extend(way);
                words.extend([on, interface]);
            }
        }
        words.extend(args.flag("log").then_some("log"));
        for (name, word) in [
            ("from_ip", "from"),
            ("from_port", "port"),
            ("to_ip", "to"),
            ("to_port", "port"),
            ("proto", "proto"),
            ("name", "app"),
            ("comment", "comment"),
        ] {
            words.extend(args.filled(name).map(|value| [word, value]).into_iter().flatten());
        }
        let said = self.ask(&words)?;
        if !task.check || !said.is_empty() && said.lines().all(|line| line.contains("Skipping")) {
            return Ok(false);
        }
        // If the rule has addresses of one family, a dry run shows the rules of that family only.
        let (before, after) = (self.rules.clone(), tuples(&said));
        let addresses = [args.str("from_ip"), args.str("to_ip")];
        let only = |v6: bool| -> (String, String) {
            let of = |text: &str| text.split_inclusive('\n').filter(|line| holds_address(line, v6)).collect();
            (of(&before), of(&after))
        };
        let (before, after) = match addresses {
            addresses if addresses.iter().any(|address| is_address(address, false)) => only(false),
            addresses if addresses.iter().any(|address| is_address(address, true)) => only(true),
            _ => (before, after),
        };
        Ok(before != after)
    }
}

fn tuples(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| line.starts_with("### tuple")).collect()
}

/// Whether it is an address or a network of this family.
fn is_address(text: &str, v6: bool) -> bool {
    let address = text.split('/').next().unwrap_or_default().parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_ipv6() == v6)
}

fn holds_address(line: &str, v6: bool) -> bool {
    line.split_whitespace().any(|word| is_address(word, v6))
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.one_of(&["state", "default", "rule", "logging"])?;
    args.exclusive(&["name", "proto", "logging"])?;
    args.exclusive(&["direction", "interface_in"])?;
    args.exclusive(&["direction", "interface_out"])?;
    if args.has("interface") && !args.has("direction") {
        return Err("missing parameter(s) required by 'interface': direction".into());
    }
    let mut ufw = Ufw { task, commands: Vec::new(), status: String::new(), rules: String::new() };
    ufw.status = ufw.ask(&["status", "verbose"])?;
    ufw.rules = ufw.current_rules();
    let mut changed = false;
    if let Some(wanted) = args.text("state") {
        changed |= ufw.state(wanted)?;
    }
    if let Some(wanted) = args.text("default") {
        changed |= ufw.default(wanted)?;
    }
    if let Some(wanted) = args.text("rule") {
        changed |= ufw.rule(wanted)?;
    }
    if let Some(wanted) = args.text("logging") {
        changed |= ufw.logging(wanted)?;
    }
    if task.check {
        return Ok(json!({"changed": changed, "commands": ufw.commands}).into());
    }
    let status = ufw.ask(&["status", "verbose"])?;
    changed |= status != ufw.status || ufw.current_rules() != ufw.rules;
    Ok(json!({"changed": changed, "commands": ufw.commands, "msg": status.trim_end()}).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    const OLD: &str = "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n";
    const NEW: &str = "### tuple ### allow tcp 8500 0.0.0.0/0 any 0.0.0.0/0 in\n";

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("etc/ufw/user.rules", format!("*filter\n{OLD}-A x\n"));
        bench.write("etc/ufw/active", "inactive");
        let etc = bench.text_path("etc/ufw");
        let script = format!(
            "echo \"$*\" >> $NOTES; cd {etc}
            rules() {{ printf '*filter\\n{OLD}'; case \"$*\" in *8500*) printf '{NEW}';; esac; }}
            case \"$*\" in
            'status numbered') printf '[ 1] 22\\n[ 2] 80\\n[ 3] 22 (v6)\\n';;
            status*) echo \"Status: $(cat active)\"; echo 'Logging: on (low)';
                echo 'Default: deny (incoming), allow (outgoing), disabled (routed)';;
            '-f enable') echo active > active;;
            --dry-run*22*) echo 'Skipping adding existing rule';;
            --dry-run*) rules \"$*\";;
            *allow*) rules \"$*\" > user.rules;;
            esac"
        );
        bench.program("ufw", &script);
        bench
    }

    #[test]
    fn a_rule_is_predicted_and_added_once() {
        let bench = bench();
        let args = json!({"rule": "allow", "port": 8500, "proto": "tcp", "comment": "the agent"});
        let check = bench.call("community.general.ufw", args.clone(), true);
        assert_eq!((&check.result["changed"], bench.read("etc/ufw/user.rules").contains("8500")), (&json!(true), false));
        let done = bench.run("ufw", args.clone());
        assert_eq!(done["changed"], true);
        assert_eq!(done["commands"][1], "ufw allow from any to any port 8500 proto tcp comment the agent");
        assert_eq!(bench.run("ufw", args.clone())["changed"], false);
        assert_eq!(bench.call("ufw", args, true).result["changed"], false);
        assert_eq!(bench.call("ufw", json!({"rule": "allow", "to_port": "22"}), true).result["changed"], false);
    }

    #[test]
    fn states_and_defaults() {
        let bench = bench();
        let check = |args| bench.call("ufw", args, true).result["changed"].clone();
        assert_eq!(check(json!({"state": "enabled"})), true);
        assert_eq!(bench.run("ufw", json!({"state": "enabled"}))["changed"], true);
        assert_eq!(bench.run("ufw", json!({"state": "enabled"}))["changed"], false);
        assert_eq!(check(json!({"state": "enabled"})), false);
        assert_eq!(check(json!({"default": "deny"})), false);
        assert_eq!(check(json!({"default": "deny", "direction": "outgoing"})), true);
        assert_eq!(check(json!({"logging": "low"})), false);
        assert_eq!(check(json!({"logging": "off"})), true);
    }

    #[test]
    fn places_relative_to_others() {
        let bench = bench();
        let args = json!({"rule": "allow", "port": 8500, "insert": -1, "insert_relative_to": "first-ipv6", "direction": "in", "interface": "eth0"});
        let done = bench.run("ufw", args);
        assert_eq!(done["commands"][1], "ufw insert 2 allow in on eth0 from any to any port 8500");
        assert!(bench.fault("ufw", json!({"rule": "allow", "interface": "x"})).contains("direction"));
        assert!(bench.fault("ufw", json!({"rule": "allow", "direction": "incoming"})).starts_with("For rules"));
        assert!(bench.fault("ufw", json!({})).contains("state, default, rule, logging"));
    }
}
