//! The single table of modules: what a play may call, by which names, and where each one runs.
//!
//! The agent has a module for every name with [`At::Guest`] or [`At::Both`], the controller an action for every one with [`At::Controller`]
//! or [`At::Both`]; tests on both sides check this.

/// Where a module runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// In the guest only.
    Guest,
    /// On the controller, which may call other modules.
    Controller,
    /// The controller prepares the work, and the guest's module of the same name completes it.
    Both,
}

/// A module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Its short name, without a collection.
    pub name: &'static str,
    /// Other names of the same module.
    pub aliases: &'static [&'static str],
    /// Where it runs.
    pub at: At,
    /// Whether text given instead of arguments is one argument rather than `key=value` words.
    pub takes_text: bool,
    /// Whether it runs in check mode; otherwise it is skipped there.
    pub checks: bool,
    /// Whether it runs a program chosen by the caller: its effects are unknown, and it handles `become` itself.
    pub runs_programs: bool,
    /// Whether it evaluates templates in its arguments itself, or leaves some of them unevaluated.
    pub takes_templates: bool,
}

impl Module {
    const fn at(at: At, name: &'static str) -> Self {
        Self { name, aliases: &[], at, takes_text: false, checks: true, runs_programs: false, takes_templates: false }
    }

    const fn aka(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn text(self) -> Self {
        Self { takes_text: true, ..self }
    }

    const fn unchecked(self) -> Self {
        Self { checks: false, ..self }
    }

    const fn program(self) -> Self {
        Self { runs_programs: true, ..self }
    }

    const fn templates(self) -> Self {
        Self { takes_templates: true, ..self }
    }

    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

const fn guest(name: &'static str) -> Module {
    Module::at(At::Guest, name)
}

const fn controller(name: &'static str) -> Module {
    Module::at(At::Controller, name)
}

const fn both(name: &'static str) -> Module {
    Module::at(At::Both, name)
}

/// All modules, by name.
pub const MODULES: &[Module] = &[
    guest("acl"),
    controller("add_host"),
    guest("alternatives"),
    guest("apk"),
    guest("apt"),
    guest("apt_key"),
    guest("apt_repository"),
    guest("archive"),
    both("artifact"),
    both("assemble"),
    controller("assert").templates(),
    controller("async_status"),
    guest("authorized_key"),
    guest("blockinfile"),
    guest("capabilities"),
    guest("command").text().program(),
    guest("consul_kv"),
    both("copy"),
    guest("cron"),
    guest("deb822_repository"),
    guest("debconf"),
    controller("debug").templates(),
    guest("dnf").aka(&["dnf5", "yum"]),
    guest("dpkg_selections"),
    controller("fail"),
    controller("fetch"),
    guest("file"),
    guest("filesystem"),
    guest("find"),
    guest("get_url"),
    guest("getent"),
    guest("git"),
    guest("group"),
    controller("group_by"),
    guest("hostname"),
    guest("htpasswd"),
    controller("import_playbook").text(),
    controller("import_role").text(),
    controller("import_tasks").text(),
    controller("include_role").text().templates(),
    controller("include_tasks").text().templates(),
    controller("include_vars").text(),
    guest("ini_file"),
    guest("iptables"),
    guest("known_hosts"),
    guest("lineinfile"),
    guest("locale_gen"),
    controller("meta").text(),
    guest("modprobe"),
    guest("mount"),
    guest("nomad_deploy"),
    guest("nomad_job"),
    guest("openssh_keypair"),
    guest("package"),
    guest("package_facts"),
    guest("pam_limits"),
    guest("pamd"),
    controller("pause"),
    guest("ping"),
    guest("pip"),
    guest("raw").text().program().unchecked(),
    controller("reboot"),
    guest("replace"),
    both("script").text().program(),
    guest("service").aka(&["sysvinit"]),
    guest("service_facts"),
    controller("set_fact"),
    controller("set_stats"),
    both("setup").aka(&["gather_facts"]),
    guest("shell").text().program(),
    guest("slurp"),
    guest("stat"),
    both("synchronize"),
    guest("sysctl"),
    guest("systemd").aka(&["systemd_service"]),
    guest("tempfile").unchecked(),
    both("template"),
    guest("timezone"),
    guest("ufw"),
    both("unarchive"),
    guest("uri").unchecked(),
    guest("user"),
    controller("validate_argument_spec"),
    guest("wait_for").unchecked(),
    controller("wait_for_connection"),
    guest("xattr"),
];

/// The module with that short name.
pub fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.names().any(|known| known == name))
}

/// Whether a module may run arbitrary programs, so that its effects are unknown.
pub fn runs_programs(name: &str) -> bool {
    find(name).is_some_and(|module| module.runs_programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_no_name_is_given_twice() {
        assert!(MODULES.is_sorted_by(|one, other| one.name < other.name));
        let mut names: Vec<&str> = MODULES.iter().flat_map(Module::names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(find("dnf5").map(|module| module.name), Some("dnf"));
        assert_eq!(find("nope"), None);
    }

    /// The list in the user documentation.
    #[test]
    fn the_documents_have_the_same_list() {
        let text = include_str!("../../docs/ansible-differences.md");
        let list = text.split("\n## Modules\n").nth(1).expect("a list of modules").split("\n## ").next().unwrap_or_default();
        let told: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
        let known: Vec<&str> = MODULES.iter().flat_map(Module::names).collect();
        assert_eq!(told, known);
    }
}
