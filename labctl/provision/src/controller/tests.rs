//! Checks what lookups, filters and tests record against their tables.

use std::path::Path;
use std::sync::Arc;

use super::Inputs;
use crate::data::{Data, Place};
use crate::template::lookups::{self, Origin};
use crate::template::{Engine, Scope, filters, tests};

/// What an evaluation has recorded.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    Nothing,
    Questions,
    /// That nothing can be kept.
    End,
}

/// Evaluates in a folder with a few files; whether that succeeds does not matter.
fn noted(folder: &Path, text: &str) -> Noted {
    let inputs = Inputs::default();
    let vars = Data::from_trusted_json(&serde_json::json!({"a": 1, "groups": {"all": ["h1"]}}), &Place::default());
    let layers = vec![vars.as_map().unwrap().clone()];
    let scope = Scope::new(Arc::new(Engine::new(inputs.clone())), layers, vec![folder.to_owned()]);
    let _ = scope.resolve(&Data::text(text, &Place { file: "play.yml".into(), line: 7 }));
    match inputs.manifest() {
        Err(why) => {
            assert!(why.contains("play.yml:7"), "{text}: {why}");
            Noted::End
        }
        Ok(manifest) if serde_json::to_string(&manifest).unwrap() == "[]" => Noted::Nothing,
        Ok(_) => Noted::Questions,
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("f", "text\n"), ("t.j2", "{{ a }}\n"), ("c.csv", "k,v\n"), ("i.ini", "[s]\nk=v\n"), ("secret", "old\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A call of every lookup.
const LOOKUPS: &[(&str, &str)] = &[
    ("env", "'PATH'"),
    ("vars", "'a'"),
    ("varnames", "'^a$'"),
    ("ansible.builtin.vars", "'a'"),
    ("pipe", "'true'"),
    ("lines", "'true'"),
    ("url", "'http://127.0.0.1:1/'"),
    ("config", "'DEFAULT_FORKS'"),
    ("file", "'f'"),
    ("template", "'t.j2'"),
    ("fileglob", "'*'"),
    ("first_found", "['nope', 'f']"),
    ("csvfile", "'k', file='c.csv', delimiter=','"),
    ("ini", "'k', section='s', file='i.ini'"),
    ("unvault", "'f'"),
    ("password", "'new'"),
    ("random_string", "length=3"),
    ("items", "[1, 2]"),
    ("list", "[1, 2]"),
    ("dict", "{'a': 1}"),
    ("sequence", "'count=2'"),
    ("subelements", "[{'x': [1]}], 'x'"),
    ("together", "[1], [2]"),
    ("nested", "[1], [2]"),
    ("cartesian", "[1], [2]"),
    ("indexed_items", "[1]"),
    ("flattened", "[[1]]"),
    ("random_choice", "[1, 2]"),
    ("inventory_hostnames", "'all'"),
];

#[test]
fn every_lookup_asks_for_what_it_says() {
    for (name, origin) in lookups::origins() {
        let call = LOOKUPS.iter().find(|(known, _)| *known == name);
        let (_, terms) = call.unwrap_or_else(|| panic!("the lookup {name} has no call here"));
        let expected = match origin {
            Origin::Terms => Noted::Nothing,
            Origin::Noted => Noted::Questions,
            Origin::Chance | Origin::Beyond(_) => Noted::End,
        };
        let folder = folder();
        for function in ["lookup", "query", "q"] {
            for prefix in ["", "ansible.builtin.", "community.general."] {
                let text = format!("{{{{ {function}('{prefix}{name}', {terms}) }}}}");
                // A name that is already in a collection belongs to no other one.
                if prefix.is_empty() || !name.contains('.') {
                    let _ = std::fs::remove_file(folder.path().join("new"));
                    assert_eq!(noted(folder.path(), &text), expected, "{text}");
                }
            }
        }
    }
}

#[test]
fn chance_that_is_told_beforehand_is_none() {
    let folder = folder();
    for text in [
        "{{ lookup('password', '/dev/null', seed='s') }}",
        "{{ 5 | random(seed='s') }}",
        "{{ [1, 2] | shuffle(seed='s') }}",
        "{{ 'aa' | random_mac(seed='s') }}",
        "{{ 'x' | password_hash('sha512', 'salt', rounds=1000) }}",
        "{{ '%Y' | strftime(0) }}",
    ] {
        assert_eq!(noted(folder.path(), text), Noted::Nothing, "{text}");
    }
    assert_eq!(noted(folder.path(), "{{ lookup('password', 'secret') }}"), Noted::Questions, "a password that is there is a file");
    assert_eq!(noted(folder.path(), "{{ lookup('password', 'secret', encrypt='sha512') }}"), Noted::End, "its salt is new");
}

/// Filters that ask for something, with what they record; all others record nothing, whatever their arguments.
const ASKING: &[(&str, Noted, &str)] = &[
    ("random", Noted::End, "5 | random"),
    ("random_mac", Noted::End, "'aa' | random_mac"),
    ("shuffle", Noted::End, "[1, 2] | shuffle"),
    ("password_hash", Noted::End, "'x' | password_hash"),
    ("strftime", Noted::End, "'%Y' | strftime"),
    ("realpath", Noted::Questions, "'f' | realpath"),
    ("relpath", Noted::Questions, "'f' | relpath"),
    ("expanduser", Noted::Questions, "'~/f' | expanduser"),
    ("expandvars", Noted::Questions, "'$PATH' | expandvars"),
    ("fileglob", Noted::Questions, "'/*' | fileglob"),
];

#[test]
fn every_filter_asks_for_what_is_written_here() {
    let folder = folder();
    let mut tried = 0;
    for name in filters::names() {
        if let Some((_, expected, text)) = ASKING.iter().find(|(known, ..)| *known == name) {
            assert_eq!(noted(folder.path(), &format!("{{{{ {text} }}}}")), *expected, "{text}");
            tried += 1;
            continue;
        }
        for input in ["5", "'~/f'", "'f'", "'$PATH'", "['f', 'g']", "{'a': 'f'}", "[{'a': 'f'}]"] {
            for args in ["", "('f')", "(2)", "(['f'])", "('a', 'b')"] {
                let text = format!("{{{{ {input} | {name}{args} }}}}");
                assert_eq!(noted(folder.path(), &text), Noted::Nothing, "{text}");
            }
        }
    }
    assert_eq!(tried, ASKING.len(), "a filter that is listed here is gone");
}

#[test]
fn tests_of_files_ask_and_others_do_not() {
    let folder = folder();
    let asking = ["file", "is_file", "directory", "is_dir", "link", "exists", "same_file"];
    for name in tests::names() {
        let expected = if asking.contains(&name) { Noted::Questions } else { Noted::Nothing };
        let path = folder.path().join("f");
        let path = path.display();
        assert_eq!(noted(folder.path(), &format!("{{{{ '{path}' is {name}('{path}') }}}}")), expected, "{name}");
        if name != "same_file" {
            assert_eq!(noted(folder.path(), &format!("{{{{ '{path}' is {name} }}}}")), expected, "{name}");
        }
    }
}

#[test]
fn the_time_is_noted_only_when_it_is_asked_for() {
    let folder = folder();
    for text in ["{{ now() }}", "{{ now(fmt='%Y') }}", "{{ now().year }}", "{{ __run_date() }}"] {
        assert_eq!(noted(folder.path(), text), Noted::End, "{text}");
    }
    assert_eq!(noted(folder.path(), "{{ a if true else now() }}"), Noted::Nothing);
}
