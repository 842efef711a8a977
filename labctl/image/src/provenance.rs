//! Notes on where a baked image comes from.

use serde::{Deserialize, Serialize};

/// Where a baked image comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the image that its machine was based on.
    pub base: String,
    /// That image's id.
    pub base_id: String,
    /// The node that was baked, as `LAB/NODE`; none if a machine was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Roles that were run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Packages in it, each as `NAME VERSION`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Version of labctl.
    pub labctl: String,
}
