//! Translates Jinja2 as written for Ansible to minijinja's dialect. The differences:
//! - subscripts (`a['b']`) become method calls, so that a missing key is an undefined value that carries its name;
//! - `'...' % x` (printf formatting) becomes a method call;
//! - string literals use Python's escapes, or none where Ansible turns them off (in `{{ }}` of YAML text);
//! - `{% set x = [] %}` makes a list that `x.append()` can change ([`super::mutation`]);
//! - a macro's declaration reads every variable that its body mentions: it is marked, so that this does not count as a use.

use std::collections::HashSet;

use super::literals::literal;
use super::mutation;

/// Delimiters of blocks, variables and comments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Delimiters {
    pub block: (String, String),
    pub variable: (String, String),
    pub comment: (String, String),
}

impl Default for Delimiters {
    fn default() -> Self {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        Self { block: pair("{%", "%}"), variable: pair("{{", "}}"), comment: pair("{#", "#}") }
    }
}

/// One lexical piece of an expression.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Space(String),
    Str(String),
    Word(String),
    Op(char),
}

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// Text, comments and raw blocks: copied unchanged.
    Text(&'a str),
    /// Inside `{{ }}`, including its white-space control marks.
    Variable(&'a str),
    /// Inside `{% %}`.
    Block(&'a str),
}

/// Splits a template into pieces; an unterminated piece is left to the compiler as text.
pub(crate) fn pieces<'a>(source: &'a str, marks: &Delimiters) -> Vec<Piece<'a>> {
    let mut out = Vec::new();
    let mut text = 0;
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        if rest.starts_with(&marks.comment.0) {
            at += rest.find(&marks.comment.1).map_or(rest.len(), |end| end + marks.comment.1.len());
            continue;
        }
        let (kind, open, close) = if rest.starts_with(&marks.variable.0) {
            (0, &marks.variable.0, &marks.variable.1)
        } else if rest.starts_with(&marks.block.0) {
            (1, &marks.block.0, &marks.block.1)
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        let inner = at + open.len();
        let Some(length) = code_end(&source[inner..], close) else {
            break;
        };
        let code = &source[inner..inner + length];
        let end = inner + length + close.len();
        if kind == 1 && code.trim_matches(['-', '+']).trim() == "raw" {
            let raw_end = find_endraw(&source[end..], marks).map_or(source.len(), |length| end + length);
            at = raw_end;
            continue;
        }
        if text < at {
            out.push(Piece::Text(&source[text..at]));
        }
        out.push(if kind == 0 { Piece::Variable(code) } else { Piece::Block(code) });
        at = end;
        text = end;
    }
    if text < source.len() {
        out.push(Piece::Text(&source[text..]));
    }
    out
}

fn find_endraw(source: &str, marks: &Delimiters) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = source[at..].find(&marks.block.0) {
        let inner = at + found + marks.block.0.len();
        let length = source[inner..].find(&marks.block.1)?;
        let end = inner + length + marks.block.1.len();
        if source[inner..inner + length].trim_matches(['-', '+']).trim() == "endraw" {
            return Some(end);
        }
        at = inner;
    }
    None
}

/// The position of the closing mark, skipping strings and brackets.
fn code_end(source: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_i32;
    for (at, c) in source.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) => {
                if c == q {
                    quote = None;
                }
            }
            None => {
                if depth <= 0 && source[at..].starts_with(close) {
                    return Some(at);
                }
                match c {
                    '\'' | '"' => quote = Some(c),
                    '{' | '[' | '(' => depth += 1,
                    '}' | ']' | ')' => depth -= 1,
                    _ => {}
                }
            }
        }
    }
    // Unbalanced brackets: use the first mark.
    source.find(close)
}

/// The inside of a template that consists of exactly one expression.
pub(crate) fn single_expression<'a>(source: &'a str, marks: &Delimiters) -> Option<&'a str> {
    match pieces(source, marks).as_slice() {
        [Piece::Variable(code)] => Some(code.trim_start_matches(['-', '+']).trim_end_matches('-')),
        _ => None,
    }
}

/// Translates a template to minijinja's dialect.
pub(crate) fn template(source: &str, marks: &Delimiters, escape_backslashes: bool) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let changed = mutation::changed_names(source);
    for piece in pieces(source, marks) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(code) => {
                out.push_str(&marks.variable.0);
                out.push_str(&expression(code, escape_backslashes));
                out.push_str(&marks.variable.1);
            }
            Piece::Block(code) => {
                for tag in bracketed(code, block(code, &changed)) {
                    out.push_str(&marks.block.0);
                    out.push_str(&tag);
                    out.push_str(&marks.block.1);
                }
            }
        }
    }
    out
}

/// A block's tag; a macro's declaration goes between two extra tags, which take over its white-space control marks.
fn bracketed(code: &str, rewritten: String) -> Vec<String> {
    let inner = code.trim_start_matches(['-', '+']);
    match inner.split_whitespace().next() {
        Some("macro") => {
            let lead = &code[..code.len() - inner.len()];
            vec![format!("{lead} do __declaring(true) "), rewritten[lead.len()..].to_owned()]
        }
        Some("endmacro" | "endmacro-" | "endmacro+") => {
            let end = rewritten.trim_end_matches(['-', '+']);
            vec![end.to_owned(), format!(" do __declaring(false) {}", &rewritten[end.len()..])]
        }
        _ => vec![rewritten],
    }
}

/// A block's code; a value that methods change is made mutable when it is set.
fn block(code: &str, changed: &HashSet<String>) -> String {
    let rewritten = expression(code, false);
    let trimmed = rewritten.trim_start_matches(['-', '+']).trim_start();
    let Some(after) = trimmed.strip_prefix("set ") else {
        return rewritten;
    };
    let Some((name, value)) = after.split_once('=') else {
        return rewritten;
    };
    let plain = name.trim().chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let value = value.trim();
    // A namespace is changed by `set` itself.
    let changes = changed.contains(name.trim()) && !value.starts_with("namespace(");
    if !plain || !(value.starts_with(['[', '{']) || changes) {
        return rewritten;
    }
    let lead = &rewritten[..rewritten.len() - trimmed.len()];
    let (value, mark) = value.strip_suffix('-').map_or((value, ""), |value| (value, "-"));
    format!("{lead}set {name}= __mutable({}) {mark}", value.trim_end())
}

/// Translates an expression to minijinja's dialect.
pub(crate) fn expression(code: &str, raw_strings: bool) -> String {
    let tokens = namespaces(subscripts(formats(tokenize(code))));
    let mut out = String::with_capacity(code.len() + 16);
    for token in tokens {
        match token {
            Token::Space(text) | Token::Word(text) => out.push_str(&text),
            Token::Op(c) => out.push(c),
            Token::Str(text) => literal(&text, raw_strings, &mut out),
        }
    }
    out
}

fn tokenize(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = code.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let mut end = start + c.len_utf8();
        if c == '\'' || c == '"' {
            let mut escaped = false;
            for (at, d) in chars.by_ref() {
                end = at + d.len_utf8();
                if escaped {
                    escaped = false;
                } else if d == '\\' {
                    escaped = true;
                } else if d == c {
                    break;
                }
            }
            tokens.push(Token::Str(code[start..end].to_owned()));
        } else {
            let class: fn(char) -> bool = if c.is_whitespace() {
                char::is_whitespace
            } else if c.is_alphanumeric() || c == '_' {
                |c| c.is_alphanumeric() || c == '_'
            } else {
                tokens.push(Token::Op(c));
                continue;
            };
            while let Some(&(at, d)) = chars.peek() {
                if !class(d) {
                    break;
                }
                end = at + d.len_utf8();
                chars.next();
            }
            let text = code[start..end].to_owned();
            tokens.push(if c.is_whitespace() { Token::Space(text) } else { Token::Word(text) });
        }
    }
    tokens
}

/// Index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Op('(' | '[' | '{') => depth += 1,
            Token::Op(')' | ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn next_solid(tokens: &[Token], from: usize) -> usize {
    (from..tokens.len()).find(|&at| !matches!(tokens[at], Token::Space(_))).unwrap_or(tokens.len())
}

/// `'text' % operand` to `'text'.__mod__(operand)`.
fn formats(mut tokens: Vec<Token>) -> Vec<Token> {
    let mut at = 0;
    while at < tokens.len() {
        if matches!(tokens[at], Token::Str(_)) {
            let percent = next_solid(&tokens, at + 1);
            if tokens.get(percent) == Some(&Token::Op('%')) {
                let start = next_solid(&tokens, percent + 1);
                let end = operand_end(&tokens, start);
                tokens.insert(end, Token::Op(')'));
                tokens.splice(at + 1..start, [Token::Op('.'), Token::Word("__mod__".into()), Token::Op('(')]);
            }
        }
        at += 1;
    }
    tokens
}

/// End of a primary expression with its subscripts, calls and filters.
fn operand_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    match tokens.get(at) {
        Some(Token::Op('(' | '[' | '{')) => match closing(tokens, at) {
            Some(end) => at = end + 1,
            None => return tokens.len(),
        },
        Some(_) => at += 1,
        None => return tokens.len(),
    }
    loop {
        match tokens.get(at) {
            Some(Token::Op('(' | '[')) => match closing(tokens, at) {
                Some(end) => at = end + 1,
                None => return tokens.len(),
            },
            Some(Token::Op('.')) => at += 2,
            _ => {
                let next = next_solid(tokens, at);
                if tokens.get(next) == Some(&Token::Op('|')) {
                    at = next_solid(tokens, next + 1) + 1;
                } else {
                    return at.min(tokens.len());
                }
            }
        }
    }
}

/// `a[b]` to `a.__getitem__(b)`; slices stay.
fn subscripts(mut tokens: Vec<Token>) -> Vec<Token> {
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == Token::Op('[')
            && is_operand_before(&tokens, at)
            && let Some(end) = closing(&tokens, at)
        {
            let mut depth = 0;
            let slice = tokens[at + 1..end].iter().any(|token| match token {
                Token::Op('(' | '[' | '{') => {
                    depth += 1;
                    false
                }
                Token::Op(')' | ']' | '}') => {
                    depth -= 1;
                    false
                }
                Token::Op(':') => depth == 0,
                _ => false,
            });
            if !slice {
                tokens[end] = Token::Op(')');
                tokens.splice(at..=at, [Token::Op('.'), Token::Word("__getitem__".into()), Token::Op('(')]);
            }
        }
        at += 1;
    }
    tokens
}

/// `namespace(x=[])` to `namespace(x=__mutable([]))`.
fn namespaces(mut tokens: Vec<Token>) -> Vec<Token> {
    let Some(start) = tokens.iter().position(|token| *token == Token::Word("namespace".into())) else {
        return tokens;
    };
    let mut at = start;
    while at < tokens.len() {
        let value = next_solid(&tokens, at + 1);
        if tokens[at] == Token::Op('=')
            && matches!(tokens.get(value), Some(Token::Op('[' | '{')))
            && let Some(end) = closing(&tokens, value)
        {
            tokens.insert(end + 1, Token::Op(')'));
            tokens.splice(value..value, [Token::Word("__mutable".into()), Token::Op('(')]);
        }
        at += 1;
    }
    tokens
}

/// Whether a value precedes a bracket, which makes it a subscript and not a list.
fn is_operand_before(tokens: &[Token], bracket: usize) -> bool {
    let solid: Vec<&Token> = tokens[..bracket].iter().rev().filter(|token| !matches!(token, Token::Space(_))).take(3).collect();
    match solid.first() {
        Some(Token::Op(')' | ']' | '}') | Token::Str(_)) => true,
        Some(Token::Word(word)) => {
            let word_is = |token: Option<&&Token>, text: &str| matches!(token, Some(Token::Word(word)) if word == text);
            let keyword = matches!(
                word.as_str(),
                "in" | "not" | "and" | "or" | "if" | "elif" | "else" | "is" | "set" | "for" | "do" | "return" | "print" | "with"
            );
            let after_dot = matches!(solid.get(1), Some(Token::Op('.')));
            let test = word_is(solid.get(1), "is") || (word_is(solid.get(1), "not") && word_is(solid.get(2), "is"));
            let filter = matches!(solid.get(1), Some(Token::Op('|')));
            (after_dot || !keyword) && !test && !filter
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_what_differs_and_nothing_else() {
        for (from, to) in [
            ("a['b'][0].c", "a.__getitem__('b').__getitem__(0).c"),
            ("x in ['a', 'b']", "x in ['a', 'b']"),
            ("a[1:2]", "a[1:2]"),
            ("x is subset [1]", "x is subset [1]"),
            ("a.in[1]", "a.in.__getitem__(1)"),
            ("'%s-%d' % (a, b[0]) | upper", "'%s-%d'.__mod__((a, b.__getitem__(0)) | upper)"),
            ("'%s' % a.b|int + 1", "'%s'.__mod__(a.b|int) + 1"),
            ("a % b", "a % b"),
            (r"'\d+\n'", "'\\\\d+\n'"),
        ] {
            assert_eq!(expression(from, false), to, "{from}");
        }
        assert_eq!(expression(r"'\1\n'", true), r"'\\1\\n'");
    }

    #[test]
    fn finds_single_expressions() {
        let marks = Delimiters::default();
        assert_eq!(single_expression("{{ a }}", &marks), Some(" a "));
        assert_eq!(single_expression("{{ {'a': {'b': 1}} }}", &marks), Some(" {'a': {'b': 1}} "));
        assert_eq!(single_expression("{{ '}}' }}", &marks), Some(" '}}' "));
        assert_eq!(single_expression("{{ a }}{{ b }}", &marks), None);
        assert_eq!(single_expression(" {{ a }}", &marks), None);
        assert_eq!(
            template("{% raw %}{{ a[0] }}{% endraw %}{{ b[0] }}", &marks, false),
            "{% raw %}{{ a[0] }}{% endraw %}{{ b.__getitem__(0) }}"
        );
        assert_eq!(
            template("{%- macro m(a) +%}x{% endmacro -%}", &marks, false),
            "{%- do __declaring(true) %}{% macro m(a) +%}x{% endmacro %}{% do __declaring(false) -%}"
        );
        assert_eq!(
            template("{% set x = y.copy() %}{% do x.update(z) %}", &marks, false),
            "{% set x = __mutable(y.copy()) %}{% do x.update(z) %}"
        );
        assert_eq!(expression("namespace(a=[1], b={}, c=0)", false), "namespace(a=__mutable([1]), b=__mutable({}), c=0)");
        assert_eq!(template("{% set x = [] -%}", &marks, false), "{% set x = __mutable([]) -%}");
    }
}
