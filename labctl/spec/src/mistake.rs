//! What is wrong in a file: all mistakes at once, each with its location.

use std::fmt;
use std::path::PathBuf;

/// One thing wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file with the mistake.
    pub file: PathBuf,
    /// Line, from 1; 0 if the mistake concerns the whole file.
    pub line: usize,
    /// Column, from 1; 0 if unknown.
    pub column: usize,
    /// Path of the field, such as `nodes[1].memory`; empty for the document.
    pub field: String,
    /// What is wrong, including the offending value.
    pub reason: String,
    /// What to write instead, or which values are allowed.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", legible(&self.field))?;
        }
        write!(f, "{}", legible(&self.reason))?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// Longest part of a message that comes from the file, in characters.
const LONGEST: usize = 400;

/// Makes text from the file safe to print: one line, no characters that move the cursor or reverse the text direction, limited length.
fn legible(text: &str) -> String {
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let show = |text: &mut dyn Iterator<Item = char>| -> String {
        text.map(|c| if hidden(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
    };
    let length = text.chars().count();
    if length <= LONGEST {
        return show(&mut text.chars());
    }
    // The end states what is wrong with the value.
    let half = LONGEST / 2;
    format!("{} [...] {}", show(&mut text.chars().take(half)), show(&mut text.chars().skip(length - half)))
}

/// How many mistakes are printed; one typo can cause hundreds.
const PRINTED: usize = 30;

/// All mistakes of a file in line order; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().take(PRINTED).enumerate() {
            write!(f, "{}{fault}", if position == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(PRINTED) {
            0 => Ok(()),
            more => write!(f, "\n... and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: usize, reason: String) -> Mistake {
        Mistake { file: "lab.yml".into(), line, column: 1, field: String::new(), reason, hint: None }
    }

    #[test]
    fn what_a_file_says_cannot_spoil_the_terminal() {
        let shown = fault(1, "`a\n\u{1b}[31m\u{202e}b` is bad".into()).to_string();
        assert_eq!(shown, "lab.yml:1:1: `a\\n\\u{1b}[31m\\u{202e}b` is bad");
        let long = fault(1, format!("`{}` is not a name", "ä".repeat(100_000))).to_string();
        assert!(long.len() < 1000 && long.ends_with("ä` is not a name"), "{long}");
    }

    #[test]
    fn many_faults_are_counted() {
        let faults = Mistakes((1..=PRINTED + 7).map(|line| fault(line, "bad".into())).collect());
        let text = faults.to_string();
        assert_eq!(text.lines().count(), PRINTED + 1);
        assert!(text.ends_with("\n... and 7 more"), "{text}");
    }
}
