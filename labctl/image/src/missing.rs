//! Programs that may be missing on the host.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::child;

/// Something missing on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Name of the program or setting.
    pub what: String,
    /// Why it is needed.
    pub why: String,
    /// What to do, including the command.
    pub fix: String,
    /// Only the command, for a Debian, Ubuntu or macOS host, if there is one.
    pub fix_command: Option<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing; it {}", self.what, self.why)
    }
}

/// A program that some step runs.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name of the program.
    pub program: &'static str,
    /// Debian package, or Homebrew's on macOS.
    pub package: &'static str,
    /// Completes the sentence "is missing; it ...".
    pub why: &'static str,
}

/// Makes a Debian root folder.
pub const MMDEBSTRAP: Tool = Tool { program: "mmdebstrap", package: "mmdebstrap", why: "builds images from distribution packages" };
/// Makes a file system in a file.
pub const MKE2FS: Tool = Tool { program: "mke2fs", package: "e2fsprogs", why: "makes the disk of an image" };

/// Fails unless the program is installed.
pub fn need(tool: &Tool) -> Result<(), Missing> {
    if child::find(tool.program).is_some() {
        return Ok(());
    }
    Err(missing_tool(tool))
}

fn missing_tool(tool: &Tool) -> Missing {
    let installer = if cfg!(target_os = "macos") { "brew" } else { "sudo apt-get" };
    let command = format!("{installer} install {}", tool.package);
    Missing {
        what: format!("`{}`", tool.program),
        why: tool.why.to_string(),
        fix: format!("install it: `{command}`"),
        fix_command: Some(command),
    }
}

/// A program that disappeared during a build, or that no check covers.
pub(crate) fn unknown(program: &str) -> Missing {
    Missing {
        what: format!("`{program}`"),
        why: "is run by the build".to_string(),
        fix: format!("install the package that contains `{program}`"),
        fix_command: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_tool_is_named_with_its_package() {
        let tool = Tool { program: "no-such-program", package: "nothing", why: "does nothing" };
        let missing = need(&tool).unwrap_err();
        assert_eq!(missing.to_string(), "`no-such-program` is missing; it does nothing");
        assert_eq!(missing.fix_command.as_deref(), Some("sudo apt-get install nothing"));
        assert!(missing.fix.contains("sudo apt-get install nothing"));
    }
}
