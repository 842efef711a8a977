//! Explains the parser's errors in plain words, with a hint.

use std::path::Path;

use granit_parser::{ErrorKind as Kind, ScanError};

use crate::mistake::Mistake;

/// The fault of a text that is not YAML.
pub(super) fn fault(error: &ScanError, text: &str, file: &Path) -> Mistake {
    let marker = error.marker();
    let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
    let (reason, hint) = words(error.kind(), line);
    Mistake {
        file: file.to_owned(),
        line: marker.line(),
        column: marker.col() + 1,
        field: String::new(),
        reason: format!("not valid YAML: {reason}"),
        hint: Some(hint.to_owned()),
    }
}

fn words(kind: &Kind, line: &str) -> (String, &'static str) {
    let indentation: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    const TABS: &str = "indent with spaces, never with tabs";
    const QUOTE_TEMPLATE: &str = "quote a value that begins with a template: \"{{ name }}\"";
    const ALIGN: &str = "align all keys of a mapping in the same column; indent what belongs to a key further";
    if indentation.contains('\t') {
        return ("a tab in the indentation".to_owned(), TABS);
    }
    if line.contains(": {{") || line.contains("- {{") {
        return ("a template without quotes".to_owned(), QUOTE_TEMPLATE);
    }
    match kind {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabAtBlockScalarStart
        | Kind::TabInPlainScalar => ("a tab where only spaces are allowed".to_owned(), TABS),
        Kind::MappingValueNotAllowed => {
            ("a `key:` where none is allowed".to_owned(), "check the indentation, or quote text that contains `: `")
        }
        Kind::ExpectedBlockMappingKey
        | Kind::InvalidIndentation
        | Kind::ExpectedBlockSequenceEntry
        | Kind::MappingKeyNotAllowed
        | Kind::BlockSequenceEntryNotAllowed
        | Kind::InvalidBlockScalarIndent
        | Kind::InvalidFlowScalarIndent => ("this line does not fit the indentation around it".to_owned(), ALIGN),
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey => {
            ("a key without its `:`".to_owned(), "write `key: value`, with a space after the colon")
        }
        Kind::InvalidMappingValueWhitespace | Kind::InvalidBlockEntryWhitespace | Kind::ExpectedWhitespace => {
            ("a space is missing".to_owned(), "put a space after `:`, `-` and `,`")
        }
        Kind::InvalidQuotedScalarIndent => (
            "a quote is not closed, or its continuation lines are not indented".to_owned(),
            "close the quote, or double a quote inside quotes",
        ),
        Kind::InvalidColonPlacement => {
            ("a `:` where none is allowed".to_owned(), "close the `[` or `{` above, or quote text that contains `:`")
        }
        Kind::MissingAnchorOrAliasName => ("an anchor or alias without a name".to_owned(), "quote a value that begins with `*` or `&`"),
        Kind::UnclosedQuotedScalar | Kind::DocumentIndicatorInQuotedScalar => {
            ("a quote is opened and never closed".to_owned(), "close it, or double a quote inside quotes")
        }
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => {
            ("text follows the closing quote".to_owned(), "put the whole value in quotes")
        }
        Kind::UnknownQuotedScalarEscape => {
            ("an unknown escape in double-quoted text".to_owned(), "write `\\\\` for a backslash, or use single quotes")
        }
        Kind::UnclosedFlowCollection { open } => (format!("`{open}` is opened and never closed"), "close it"),
        Kind::MismatchedFlowCollectionEnd { open, close } => (format!("`{open}` is closed by `{close}`"), "use the matching bracket"),
        Kind::MisplacedFlowCollectionEnd => ("a closing bracket without an opening one".to_owned(), "remove it"),
        Kind::ExpectedFlowMappingSeparator | Kind::UnexpectedEofFlowMapping => {
            ("a `{` whose entries are not separated by `,` or not closed by `}`".to_owned(), "write `{key: value, key: value}`")
        }
        Kind::ExpectedFlowSequenceSeparator | Kind::UnexpectedEofFlowSequence => {
            ("a `[` whose items are not separated by `,` or not closed by `]`".to_owned(), "write `[one, two]`")
        }
        Kind::UnknownAnchor => {
            ("an alias of an unknown anchor".to_owned(), "define it above with `&name`, or quote text that begins with `*`")
        }
        Kind::UnexpectedCharacter { character } => (format!("text cannot begin with `{}`", character.escape_default()), "put it in quotes"),
        Kind::ExpectedNodeContent => ("a value is missing".to_owned(), "write a value or remove the `,`, or quote the text"),
        Kind::UndeclaredTagHandle | Kind::InvalidTagTerminator => ("an unknown tag".to_owned(), "quote a value that begins with `!`"),
        other => (other.to_string(), "correct the syntax; quoting text with special characters often helps"),
    }
}
