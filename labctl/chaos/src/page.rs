//! A page of readable text: lines and tables, with optional colours.

use std::fmt::Write as _;

#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Good,
    Bad,
    Faint,
    Bold,
}

pub(crate) struct Page {
    pub text: String,
    pub colour: bool,
    /// The time that all others are relative to, in milliseconds since the run's start.
    pub zero_ms: u64,
}

impl Page {
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref().trim_end());
        self.text.push('\n');
    }

    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Good => "32",
            Colour::Bad => "31",
            Colour::Faint => "2",
            Colour::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A time of the run, relative to the first shot.
    pub(crate) fn at(&self, ms: u64) -> String {
        if ms >= self.zero_ms {
            format!("+{:.2} s", (ms - self.zero_ms) as f64 / 1e3)
        } else {
            format!("-{:.2} s", (self.zero_ms - ms) as f64 / 1e3)
        }
    }

    /// Columns as wide as their widest cell.
    pub(crate) fn table<const N: usize>(&mut self, rows: &[[String; N]]) {
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for (index, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a string cannot fail.
                let _ = write!(line, "  {cell:width$}");
            }
            let line = match index {
                0 => self.paint(Colour::Faint, line.trim_end()),
                _ => line,
            };
            self.line(line);
        }
    }
}
