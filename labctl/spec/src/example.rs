//! The lab file that a new user starts from.

use crate::ident::LabName;

/// The placeholder for the lab's name in [`LAB_EXAMPLE`].
const NAME: &str = "LABNAME";

/// A commented lab file of one plain machine; `LABNAME` stands for the lab's name ([`example_lab`] puts it in).
pub const LAB_EXAMPLE: &str = include_str!("example.yml");

/// A commented lab file of one plain machine for the lab `name`. It passes [`crate::parse_lab`] wherever it is put.
pub fn example_lab(name: &LabName) -> String {
    LAB_EXAMPLE.replace(NAME, name.as_str())
}
