//! Every command line in messages, hints, help and documents is valid.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::habits;

/// A command line and where it was found.
#[derive(Debug)]
struct Told {
    place: String,
    line: String,
}

/// Files below a folder with one of these extensions.
fn files(folder: &Path, endings: &[&str], out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, endings, out);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            out.push(path);
        }
    }
}

/// The texts of a Rust file with their line numbers: string literals, and the comments that become help and
/// documentation.
fn texts(source: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = source.chars().collect();
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let starts = |text: &str| rest.len() >= text.len() && text.chars().zip(rest).all(|(one, other)| one == *other);
        let whole: usize = if starts("//") {
            let end = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            let comment: String = rest[..end].iter().collect();
            if let Some(text) = comment.strip_prefix("///").or_else(|| comment.strip_prefix("//!")) {
                out.push((line, text.trim().to_owned()));
            }
            end
        } else if starts("r\"") || starts("r#") && rest.iter().skip(1).find(|c| **c != '#') == Some(&'"') {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let begin = hashes + 2;
            let length = rest[begin..].windows(close.len()).position(|window| window == close).unwrap_or(rest.len() - begin - close.len());
            out.push((line, rest[begin..begin + length].iter().collect()));
            begin + length + close.len()
        } else if starts("\"") {
            let (text, length) = literal(&rest[1..]);
            out.push((line, text));
            length + 2
        } else if starts("'") && rest.get(1) == Some(&'\\') {
            rest.iter().skip(3).position(|c| *c == '\'').map_or(1, |end| end + 4)
        } else if starts("'") && rest.get(2) == Some(&'\'') {
            3
        } else {
            1
        };
        let whole = whole.min(rest.len());
        line += rest[..whole].iter().filter(|c| **c == '\n').count();
        at += whole;
    }
    out
}

/// A literal's text, and its length in the source.
fn literal(source: &[char]) -> (String, usize) {
    let (mut text, mut at) = (String::new(), 0);
    while at < source.len() && source[at] != '"' {
        if source[at] != '\\' {
            text.push(source[at]);
            at += 1;
            continue;
        }
        match source.get(at + 1) {
            Some('n') => text.push('\n'),
            Some('\n') => {
                // A continuation line.
                while source.get(at + 2).is_some_and(|c| c.is_whitespace()) {
                    at += 1;
                }
            }
            Some(c @ ('"' | '\\' | '\'')) => text.push(*c),
            _ => text.push(' '),
        }
        at += 2;
    }
    (text, at)
}

/// The command lines in a text: in backquotes, at the start of a line of code, or after a word that announces one.
/// `code` returns whether a line is code.
fn commands(text: &str, code: impl Fn(usize, &str) -> bool) -> Vec<(usize, String)> {
    let known: Vec<String> = habits::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let parts = quoted.split(" && ").filter(|part| part.starts_with("labctl "));
            let alone = |part: &str| part.split(" | ").next().and_then(|part| part.split(" > ").next()).unwrap_or(part).to_owned();
            out.extend(parts.map(|part| (at, alone(part))));
        }
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("\u{0}");
        let mut rest = plain.as_str();
        while let Some(found) = rest.find("labctl ") {
            let before = &rest[..found];
            let after = &rest[found + "labctl ".len()..];
            let first = after.split([' ', ',', ';', ':', '.']).next().unwrap_or_default();
            let begins = before.trim_start_matches(['#', '$', ' ']).is_empty()
                || before.ends_with("&& ")
                || before.ends_with("; ")
                || before.ends_with("| ");
            // In prose, the name may be part of a sentence. A `labctl up` in backquotes is always a command.
            let announced = before.ends_with(": ") || before.ends_with("or ") || before.ends_with("; ");
            let is_word = before.ends_with(|c: char| c.is_alphanumeric() || "-/_".contains(c));
            if !is_word && (begins && code(at, line) || announced && (known.iter().any(|name| name == first) || first.starts_with('-'))) {
                let end = ["  ", " #", "#  ", " && ", "; ", " > ", " < ", " | ", " (", ", ", "\u{0}"]
                    .iter()
                    .filter_map(|stop| after.find(stop))
                    .min();
                let whole = after[..end.unwrap_or(after.len())].trim_end();
                // A dot of its own is this folder.
                let command = if whole.ends_with(" .") { whole } else { whole.trim_end_matches(['.', ',', ':', ';', ')', ' ']) };
                out.push((at, format!("labctl {command}")));
            }
            rest = after;
        }
    }
    out
}

/// All command lines that users can see.
fn told() -> Vec<Told> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut out = Vec::new();
    let mut sources = Vec::new();
    files(&root.join("labctl"), &[".rs"], &mut sources);
    for path in sources.iter().filter(|path| !path.ends_with("told_tests.rs") && !path.ancestors().any(|above| above.ends_with("tests"))) {
        for (line, text) in texts(&fs::read_to_string(path).unwrap()) {
            // A text that starts with a command is a command, unless what follows reads like a sentence.
            let found = commands(&text, |_, line| looks_like_a_command(line));
            out.extend(found.into_iter().map(|(at, command)| Told { place: format!("{}:{}", path.display(), line + at), line: command }));
        }
    }
    let mut documents = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    files(&root.join("labctl/docs"), &[".md"], &mut documents);
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        let mut fenced = false;
        let code: Vec<bool> = text
            .lines()
            .map(|line| {
                let fence = line.starts_with("```");
                fenced ^= fence;
                !fence && (fenced || line.starts_with("    "))
            })
            .collect();
        let found = commands(&text, |at, _| code[at]);
        out.extend(found.into_iter().map(|(at, command)| Told { place: format!("{}:{}", path.display(), at + 1), line: command }));
    }
    let mut examples = Vec::new();
    for folder in ["hosts", "images", "roles", "scenarios", "labctl/cli/src", "labctl/core/src"] {
        files(&root.join(folder), &[".yml", ".yaml", ".md"], &mut examples);
    }
    for path in examples {
        let found = commands(&fs::read_to_string(&path).unwrap(), |_, line| looks_like_a_command(line.trim_start_matches(['#', ' '])));
        out.extend(found.into_iter().map(|(at, command)| Told { place: format!("{}:{}", path.display(), at + 1), line: command }));
    }
    out
}

/// Whether a line that starts with labctl's name is a command, rather than a sentence about labctl.
fn looks_like_a_command(line: &str) -> bool {
    /// Words that follow labctl's name in sentences and markers.
    const SENTENCES: &[&str] = &[
        "begin", "end", "agent", "block", "is", "cannot", "could", "does", "has", "needs", "goes", "and", "demo", "serves", "starts",
        "runs", "calls", "knows",
    ];
    let mut words = line.trim_start_matches("$ ").split_whitespace();
    words.next() == Some("labctl") && words.next().is_some_and(|word| !SENTENCES.contains(&word))
}

/// Splits a command line into words like a shell, and replaces placeholders with `stand_in`.
fn words(line: &str, stand_in: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let (mut word, mut quote, mut depth) = (String::new(), None, 0);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('{', _) => depth += 1,
            ('}', _) => {
                depth -= 1;
                word.push_str(stand_in);
            }
            (_, _) if depth > 0 => {}
            (c, None) if c.is_whitespace() => out.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            (c, _) => word.push(c),
        }
    }
    out.extend(Some(word).filter(|word| !word.is_empty()));
    let placeholder =
        |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || "_-".contains(c)) && !word.starts_with('-');
    let filled = out.into_iter().filter(|word| word != "..." && word != "…").map(|word| {
        let bare = word.trim_matches(['[', ']']).trim_end_matches("...").to_owned();
        match bare.as_str() {
            "SUBNET" => "10.99.0.0/24".to_owned(),
            "COMMAND" => "status".to_owned(),
            bare if placeholder(bare) => stand_in.to_owned(),
            _ => bare,
        }
    });
    filled.collect()
}

/// Why a command line is invalid.
fn fault(line: &str) -> Option<String> {
    // `exec|ssh` stands for two commands.
    let choices: Vec<String> = match line.split(' ').find(|word| word.contains('|') && !word.starts_with('|')) {
        Some(choice) => choice.split('|').map(|one| line.replace(choice, one)).collect(),
        None => vec![line.to_owned()],
    };
    choices.iter().find_map(|line| {
        let mut last = None;
        for stand_in in ["web1", "1", "7s"] {
            let words = words(line, stand_in);
            match habits::command().try_get_matches_from(&words) {
                Ok(_) => return None,
                Err(why) => match why.kind() {
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return None,
                    // Only mentioned, without its required arguments.
                    ErrorKind::MissingRequiredArgument
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::MissingSubcommand
                        if line.contains("...") || choices.len() > 1 || names_only(&words) =>
                    {
                        return None;
                    }
                    _ => last = Some(why.to_string()),
                },
            }
        }
        last
    })
}

/// Whether all words are names of commands and options.
fn names_only(words: &[String]) -> bool {
    let mut command = habits::command();
    words.iter().skip(1).all(|word| {
        let inner = command.find_subcommand(word).cloned();
        inner.map(|inner| command = inner).is_some()
    })
}

#[test]
fn every_command_line_that_is_told_is_understood() {
    let told = told();
    let faults: Vec<String> =
        told.iter().filter_map(|told| Some(format!("{}: `{}`: {}", told.place, told.line, fault(&told.line)?))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), told.len(), faults.join("\n"));
    assert!(told.len() > 150, "only {} were found", told.len());
}

/// The search finds command lines in each form in which they occur.
#[test]
fn command_lines_are_found() {
    let source = "/// `labctl status` shows it\nfn f<'a>(c: &'a str) { hint(\"see `labctl chaos mend`; then: labctl --lab {name} up\"); g('\"', r#\"labctl \"x\"\"#, \"a\\\n   labctl up\\nlabctl halt  now\") }";
    let found: Vec<(usize, String)> = texts(source)
        .into_iter()
        .flat_map(|(line, text)| {
            commands(&text, |_, line| looks_like_a_command(line)).into_iter().map(move |(at, command)| (line + at, command))
        })
        .collect();
    let lines: Vec<&str> = found.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines, ["labctl status", "labctl chaos mend", "labctl --lab {name} up", "labctl \"x\"", "labctl halt"]);
    assert!(fault("labctl chaos mend").is_some() && fault("labctl up --nope").is_some() && fault("labctl nope").is_some());
    for good in
        ["labctl chaos heal", "labctl up {} --cold", "labctl exec|ssh NODE", "labctl exec NODE -- sh -c 'a b'", "labctl completion bash"]
    {
        assert_eq!(fault(good), None, "{good}");
    }
}
