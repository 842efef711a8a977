use std::sync::Arc;

use super::scope::Scope;
use super::{Engine, Syntax};
use crate::data::{Data, Place};
use crate::python;

fn scope(vars: serde_json::Value) -> Arc<Scope> {
    let data = Data::from_trusted_json(&vars, &Place { file: "vars.yml".into(), line: 1 });
    Scope::new(Arc::new(Engine::default()), vec![data.as_map().unwrap().clone()], Vec::new())
}

fn vars() -> serde_json::Value {
    serde_json::json!({
        "n": 5, "t": true, "s": "text", "l": [3, 1, 2], "d": {"a": 1, "b": {"c": "deep"}}, "nul": null,
        "lazy": "{{ n + 1 }}", "chain": "{{ lazy }}", "inner": {"x": "{{ s }}!", "y": ["{{ n }}"]},
        "loop_a": "{{ loop_b }}", "loop_b": "{{ loop_a }}", "bad": "{{ nope }}",
        "users": [{"name": "bob", "uid": 2, "keys": ["k1", "k2"]}, {"name": "amy", "uid": 1, "keys": []}],
    })
}

fn eval(text: &str) -> Result<Data, String> {
    let scope = scope(vars());
    scope.resolve(&Data::text(text, &Place::default())).map_err(|error| error.message)
}

#[track_caller]
fn gives(text: &str, repr: &str) {
    match eval(text) {
        Ok(data) => assert_eq!(python::repr(&data), repr, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[track_caller]
fn fails(text: &str, message: &str) {
    match eval(text) {
        Ok(data) => panic!("{text} must fail, gives {}", python::repr(&data)),
        Err(error) => assert!(error.contains(message), "{text}: {error}"),
    }
}

#[test]
fn native_types() {
    gives("{{ n }}", "5");
    gives("{{ t }}", "True");
    gives("a{{ t }}{{ nul }}{{ [nul] }}", "'aTrue[None]'");
    gives("{{ l }}", "[3, 1, 2]");
    gives("{{ d }}", "{'a': 1, 'b': {'c': 'deep'}}");
    gives("x={{ d }}", "\"x={'a': 1, 'b': {'c': 'deep'}}\"");
    gives("{{ chain }}", "6");
    gives("{{ inner }}", "{'x': 'text!', 'y': [5]}");
    gives("{{ inner.y[0] + 1 }}", "6");
    gives("{{ 7 / 2 }} {{ 7 // 2 }} {{ 2 ** 3 }} {{ 7 % 4 }}", "'3.5 3 8 3'");
    gives("{{ 'x' ~ n ~ t }}", "'x5True'");
    // A template that outputs only one value has that value.
    gives("{{ n }}\n", "5");
    gives("{{ n }}\n\n", "'5\\n\\n'");
    gives("{{ s }}\n", "'text\\n'");
    gives("{{ d }}{{ nul }}\n", "{'a': 1, 'b': {'c': 'deep'}}");
    gives("{{ d }}{{ '' }}", "\"{'a': 1, 'b': {'c': 'deep'}}\"");
    gives("{# note #}{% if t %}{{ l }}{% endif %}", "[3, 1, 2]");
    gives("{% if not t %}x{% endif %}\n", "None");
    gives("{{ '' }}{% if not t %}x{% endif %}", "''");
}

#[test]
fn comments_end_and_begin_as_told() {
    gives("{{ 'a\n\nb ' | comment }}", "'#\\n# a\\n#\\n# b \\n#'");
    gives("{{ 'a' | comment(prefix='', postfix='') }}", "'# a\\n'");
    gives("{{ 'a' | comment(prefix='\n', postfix='') }}", "'\\n# a\\n'");
    gives("{{ 'a' | comment('cblock', prefix=' x ') }}", "'/*\\n x \\n * a\\n *\\n */'");
    gives("{{ 'a\nb\n' | comment('xml') }}", "'<!--\\n -\\n - a\\n - b\\n - \\n -\\n-->'");
}

#[test]
fn what_is_made_of_undefined_values_has_a_default() {
    for text in [
        "(nope | int)",
        "(nope.stdout | from_json)['z']",
        "l | union(nope)",
        "nope.split(',')",
        "(nope | upper).x[0] | list",
        "lookup('env', nope)",
        "[nope, 'a'] | join",
        "d.zz | bool",
        "s | replace('t', nope)",
        "[] | first | upper",
        "{} | combine(nope)",
    ] {
        gives(&format!("{{{{ ({text}) | default('x') }}}}"), "'x'");
        fails(&format!("{{{{ {text} }}}}"), "");
    }
    gives("{{ t | ternary('a', nope) }}{{ (not t) | ternary(nope, false_val=l[0]) }}{{ nul | ternary(nope, nope, 'n') }}", "'a3n'");
    gives("{{ (t | ternary(nope, 'b')) | default('x') }}{{ nope | ternary('a', 'b') | default('y') }}", "'xy'");
    fails("{{ t | ternary(nope, 'b') }}", "'nope' is undefined");
    fails("{{ nope | int }}", "'nope' is undefined");
    fails("{{ 'a' if nope | upper else 'b' }}", "'nope' is undefined");
    fails("{{ (nope + 1) | default('x') }}", "'nope' is undefined");
}

#[test]
fn an_if_without_else_is_empty() {
    gives("a{{ 'b' if not t }}c", "'ac'");
    gives("{{ ('b' if not t) | upper }}{{ ('b' if not t) | length }}{{ ('b' if not t) is defined }}", "'0False'");
    gives("{{ ['a', 'b' if not t] | join(',') }}{{ ['a', 'b' if not t] | select | list }}", "\"a,['a']\"");
    gives("{% set x = 'a' if not t %}{{ x }}|", "'|'");
    fails("{{ 'b' if not t }}", "an inline `if` is false and has no `else`");
}

#[test]
fn undefined_values() {
    fails("{{ nope }}", "'nope' is undefined");
    fails("{{ nope == 1 }}", "'nope' is undefined");
    fails("{{ not nope }}", "'nope' is undefined");
    fails("{{ d.nope }}", "object of type 'dict' has no attribute 'nope'");
    fails("{{ d['nope'] }}", "object of type 'dict' has no attribute 'nope'");
    fails("{% for x in nope %}{% endfor %}", "'nope' is undefined");
    fails("{{ nope | upper }}", "'nope' is undefined");
    fails("{{ bad }}", "'nope' is undefined");
    gives("{{ nope is defined }}", "False");
    gives("{{ bad is defined }}", "False");
    gives("{{ nope.a.b['c'] is defined }}", "False");
    gives("{{ nope.a.b['c'] | default('x') }}", "'x'");
    gives("{{ d.b.c | default(nope) }}", "'deep'");
    fails("{{ nope | default(nope2) }}", "'nope2' is undefined");
    gives("{{ nope | default(nope2) | default(3) }}", "3");
    gives("{{ d.nope is defined and d.nope == 1 }}", "False");
    gives("{{ 'a' in d and 'z' not in d }}", "True");
    gives("{{ (nope | default([])) + [1] }}", "[1]");
    fails("{{ loop_a }}", "recursive loop");
    gives("{{ users | selectattr('nope', 'defined') | list }}", "[]");
    gives("{{ users | map(attribute='zip', default='-') | list }}", "['-', '-']");
    fails("{{ nope | mandatory }}", "Mandatory variable 'nope' not defined.");
}

#[test]
fn python_methods_and_formats() {
    gives("{{ 'a,b'.split(',') }}", "['a', 'b']");
    gives("{{ d.items() | list }}", "[['a', 1], ['b', {'c': 'deep'}]]");
    gives("{{ d.get('zz', 4) }} {{ d.get('a') }} {{ d.keys() | list }}", "\"4 1 ['a', 'b']\"");
    gives("{{ '%s-%03d' % ('x', 7) }}", "'x-007'");
    gives("{{ '{0}/{n:>4}'.format('a', n=n) }}", "'a/   5'");
    gives("{{ 'abc'.startswith('ab') and s.endswith('t') }}", "True");
    gives("{{ 'a-b'.upper().replace('-', '_') }}", "'A_B'");
    gives("{{ l[0] }}{{ l[-1] }}{{ l[1:] }}{{ s[0] }}", "'32[1, 2]t'");
    gives("{% set x = [] %}{% for i in l %}{% set _ = x.append(i * 2) %}{% endfor %}{{ x }}", "[6, 2, 4]");
    gives("{% set x = d.copy() %}{% set _ = x.update({'z': 1}) %}{{ x.z }}{{ d.z is defined }}", "'1False'");
    gives(
        "{% set x = {} %}{% for i in 'aba' %}{% set _ = x.setdefault(i, []).append(loop.index) %}{% endfor %}{{ x }}",
        "{'a': [1, 3], 'b': [2]}",
    );
    gives("{% set x = {'l': []} %}{% set _ = x.l.append(1) %}{% set _ = x['l'].append(2) %}{{ x }}", "{'l': [1, 2]}");
    gives(
        "{% set ns = namespace(v=[], k=0) %}{% for i in l %}{% set _ = ns.v.append(i) %}{% set ns.k = i %}{% endfor %}{{ ns.v + [ns.k] }}",
        "[3, 1, 2, 2]",
    );
    gives("{% set ns = namespace(v=0) %}{% for i in l %}{% set ns.v = ns.v + i %}{% endfor %}{{ ns.v }}", "6");
}

#[test]
fn filters() {
    for (text, repr) in [
        ("{{ l | sort }}", "[1, 2, 3]"),
        ("{{ users | map(attribute='name') | join(',') }}", "'bob,amy'"),
        ("{{ users | sort(attribute='uid') | map(attribute='name') | list }}", "['amy', 'bob']"),
        ("{{ users | subelements('keys') | length }}", "2"),
        ("{{ d | combine({'z': 2}, {'b': {'e': 1}}, recursive=true) }}", "{'a': 1, 'b': {'c': 'deep', 'e': 1}, 'z': 2}"),
        ("{{ 'a1b22' | regex_replace('[0-9]+', '<\\g<0>>') }}", "'a<1>b<22>'"),
        ("{{ 'foo.bar' | regex_replace('^(.*)\\.(.*)$', '\\2.\\1') }}", "'bar.foo'"),
        ("{{ 'k=v' | regex_search('(\\w+)=(\\w+)', '\\1', '\\2') }}", "['k', 'v']"),
        ("{{ 'abc' | hash('sha256') | length }}", "64"),
        ("{{ [1, [2, [3, none]]] | flatten }}", "[1, 2, 3]"),
        ("{{ ['a', 'b'] | zip([1, 2]) | list }}", "[['a', 1], ['b', 2]]"),
        ("{{ {'a': 1} | dict2items }}", "[{'key': 'a', 'value': 1}]"),
        ("{{ 'yes' | bool }}{{ 'nope' | bool }}", "'TrueFalse'"),
        ("{{ '1.10' is version('1.9', '>') }}", "True"),
        ("{{ t | ternary('a', 'b') }}", "'a'"),
        ("{{ '/a/b.txt' | basename }}{{ '/a/b.txt' | dirname }}{{ '/a/b.txt' | splitext | last }}", "'b.txt/a.txt'"),
        ("{{ d | to_json }}", "'{\"a\": 1, \"b\": {\"c\": \"deep\"}}'"),
        ("{{ '{\"a\": [1, null]}' | from_json }}", "{'a': [1, None]}"),
        ("{{ 'it is' | quote }}", "\"'it is'\""),
        ("{{ '10.0.0.5/24' | ipaddr('network') }} {{ '10.0.0.0/24' | ipaddr('1') | ipaddr('address') }}", "'10.0.0.0 10.0.0.1'"),
        ("{{ users | json_query('[?uid==`1`].name') }}", "['amy']"),
        ("{{ [1, 2, 3] | select('gt', 1) | list }}", "[2, 3]"),
        ("{{ ['a', 'b'] | map('upper') | list }}", "['A', 'B']"),
        ("{{ ['a', 'b'] | map('regex_replace', '^', 'x') | list }}", "['xa', 'xb']"),
        ("{{ 3.7 | int }}{{ '12' | int + 1 }}{{ 'x' | int(9) }}{{ 2.5 | round }}", "'31392.0'"),
        ("{{ 'x' | ansible.builtin.b64encode }}", "'eA=='"),
        ("{{ [3, 1] | min }}{{ [] | length }}{{ [1, 2] | sum }}", "'103'"),
        ("{{ 'aGk=' | b64decode }}", "'hi'"),
        ("{{ s | to_uuid }}", "'efa78fe8-3b3f-5aef-8ef3-8b1d8b8a5b5c'"),
        ("{{ lookup('env', 'NO_SUCH_VAR_HERE') }}", "''"),
        ("{{ query('sequence', 'start=1 end=3') }}", "['1', '2', '3']"),
        ("{{ lookup('vars', 'lazy') }}", "6"),
        ("{{ 1048576 | human_readable }} {{ '1K' | human_to_bytes }}", "'1.00 MB 1024'"),
    ] {
        if text.contains("to_uuid") {
            assert!(eval(text).unwrap().as_str().unwrap().chars().nth(14) == Some('5'));
            continue;
        }
        gives(text, repr);
    }
}

#[test]
fn files_trim_blocks_and_keep_their_end() {
    let scope = scope(vars());
    let render = |text: &str| {
        let (syntax, body) = Syntax::from_header(text);
        scope.engine.render_file("/t.j2", &body, &syntax, &scope).map_err(|error| error.to_string())
    };
    assert_eq!(render("{% for i in l %}\nx{{ i }}\n{% endfor %}\nend\n").unwrap(), "x3\nx1\nx2\nend\n");
    assert_eq!(render("{% if t %}\na\n{% endif %}\n").unwrap(), "a\n");
    assert_eq!(render("a\n\n\n").unwrap(), "a\n\n\n");
    assert_eq!(render("#jinja2: lstrip_blocks: True\n  {% if t %}\na\n  {% endif %}\n").unwrap(), "a\n");
    assert_eq!(render("#jinja2: variable_start_string:'[%', variable_end_string:'%]'\n[% n %]{{ n }}\n").unwrap(), "5{{ n }}\n");
    assert_eq!(render("{{ 'a\\nb' }}\n").unwrap(), "a\nb\n");
    assert_eq!(render("a\n{{ nope }}\n").unwrap_err(), "'nope' is undefined (/t.j2:2)");
    assert_eq!(render("{% macro m(x, y=1) %}{{ x }}{{ y }}{% endmacro %}{{ m(2) }}{{ m(2, y=3) }}\n").unwrap(), "2123\n");
    // A macro may use later definitions and itself, and mention variables that it does not use.
    assert_eq!(
        render("{% macro a(x) %}{{ b(x) }}{% endmacro %}{% macro b(x) %}<{{ x }}{{ a(x[1:]) if x }}>{% endmacro %}{{ a('ab') }}").unwrap(),
        "<ab<b<>>>"
    );
    assert_eq!(render("{% macro m(x) %}{% if x %}{{ nope }}{% endif %}{{ nix | d('-') }}{% endmacro %}{{ m(false) }}").unwrap(), "-");
    for used in ["{{ nope }}", "{% if nope %}{% endif %}", "{{ nope | upper }}", "{% for x in nope %}{% endfor %}"] {
        let text = format!("{{% macro m() %}}{used}{{% endmacro %}}{{{{ m() }}}}");
        assert!(render(&text).unwrap_err().contains("'nope' is undefined"), "{used}");
    }
    assert_eq!(render("  {%- macro m() -%} x {%- endmacro -%}  \n|{{ m() }}|\n").unwrap(), "|x|\n");
}
