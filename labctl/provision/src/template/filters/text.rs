//! Text.

use super::{Call, Outcome, bad};
use crate::data::Data;
use crate::python;
use crate::template::{printf, str_methods};

pub(super) const FILTERS: super::Table = &[
    ("upper", |call| Ok(Data::from(call.text().to_uppercase()))),
    ("lower", |call| Ok(Data::from(call.text().to_lowercase()))),
    ("capitalize", |call| Ok(Data::from(str_methods::capitalize(&call.text())))),
    ("title", title),
    ("trim", trim),
    ("string", |call| Ok(Data::from(call.text()))),
    ("safe", |call| Ok(call.input.clone())),
    ("replace", replace),
    ("indent", indent),
    ("center", center),
    ("truncate", truncate),
    ("wordwrap", wordwrap),
    ("wordcount", |call| {
        Ok(Data::from(call.text().split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()))
    }),
    ("format", |call| Ok(Data::from(printf::apply(&call.text(), &format_values(call))?))),
    ("escape", escape),
    ("e", escape),
    ("forceescape", escape),
    ("striptags", striptags),
    ("split", split),
    ("splitlines", |call| Ok(call.text().lines().map(str::to_owned).collect::<Vec<_>>().into())),
    ("quote", |call| Ok(Data::from(quote(&call.text())))),
    ("comment", comment),
    ("pprint", |call| Ok(Data::from(python::repr(&call.input)))),
];

fn format_values(call: &Call) -> Vec<Data> {
    if call.kwargs.is_empty() {
        return call.args.clone();
    }
    vec![Data::map(call.kwargs.iter().map(|(key, value)| (std::sync::Arc::from(key.as_str()), value.clone())).collect())]
}

/// Jinja's `title`: words are separated only by white space, hyphens and brackets.
fn title(call: &mut Call) -> Outcome {
    let mut out = String::new();
    let mut start = true;
    for c in call.text().chars() {
        if c.is_whitespace() || matches!(c, '-' | '(' | '{' | '[' | '<') {
            start = true;
            out.push(c);
        } else if start {
            out.extend(c.to_uppercase());
            start = false;
        } else {
            out.extend(c.to_lowercase());
        }
    }
    Ok(Data::from(out))
}

fn trim(call: &mut Call) -> Outcome {
    let text = call.text();
    Ok(Data::str(match call.text_arg(0, "chars") {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim(),
    }))
}

fn replace(call: &mut Call) -> Outcome {
    let old = python::str_of(call.need(0, "old")?);
    let new = python::str_of(call.need(1, "new")?);
    let text = call.text();
    Ok(Data::from(match call.int_arg(2, "count").and_then(|count| usize::try_from(count).ok()) {
        Some(count) => text.replacen(&old, &new, count),
        None => text.replace(&old, &new),
    }))
}

fn indent(call: &mut Call) -> Outcome {
    let pad = match call.arg(0, "width") {
        Some(Data::Str(text)) => text.to_string(),
        Some(other) => " ".repeat(super::numbers::integer(other, 10).unwrap_or(4).clamp(0, 1000) as usize),
        None => "    ".to_owned(),
    };
    let first = call.flag(1, "first", false);
    let blank = call.flag(2, "blank", false);
    let text = call.text();
    let mut out = String::with_capacity(text.len() + 64);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&pad);
        }
        out.push_str(line);
    }
    Ok(Data::from(out))
}

fn center(call: &mut Call) -> Outcome {
    let width = call.int_arg(0, "width").unwrap_or(80).clamp(0, 1 << 20) as usize;
    let text = call.text();
    let missing = width.saturating_sub(text.chars().count());
    let before = missing / 2 + (missing & width & 1);
    Ok(Data::from(format!("{}{text}{}", " ".repeat(before), " ".repeat(missing - before))))
}

fn truncate(call: &mut Call) -> Outcome {
    let length = call.int_arg(0, "length").unwrap_or(255).max(0) as usize;
    let end = call.text_arg(2, "end").unwrap_or_else(|| "...".to_owned());
    let leeway = call.int_arg(3, "leeway").unwrap_or(0).max(0) as usize;
    let text = call.text();
    if text.chars().count() <= length + leeway {
        return Ok(Data::from(text));
    }
    let cut: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    if call.flag(1, "killwords", false) {
        return Ok(Data::from(cut + &end));
    }
    Ok(Data::from(format!("{}{end}", cut.rsplit_once(' ').map_or(cut.as_str(), |(before, _)| before))))
}

fn wordwrap(call: &mut Call) -> Outcome {
    let width = call.int_arg(0, "width").unwrap_or(79).max(1) as usize;
    let wrap = call.text_arg(2, "wrapstring").unwrap_or_else(|| "\n".to_owned());
    let breaks = call.flag(1, "break_long_words", true);
    let mut lines = Vec::new();
    for paragraph in call.text().lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let mut word = word;
            // A word that is too long for a line is broken, unless that is disabled.
            while breaks && word.chars().count() > width && (line.is_empty() || line.chars().count() + 1 >= width) {
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                let at = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
                lines.push(word[..at].to_owned());
                word = &word[at..];
            }
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    Ok(Data::from(lines.join(&wrap)))
}

fn escape(call: &mut Call) -> Outcome {
    let text = call.text();
    Ok(Data::from(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;").replace('"', "&#34;")))
}

fn striptags(call: &mut Call) -> Outcome {
    let mut out = String::new();
    let mut inside = false;
    for c in call.text().chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    Ok(Data::from(out.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn split(call: &mut Call) -> Outcome {
    let limit = call.int_arg(1, "maxsplit").and_then(|limit| usize::try_from(limit).ok());
    let separator = call.text_arg(0, "sep");
    if separator.as_deref() == Some("") {
        return Err(bad("empty separator"));
    }
    Ok(str_methods::split(&call.text(), separator.as_deref(), limit).into())
}

/// `shlex.quote`
pub(super) fn quote(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(safe) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\"'\"'")) }
}

fn comment(call: &mut Call) -> Outcome {
    let style = call.text_arg(0, "style").unwrap_or_else(|| "plain".to_owned());
    let (beginning, decoration, end) = match style.as_str() {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        other => return Err(bad(format!("Invalid style '{other}'"))),
    };
    let given = |name: &str, default: &str| call.kwargs.get(name).map_or_else(|| default.to_owned(), python::str_of);
    let newline = given("newline", "\n");
    let decoration = given("decoration", decoration);
    let edge = decoration.trim_end();
    let prefix = given("prefix", edge);
    let postfix = given("postfix", edge);
    let count = |name: &str| call.kwargs.get(name).and_then(|data| super::numbers::integer(data, 10)).unwrap_or(1).clamp(0, 100) as usize;
    let (prefix_count, postfix_count) = (count("prefix_count"), count("postfix_count"));
    let beginning = given("beginning", beginning);
    let end = given("end", end);
    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(&beginning);
        out.push_str(&newline);
    }
    // A prefix that is just a newline is one empty line, not two; an empty prefix is no line.
    let before = match prefix.as_str() {
        "" => String::new(),
        prefix if prefix == newline => newline.clone(),
        prefix => format!("{prefix}{newline}"),
    };
    out.push_str(&before.repeat(prefix_count));
    let body = format!("{decoration}{}", call.text().replace(&newline, &format!("{newline}{decoration}")));
    out.push_str(&body.replace(&format!("{decoration}{newline}"), &format!("{edge}{newline}")));
    out.push_str(&format!("{newline}{postfix}").repeat(postfix_count));
    if !end.is_empty() {
        out.push_str(&newline);
        out.push_str(&end);
    }
    Ok(Data::from(out))
}
