//! Names of modules.

/// Collections whose modules are known by short names.
const COLLECTIONS: &[&str] = &[
    "ansible.builtin.",
    "ansible.legacy.",
    "ansible.posix.",
    "ansible.utils.",
    "community.general.",
    "community.crypto.",
    "community.hashi_vault.",
    "community.docker.",
    "community.mysql.",
    "community.postgresql.",
];

/// The short name of a module: `ansible.builtin.copy` is `copy`; names in other collections are unchanged.
pub(crate) fn short_name(name: &str) -> &str {
    COLLECTIONS.iter().find_map(|prefix| name.strip_prefix(prefix)).filter(|short| !short.contains('.')).unwrap_or(name)
}
