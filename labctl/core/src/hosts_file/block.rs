//! Finding and replacing a lab's block. Works on bytes: the rest of the file may be in any encoding.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;

use super::Shadowed;

/// Markers that do not form one block. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// A begin marker without an end.
    Open { lab: LabName, line: usize },
    /// An end marker without a begin.
    Unopened { lab: LabName, line: usize },
    /// A second begin marker.
    Second { lab: LabName, line: usize, first: usize },
    /// Another lab's marker inside the block.
    Foreign { lab: LabName, line: usize, first: usize },
}

impl Broken {
    /// The failure for the file.
    pub fn at(self, file: &Path) -> Failure {
        let file = file.display();
        let (message, lab) = match self {
            Self::Open { lab, line } => (format!("{file}:{line}: `{}` has no end", begin(&lab)), lab),
            Self::Unopened { lab, line } => (format!("{file}:{line}: `{}` has no begin before it", end(&lab)), lab),
            Self::Second { lab, line, first } => (format!("{file}:{line}: a second `{}`; the first is on line {first}", begin(&lab)), lab),
            Self::Foreign { lab, line, first } => {
                (format!("{file}:{line}: another lab's marker inside the block of lab `{lab}` that begins on line {first}"), lab)
            }
        };
        Failure::new(Kind::Input, message).hint(format!(
            "nothing was changed; remove the rest of the block from {file} (all `# labctl {lab} ...` lines and the \
             lab's lines between them), then repeat the command"
        ))
    }
}

fn begin(lab: &LabName) -> String {
    format!("# labctl {lab} begin")
}

fn end(lab: &LabName) -> String {
    format!("# labctl {lab} end")
}

/// The lines of a file with their line endings, and where each starts.
fn numbered(text: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut at = 0;
    text.split_inclusive(|byte| *byte == b'\n').enumerate().map(move |(index, line)| {
        let start = at;
        at += line.len();
        (index + 1, start, line)
    })
}

/// The byte range of the lab's block, markers included; none if there is no block.
pub fn find(text: &[u8], lab: &LabName) -> Result<Option<Range<usize>>, Broken> {
    let (begin, end) = (begin(lab), end(lab));
    let mut opened: Option<(usize, usize)> = None;
    let mut found: Option<(usize, Range<usize>)> = None;
    for (number, start, line) in numbered(text) {
        let bare = line.trim_ascii_end();
        if bare == begin.as_bytes() {
            if let Some(first) = opened.map(|(first, _)| first).or(found.as_ref().map(|(first, _)| *first)) {
                return Err(Broken::Second { lab: lab.clone(), line: number, first });
            }
            opened = Some((number, start));
        } else if bare == end.as_bytes() {
            let Some((first, from)) = opened.take() else {
                return Err(Broken::Unopened { lab: lab.clone(), line: number });
            };
            found = Some((first, from..start + line.len()));
        } else if let Some((first, _)) = opened
            && is_marker(bare)
        {
            return Err(Broken::Foreign { lab: lab.clone(), line: number, first });
        }
    }
    match opened {
        Some((line, _)) => Err(Broken::Open { lab: lab.clone(), line }),
        None => Ok(found.map(|(_, range)| range)),
    }
}

/// Whether a line is a marker of any lab.
fn is_marker(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    matches!(words[..], [b"#", b"labctl", _, b"begin" | b"end"])
}

/// The text with the found block replaced by one of `lines`, or removed. A new block is appended. Removing what was added restores the same
/// bytes: a block after a last line without a line ending has none either.
pub fn replace(text: &[u8], lab: &LabName, found: Option<Range<usize>>, lines: Option<&str>) -> Vec<u8> {
    let newline = newline(text);
    let range = found.unwrap_or(text.len()..text.len());
    let (mut before, after) = (text[..range.start].to_vec(), &text[range.end..]);
    let Some(lines) = lines else {
        let unended = text[range].last().is_some_and(|last| *last != b'\n');
        if unended && before.ends_with(newline.as_bytes()) {
            before.truncate(before.len() - newline.len());
        }
        return [&before, after].concat();
    };
    let mut block = begin(lab) + newline;
    for line in lines.lines() {
        block += &format!("{line}{newline}");
    }
    block += &end(lab);
    // The last byte of the current block, or of the line before.
    let ended = match text[range.clone()].last() {
        Some(last) => *last == b'\n',
        None => before.last().is_none_or(|last| *last == b'\n'),
    };
    if ended || !after.is_empty() {
        block += newline;
    }
    if before.last().is_some_and(|last| *last != b'\n') {
        before.extend_from_slice(newline.as_bytes());
    }
    [&before, block.as_bytes(), after].concat()
}

/// The file's line ending, taken from its first line.
fn newline(text: &[u8]) -> &'static str {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && text[at - 1] == b'\r' => "\r\n",
        _ => "\n",
    }
}

/// Address and names of one line.
fn entry(line: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let mut words = line.split('#').next()?.split_whitespace();
    Some((words.next()?, words))
}

/// Names of `lines` that other lines of the file map to a different address.
pub fn shadowed(file: &Path, text: &[u8], found: Option<Range<usize>>, lines: &str) -> Vec<Shadowed> {
    let mut ours = BTreeMap::new();
    for (address, names) in lines.lines().filter_map(entry) {
        ours.extend(names.map(|name| (name.to_ascii_lowercase(), address)));
    }
    let own = found.unwrap_or(0..0);
    let mut result = Vec::new();
    for (number, start, line) in numbered(text) {
        let line = String::from_utf8_lossy(line);
        let Some((address, names)) = entry(&line).filter(|_| !own.contains(&start)) else {
            continue;
        };
        for name in names {
            if let Some(wanted) = ours.get(&name.to_ascii_lowercase()).filter(|wanted| **wanted != address) {
                result.push(Shadowed {
                    file: file.to_owned(),
                    line: number,
                    name: name.to_owned(),
                    address: address.to_owned(),
                    wanted: (*wanted).to_owned(),
                });
            }
        }
    }
    result
}
