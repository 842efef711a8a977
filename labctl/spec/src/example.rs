//! The lab file that a new user starts with.

use crate::ident::LabName;

/// The placeholder for the lab's name in [`LAB_EXAMPLE`].
const NAME: &str = "LABNAME";

/// A commented lab file with one plain machine; `LABNAME` stands for the lab's name ([`example_lab`] replaces it).
pub const LAB_EXAMPLE: &str = include_str!("example.yml");

/// A commented lab file with one plain machine for the lab `name`. It passes [`crate::parse_lab`] in any folder.
pub fn example_lab(name: &LabName) -> String {
    LAB_EXAMPLE.replace(NAME, name.as_str())
}
