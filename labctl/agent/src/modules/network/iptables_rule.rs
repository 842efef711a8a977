//! Builds a rule for iptables(8) from a task's arguments, in the order in which Ansible's module writes it.

use serde_json::Value;

use crate::modules::call::arguments::{Arguments, as_text};

/// Words of a rule.
struct Words<'a> {
    args: &'a Arguments,
    words: Vec<String>,
}

impl Words<'_> {
    fn push(&mut self, words: &[&str]) {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// Adds the option with this value; a leading `!` goes before the option.
    fn value(&mut self, option: &str, value: &str) {
        match value.strip_prefix('!') {
            Some(value) => self.push(&["!", option, value]),
            None => self.push(&[option, value]),
        }
    }

    fn param(&mut self, name: &str, option: &str) {
        if let Some(value) = self.args.filled(name).map(str::to_owned) {
            self.value(option, &value);
        }
    }

    fn given(&self, name: &str) -> bool {
        self.args.filled(name).is_some()
    }

    fn jump(&self) -> String {
        let logs = self.given("log_prefix") || self.given("log_level");
        self.args.filled("jump").unwrap_or(if logs { "LOG" } else { "" }).to_owned()
    }

    fn csv(&mut self, name: &str, option: &str) {
        let items = self.args.list(name);
        if !items.is_empty() {
            self.push(&[option, &items.join(",")]);
        }
    }

    fn tcp_flags(&mut self) {
        let join = |value: Option<&Value>| match value {
            Some(Value::Array(items)) => Some(items.iter().map(as_text).collect::<Vec<_>>().join(",")),
            Some(Value::Null) | None => None,
            Some(text) => Some(as_text(text)),
        };
        if let Some(flags) = self.args.dict("tcp_flags")
            && let (Some(mask), Some(set)) = (join(flags.get("flags")), join(flags.get("flags_set")))
        {
            self.push(&["--tcp-flags", &mask, &set]);
        }
    }

    /// Loads an extension for an option unless the task loads it itself.
    fn extension(&mut self, wanted: bool, extension: &str) {
        if wanted && !self.args.list("match").iter().any(|name| name == extension) {
            self.push(&["-m", extension]);
        }
    }

    fn target(&mut self) {
        let jump = self.jump();
        if !jump.is_empty() {
            self.value("-j", &jump);
        }
        if jump.eq_ignore_ascii_case("tee") {
            self.param("gateway", "--gateway");
        }
    }

    fn marks(&mut self) {
        let is_dscp = self.jump().eq_ignore_ascii_case("dscp");
        for (name, option) in [("set_dscp_mark", "--set-dscp"), ("set_dscp_mark_class", "--set-dscp-class")] {
            self.param(name, option);
            if self.given(name) && !is_dscp {
                self.push(&["-j", "DSCP"]);
            }
        }
    }

    fn connection_state(&mut self) {
        let matches = self.args.list("match");
        let loads = |name: &str| matches.iter().any(|one| one == name);
        if !loads("conntrack") && loads("state") {
            return self.csv("ctstate", "--state");
        }
        let wanted = !self.args.list("ctstate").is_empty();
        self.extension(wanted, "conntrack");
        self.csv("ctstate", "--ctstate");
    }

    fn owner(&mut self, name: &str, option: &str) {
        if self.given(name) {
            self.push(&["-m", "owner"]);
            self.param(name, option);
        }
    }
}

/// The words of the rule; none if the task specifies no part of a rule.
pub(crate) fn rule(args: &Arguments) -> Vec<String> {
    let mut words = Words { args, words: Vec::new() };
    for (name, option) in [("protocol", "-p"), ("source", "-s"), ("destination", "-d")] {
        words.param(name, option);
    }
    for extension in args.list("match") {
        words.value("-m", &extension);
    }
    words.tcp_flags();
    words.target();
    for (name, option) in [("log_prefix", "--log-prefix"), ("log_level", "--log-level"), ("to_destination", "--to-destination")] {
        words.param(name, option);
    }
    if !args.list("destination_ports").is_empty() {
        words.push(&["-m", "multiport"]);
    }
    words.csv("destination_ports", "--dports");
    for (name, option) in [
        ("to_source", "--to-source"),
        ("goto", "-g"),
        ("in_interface", "-i"),
        ("out_interface", "-o"),
        ("fragment", "-f"),
        ("set_counters", "-c"),
        ("source_port", "--source-port"),
        ("destination_port", "--destination-port"),
        ("to_ports", "--to-ports"),
    ] {
        words.param(name, option);
    }
    words.marks();
    match args.str("syn") {
        "match" => words.push(&["--syn"]),
        "negate" => words.push(&["!", "--syn"]),
        _ => {}
    }
    words.connection_state();
    words.extension(words.given("src_range") || words.given("dst_range"), "iprange");
    words.param("src_range", "--src-range");
    words.param("dst_range", "--dst-range");
    words.extension(words.given("match_set"), "set");
    words.param("match_set", "--match-set");
    if let Some(flags) = args.filled("match_set_flags").filter(|_| args.has("match_set")) {
        words.push(&[flags]);
    }
    if words.given("limit") || words.given("limit_burst") {
        words.push(&["-m", "limit"]);
    }
    words.param("limit", "--limit");
    words.param("limit_burst", "--limit-burst");
    words.owner("uid_owner", "--uid-owner");
    words.owner("gid_owner", "--gid-owner");
    if words.jump().is_empty() && words.given("reject_with") {
        words.push(&["-j", "REJECT"]);
    }
    words.param("reject_with", "--reject-with");
    words.param(
        "icmp_type",
        match args.str("ip_version") {
            "ipv6" => "--icmpv6-type",
            _ => "--icmp-type",
        },
    );
    if words.given("comment") {
        words.push(&["-m", "comment"]);
    }
    words.param("comment", "--comment");
    words.words
}
