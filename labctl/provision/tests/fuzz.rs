//! Playbooks and templates made of broken pieces: any input gives an answer, never a panic.
//!
//! Seeded, so that failures are reproducible; FUZZ_SEED and FUZZ_ROUNDS set other seeds and more rounds.
#![allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run")]

mod fake;

use fake::Bench;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Pieces of templates, valid and not.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    "+",
    " ",
    "x",
    "d.a",
    "d['b']",
    "l[0]",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "'",
    "\"",
    "|",
    "~",
    ",",
    ":",
    ".",
    "=",
    "==",
    "not",
    "in",
    "is",
    "and",
    "or",
    "if",
    "else",
    "endif",
    "for i in l",
    "endfor",
    "set y = 1",
    "macro m(a)",
    "endmacro",
    "raw",
    "endraw",
    "1",
    "0",
    "-1",
    "1e400",
    "99999999999999999999",
    "'\\u00e9'",
    "\\",
    "\n",
    "é",
    "\u{1f600}",
    "none",
    "true",
    "omit",
    "lookup('env', 'x')",
    "default('z')",
    "map('upper')",
    "join(',')",
    "regex_replace('(', ')')",
    "regex_search('(?P<a>x)', '\\\\g<a>')",
    "to_json",
    "from_json",
    "from_yaml",
    "b64decode",
    "int",
    "float",
    "round(500)",
    "random",
    "batch(0)",
    "slice(0)",
    "combine({})",
    "dict2items",
    "items2dict",
    "subelements('a')",
    "groupby('a')",
    "sort(attribute='a')",
    "zip([1])",
    "product([1])",
    "combinations(2)",
    "version('1', '<')",
    "format(1)",
    "'%s' % x",
    "range(3)",
    "loop.index",
    "x * 3",
    "x ** 2",
    "x // 0",
    "x % 0",
    "l[1:0:-1]",
    "ipaddr",
    "human_to_bytes",
    "strftime(1)",
    "hash('q')",
    "truncate(1)",
    "indent(-1)",
    "wordwrap(0)",
    "center(9)",
    "filesizeformat",
    "urlsplit",
    "comment('c')",
    "to_nice_yaml",
    "password_hash('x')",
    "d.items()",
    "'a'.split('')",
    "'a'.format(1, 2)",
    "'{}'.format()",
    "x.y.z",
    "hostvars",
    "vars",
    "groups",
];

fn rounds(usual: u64) -> u64 {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn seed() -> u64 {
    std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn template(random: &mut StdRng) -> String {
    let whole = random.random_bool(0.5);
    let count = random.random_range(1..14);
    let inner: String =
        (0..count).map(|_| format!("{}{}", PIECES.choose(random).unwrap(), if random.random_bool(0.5) { " " } else { "" })).collect();
    if whole { format!("{{{{ {inner} }}}}") } else { inner }
}

#[test]
fn any_template_has_an_answer() {
    let mut random = StdRng::seed_from_u64(seed());
    // Many in one play: each task ignores its errors.
    for _ in 0..rounds(12) {
        let mut tasks = String::new();
        for _ in 0..60 {
            let text = serde_json::to_string(&template(&mut random)).unwrap();
            tasks += &format!("  - debug: {{msg: {text}}}\n    ignore_errors: true\n");
            let condition = serde_json::to_string(&template(&mut random)).unwrap();
            tasks += &format!("  - debug:\n    when: {condition}\n    ignore_errors: true\n");
        }
        let book = format!(
            "=== site.yml\n- hosts: all\n  gather_facts: false\n  vars: {{x: 3, l: [1, a], d: {{a: 1, b: [2]}}}}\n  tasks:\n{tasks}"
        );
        let mut bench = Bench::new(&book);
        // A fault of the whole file is an answer too.
        let _ = bench.try_run();
    }
}

/// A playbook that uses most features, to be broken.
const PLAYBOOK: &str = "- hosts: all\n  gather_facts: false\n  vars: {a: 1, b: [x, y]}\n  serial: 1\n  roles:\n  - {role: r, when: true, tags: [t]}\n  pre_tasks:\n  - set_fact: {c: 2}\n  tasks:\n  - name: one\n    copy: content=x dest=/a mode=0644\n    when: [a == 1]\n    notify: h\n    register: out\n  - block:\n    - command: echo {{ item }}\n      loop: [1, 2]\n      loop_control: {label: x, index_var: i}\n      until: true\n      retries: 1\n      delay: 0\n    rescue:\n    - debug: {msg: no}\n    always:\n    - debug: var=out\n  - include_tasks: more.yml\n    vars: {v: 1}\n  - with_dict: {k: v}\n    debug: msg={{ item.key }}\n    delegate_to: localhost\n    run_once: yes\n  handlers:\n  - name: h\n    listen: [q]\n    debug: {msg: h}\n";

fn broken(random: &mut StdRng) -> String {
    let mut text: Vec<char> = PLAYBOOK.chars().collect();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..text.len());
        match random.random_range(0..5) {
            0 => {
                text.remove(at);
            }
            1 => text.insert(
                at,
                *['\n', ' ', ':', '-', '{', '}', '[', ']', '\'', '"', '\t', '&', '*', '!', '|', '%', '\u{feff}', 'é']
                    .choose(random)
                    .unwrap(),
            ),
            2 => {
                let end = (at + random.random_range(1..30)).min(text.len());
                text.drain(at..end);
            }
            3 => {
                let end = (at + random.random_range(1..30)).min(text.len());
                let piece: Vec<char> = text[at..end].to_vec();
                let to = random.random_range(0..text.len());
                text.splice(to..to, piece);
            }
            _ => {
                let piece: Vec<char> = PIECES.choose(random).unwrap().chars().collect();
                text.splice(at..at, piece);
            }
        }
        if text.is_empty() {
            break;
        }
    }
    text.into_iter().collect()
}

#[test]
fn any_playbook_has_an_answer() {
    let mut random = StdRng::seed_from_u64(seed() + 1);
    let mut ran = 0;
    for _ in 0..rounds(400) {
        let book = broken(&mut random);
        let files = format!(
            "=== site.yml\n{book}\n=== more.yml\n- debug: {{msg: '{{{{ v }}}}'}}\n=== roles/r/tasks/main.yml\n- debug: {{msg: role}}\n"
        );
        // A line of the playbook that looks like the start of a file would be taken for one.
        if book.contains("=== ") {
            continue;
        }
        ran += usize::from(Bench::new(&files).try_run().is_ok());
    }
    // Most small faults leave a playbook that runs; otherwise this would test only the very first check.
    assert!(ran > 20, "only {ran} ran");
}
