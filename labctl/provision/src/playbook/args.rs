//! The short form of module arguments: `src=a dest={{ b }}`, and free-form text such as that of `command`.

use std::sync::Arc;

use labctl_wire::modules;

use crate::data::{Data, Dict, Place};

/// Options allowed in the text of `command`, `shell`, `script` and `raw`.
const IN_TEXT: &[&str] = &["creates", "removes", "chdir", "executable", "warn", "stdin", "stdin_add_newline", "strip_empty_ends", "argv"];

/// Whether a module's text does not consist of `key=value`.
pub(crate) fn takes_text(module: &str) -> bool {
    modules::find(module).is_some_and(|module| module.takes_text)
}

/// Splits text at white space outside quotes and template markers; returns byte ranges.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut start = None;
    let mut quote: Option<char> = None;
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        if quote.is_none() && !escaped {
            if rest.starts_with("{{") || rest.starts_with("{%") || rest.starts_with("{#") {
                depth += 1;
            } else if depth > 0 && (text[..at].ends_with("}}") || text[..at].ends_with("%}") || text[..at].ends_with("#}")) {
                depth -= 1;
            }
        }
        if c.is_whitespace() && quote.is_none() && depth == 0 {
            if let Some(start) = start.take() {
                out.push((start, at));
            }
            escaped = false;
            continue;
        }
        start.get_or_insert(at);
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if depth == 0 && (c == '"' || c == '\'') {
            match quote {
                Some(open) if open == c => quote = None,
                None => quote = Some(c),
                _ => {}
            }
        }
    }
    if let Some(start) = start {
        out.push((start, text.len()));
    }
    out
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote))
            && !inner.ends_with('\\')
        {
            return inner;
        }
    }
    text
}

fn pair(word: &str) -> Option<(&str, &str)> {
    let (key, value) = word.split_once('=')?;
    let name = !key.is_empty() && !key.ends_with('\\') && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-' || c == '.');
    name.then_some((key, value))
}

/// Parses arguments from text.
pub(crate) fn parse(module: &str, text: &str, place: &Place) -> Dict {
    let free = takes_text(module);
    let mut out = Dict::new();
    let mut raw = String::new();
    let mut copied = 0;
    for (start, end) in words(text) {
        match pair(&text[start..end]) {
            Some((key, value)) if !free || IN_TEXT.contains(&key) || include_option(module, key) => {
                raw.push_str(&text[copied..start]);
                copied = end;
                out.insert(Arc::from(key), Data::text(unquote(value), place));
            }
            _ => {}
        }
    }
    raw.push_str(&text[copied..]);
    let raw = raw.trim();
    if !raw.is_empty() {
        out.insert("_raw_params".into(), Data::text(raw, place));
    }
    out
}

fn include_option(module: &str, key: &str) -> bool {
    match module {
        "include_vars" => true,
        "include_role" | "import_role" => true,
        "include_tasks" | "import_tasks" => key == "file",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_options_from_text() {
        let get = |module: &str, text: &str| {
            parse(module, text, &Place::default())
                .into_iter()
                .map(|(key, value)| format!("{key}:{}", value.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!(get("copy", "src=a dest=\"b c\" mode={{ m | default('x y') }}"), "src:a|dest:b c|mode:{{ m | default('x y') }}");
        assert_eq!(get("command", "echo a=b creates=/x  'c d'"), "creates:/x|_raw_params:echo a=b   'c d'");
        assert_eq!(get("shell", "for i in 1 2; do\n  echo $i\ndone"), "_raw_params:for i in 1 2; do\n  echo $i\ndone");
        assert_eq!(get("set_fact", "a=1 b={{ c }}"), "a:1|b:{{ c }}");
        assert_eq!(get("meta", "flush_handlers"), "_raw_params:flush_handlers");
        assert_eq!(get("shell", "echo \"it's\" chdir=/tmp"), "chdir:/tmp|_raw_params:echo \"it's\"");
    }
}
