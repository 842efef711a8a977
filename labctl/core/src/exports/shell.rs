//! Exports as lines that a shell evaluates. Whatever is in a value, the shell takes it literally.

use super::Exports;

/// The language of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// POSIX shells, bash, zsh.
    Sh,
    /// fish.
    Fish,
    /// PowerShell.
    Powershell,
}

impl Shell {
    /// The lines.
    pub fn lines(self, exports: &Exports) -> String {
        let line = |(name, value): &(String, String)| match self {
            Self::Sh => format!("export {name}={}", self.quoted(value)),
            Self::Fish => format!("set -gx {name} {}", self.quoted(value)),
            Self::Powershell => format!("$Env:{name} = {}", self.quoted(value)),
        };
        exports.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn quoted(self, value: &str) -> String {
        let inside = match self {
            Self::Sh => value.replace('\'', r"'\''"),
            // Only these two are special between fish's single quotes.
            Self::Fish => value.replace('\\', r"\\").replace('\'', r"\'"),
            // PowerShell takes typographic quotes for plain ones, too.
            Self::Powershell => value.chars().flat_map(|c| std::iter::repeat_n(c, if "'‘’‚‛".contains(c) { 2 } else { 1 })).collect(),
        };
        format!("'{inside}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "it's $(touch /tmp/x) `id` \"a\" \\ $HOME !x\n; exit 1 #";

    #[test]
    fn nothing_in_a_value_is_evaluated() {
        let exports = vec![("X".to_owned(), NASTY.to_owned()), ("Y".to_owned(), "2".to_owned())];
        let script = "eval \"$(cat)\"; printf '%s|%s' \"$X\" \"$Y\"";
        let shown = std::process::Command::new("sh").args(["-c", script]).stdin(stream(&Shell::Sh.lines(&exports))).output().unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), format!("{NASTY}|2"));
    }

    fn stream(text: &str) -> std::fs::File {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn other_shells_have_other_quotes() {
        let exports = vec![("X".to_owned(), r"a'b\c’d".to_owned())];
        assert_eq!(Shell::Fish.lines(&exports), r"set -gx X 'a\'b\\c’d'");
        assert_eq!(Shell::Powershell.lines(&exports), r"$Env:X = 'a''b\c’’d'");
    }
}
