use std::path::Path;

use super::*;

fn read(text: &str) -> Document {
    parse(text, Path::new("a.yml")).unwrap_or_else(|fault| panic!("{fault}"))
}

fn refused(text: &str) -> String {
    parse(text, Path::new("a.yml")).map(|_| ()).unwrap_err().to_string()
}

/// The table was written by PyYAML; every line must come out the same.
#[test]
fn plain_scalars_mean_what_pyyaml_makes_of_them() {
    let mut lines = 0;
    for line in include_str!("pyyaml_scalars.txt").lines().filter(|line| !line.starts_with('#')) {
        let (text, expected) = line.split_once('\t').expect("two columns");
        let found = match read(&format!("k: {text}")).root.get("k").expect("k").as_scalar().expect("scalar").resolved {
            Resolved::Null => "null".to_owned(),
            Resolved::Bool(value) => format!("bool {value}"),
            Resolved::Int(value) => format!("int {value}"),
            Resolved::Float(value) => {
                let written: f64 = expected.strip_prefix("float ").unwrap_or("0").parse().expect("a float");
                let same = written == value || written.is_nan() && value.is_nan();
                if same { expected.to_owned() } else { format!("float {value}") }
            }
            Resolved::Str => "str".to_owned(),
        };
        assert_eq!(found, expected, "`{text}`");
        lines += 1;
    }
    assert!(lines > 300, "the table is gone");
}

#[test]
fn quotes_and_blocks_are_text() {
    let document = read("a: 'yes'\nb: \"5\"\nc: |\n  12\nd: >-\n  1\n  2\ne: 2020-01-02\n");
    let json = document.root.to_json();
    assert_eq!(json, serde_json::json!({"a": "yes", "b": "5", "c": "12\n", "d": "1 2", "e": "2020-01-02"}));
    let styles: Vec<_> = document.root.as_map().unwrap().entries.iter().map(|e| e.value.as_scalar().unwrap().style).collect();
    assert_eq!(styles, [Style::SingleQuoted, Style::DoubleQuoted, Style::Literal, Style::Folded, Style::Plain]);
    assert!(document.root.get("a").unwrap().as_scalar().unwrap().quoted());
}

#[test]
fn places_count_from_one_and_survive_unicode() {
    let document = read("# über\nnäme: ä\nlist:\n- x\n- {a: 1, b: [2, 3]}\n");
    for (pointer, line, column) in
        [("", 2, 1), ("/näme", 2, 7), ("/list", 4, 3), ("/list/0", 4, 3), ("/list/1", 5, 3), ("/list/1/b/1", 5, 17)]
    {
        assert_eq!(document.span_of(pointer), Some(Span { line, column }), "{pointer}");
    }
    assert_eq!(document.span_of("/list/2"), None);
    assert_eq!(document.root.as_map().unwrap().entry("list").unwrap().key.span, Span { line: 3, column: 1 });
}

#[test]
fn pointers_escape_slashes() {
    let document = read("a/b: 1\nc~d: 2\n");
    assert_eq!(document.root.at("/a~1b").and_then(Node::as_int), Some(1));
    assert_eq!(document.root.at("/c~0d").and_then(Node::as_int), Some(2));
    assert_eq!(document.root.at("a"), None);
}

#[test]
fn keys_are_found_by_their_text() {
    let document = read("on: 1\n010: 2\n~: 3\n");
    assert_eq!(document.root.get("on").and_then(Node::as_int), Some(1));
    assert_eq!(document.root.to_json(), serde_json::json!({"on": 1, "8": 2, "~": 3}));
}

#[test]
fn tags_are_applied_or_kept() {
    let document = read(
        "a: !!str 5\nb: !!int \"7\"\nc: !vault |\n  $ANSIBLE_VAULT\nd: !unsafe '{{ x }}'\ne: ! 12\nf: !u [1]\ng: !!float 3\nh: !!binary aGk=\n",
    );
    assert_eq!(document.root.at("/a").unwrap().as_str(), Some("5"));
    assert_eq!(document.root.at("/b").unwrap().as_int(), Some(7));
    assert_eq!(document.root.at("/c").unwrap().tag.as_deref(), Some("!vault"));
    assert_eq!(document.root.at("/c").unwrap().as_str(), Some("$ANSIBLE_VAULT\n"));
    assert_eq!(document.root.at("/d").unwrap().tag.as_deref(), Some("!unsafe"));
    assert_eq!(document.root.at("/e").unwrap().as_str(), Some("12"));
    assert_eq!(document.root.at("/f").unwrap().tag.as_deref(), Some("!u"));
    assert_eq!(document.root.at("/g").unwrap().as_scalar().unwrap().resolved, Resolved::Float(3.0));
    assert_eq!(document.root.at("/h").unwrap().tag.as_deref(), Some("!!binary"));
    assert_eq!(refused("a: !!int x\n"), "a.yml:1:10: `x` does not fit its tag `!!int` (remove the tag or correct the value)");
}

#[test]
fn aliases_and_merge_keys() {
    let document = read(
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nx:\n  b: 9\n  <<: *base\ny: {<<: [*base, *more], d: 5}\nz: *base\nq: {'<<': 1}\n",
    );
    let json = document.root.to_json();
    assert_eq!(json["x"].to_string(), r#"{"a":1,"b":9}"#, "own keys win, merged ones stand first");
    assert_eq!(json["y"], serde_json::json!({"a": 1, "b": 2, "c": 4, "d": 5}), "the first source wins");
    assert_eq!(json["z"], json["base"]);
    assert_eq!(json["q"], serde_json::json!({"<<": 1}));
    assert_eq!(document.span_of("/z"), Some(Span { line: 7, column: 4 }), "the alias' own place");
    assert_eq!(document.span_of("/z/a"), Some(Span { line: 1, column: 17 }));
    assert_eq!(
        refused("a: &a [1]\nb: {<<: *a}\n"),
        "a.yml:1:8: `<<` merges mappings, not a whole number (give an alias of a mapping, or a list of such: `<<: [*a, *b]`)"
    );
    assert_eq!(refused("a: &a [*a]\n"), "a.yml:1:8: the alias stands inside of its own anchor (refer to another anchor)");
    assert!(refused("a: *b\n").contains("unknown anchor"));
}

#[test]
fn repeated_keys_are_refused_or_warned_about() {
    let text = "a: 1\nb: 2\na: 3\n";
    assert_eq!(refused(text), "a.yml:3:1: the key `a` stands twice in this mapping (it stands in line 1 already: keep one)");
    let options = Options { duplicate_keys: DuplicateKeys::LastWins, ..Options::default() };
    let document = parse_with(text, Path::new("a.yml"), &options).unwrap();
    assert_eq!(document.root.to_json().to_string(), r#"{"a":3,"b":2}"#);
    assert_eq!(document.warnings.len(), 1);
    assert_eq!(document.warnings[0].line, 3);
    assert!(refused("{8: a, 010: b}").contains("twice"), "equal numbers are one key");
    read("{8: a, '8': b}");
}

#[test]
fn documents() {
    for empty in ["", "# only a comment\n", "---\n", "\u{feff}"] {
        let document = read(empty);
        assert!(document.empty && document.root.is_null(), "{empty:?}");
    }
    assert!(!read("~").empty);
    assert_eq!(read("---\na: 1\n...\n").root.get("a").and_then(Node::as_int), Some(1));
    assert_eq!(refused("a: 1\n---\nb: 2\n"), "a.yml:2:1: a second document begins here (keep one document per file: remove this `---`)");
    let all = parse_all("a: &x 1\n---\nb: 2\n", Path::new("a.yml"), &Options::default()).unwrap();
    assert_eq!(all.iter().map(|d| d.root.to_json().to_string()).collect::<Vec<_>>(), [r#"{"a":1}"#, r#"{"b":2}"#]);
    assert!(parse_all("a: &x 1\n---\nb: *x\n", Path::new("a.yml"), &Options::default()).is_err());
}

#[test]
fn billion_laughs_end_at_once() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let previous = format!("*a{}, ", level - 1).repeat(9);
        text += &format!("a{level}: &a{level} [{}]\n", previous.trim_end_matches(", "));
    }
    assert!(refused(&text).contains("anchors and aliases stand for more than 200000 values"));
    let merged: String = (1..60).map(|n| format!("m{n}: &m{n} {{<<: [*m{0}, *m{0}], k{n}: 1}}\n", n - 1)).collect();
    parse(&format!("m0: &m0 {{k: 1}}\n{merged}"), Path::new("a.yml")).expect("merging the same keys stays small");
}

#[test]
fn depth_and_length_are_limited() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        assert!(refused(&text).contains("nested deeper than 128 levels"), "{}", refused(&text));
    }
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        text += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(refused(&text).contains("nested deeper"), "aliases count");
    let options = Options { length: 10, ..Options::default() };
    let fault = parse_with("a: 1234567890", Path::new("a.yml"), &options).unwrap_err();
    assert_eq!(fault.to_string(), "a.yml: the file has 13 bytes; at most 10 are read (split the file)");
}

#[test]
fn nested_anchors_do_not_cost_more_than_the_limit() {
    let deep: String = (0..100).map(|n| format!("&d{n} [")).collect();
    let wide = "x,".repeat(100_000);
    // 100 anchors, each with a copy of 100,000 values, would be 10 million.
    assert!(refused(&format!("{deep}{wide}{}", "]".repeat(100))).contains("aliases stand for"));
}

#[test]
fn mistakes_are_told_in_plain_words() {
    let cases = [
        ("a:\n\tb: 1\n", "a.yml:2:2: not valid YAML: a tab in the indentation (indent with spaces, never with tabs)"),
        (
            "a: 1\n  b: 2\n",
            "a.yml:2:4: not valid YAML: a `key:` where none can stand (check the indentation, or quote a text that has `: ` in it)",
        ),
        (
            "a:\n    b: 1\n  c: 2\n",
            "a.yml:3:3: not valid YAML: this line does not fit the indentation around it (keys of one mapping stand in the same column; what belongs to a key stands further right)",
        ),
        ("a: {{ b }}\n", "a.yml:1:5: a list or mapping cannot be a key (quote a value that begins with a template: \"{{ name }}\")"),
        ("a: {{ b }} c\n", "a.yml:1:5: a list or mapping cannot be a key (quote a value that begins with a template: \"{{ name }}\")"),
        (
            "a: 'x\n",
            "a.yml:2:1: not valid YAML: a quote is not closed, or its further lines are not indented (close the quote, or double a quote inside of quotes)",
        ),
        (
            "a: [1, 2\nb: 3\n",
            "a.yml:2:2: not valid YAML: a `:` where none may stand (close the `[` or `{` above, or quote a text that has `:` in it)",
        ),
        ("a: [1}\n", "a.yml:1:4: not valid YAML: `[` is closed by `}` (use the bracket that fits)"),
        ("a: @x\n", "a.yml:1:4: not valid YAML: a text cannot begin with `@` (put it into quotes)"),
        (
            "a\nb: 1\n",
            "a.yml:2:2: not valid YAML: a `key:` where none can stand (check the indentation, or quote a text that has `: ` in it)",
        ),
        (
            "a: \"C:\\dir\"\n",
            "a.yml:1:4: not valid YAML: an unknown escape in a double-quoted text (write `\\\\` for a backslash, or use single quotes)",
        ),
        ("a: *\n", "a.yml:1:4: not valid YAML: an anchor or alias without a name (put a text that begins with `*` or `&` into quotes)"),
        (
            "- a\nb: 1\n",
            "a.yml:2:1: not valid YAML: this line does not fit the indentation around it (keys of one mapping stand in the same column; what belongs to a key stands further right)",
        ),
        ("a: 'x' y\n", "a.yml:1:8: not valid YAML: text follows the closing quote (put the whole value into quotes)"),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text), expected, "{text}");
    }
}
