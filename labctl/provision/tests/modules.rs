//! The table of modules, as used by the controller.
#![allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run")]

mod fake;

use fake::Bench;
use labctl_wire::modules::{At, MODULES, Module};

fn bench(task: &str) -> Bench {
    Bench::new(&format!("=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - {task}\n"))
}

/// What a run reports about a task, whatever the outcome.
fn said(bench: &mut Bench) -> String {
    match bench.try_run() {
        Ok(ran) => ran.lines.join("\n"),
        Err(why) => why.to_string(),
    }
}

#[test]
fn every_module_is_acted_on_where_the_table_says() {
    for module in MODULES {
        for name in module.names() {
            let mut bench = bench(&format!("{name}: {{}}"));
            let said = said(&mut bench);
            assert!(!said.contains("is not supported"), "{name}: {said}");
            // It belongs to playbooks, not to tasks.
            assert_eq!(said.contains("is not allowed here"), name == "import_playbook", "{name}: {said}");
            let calls = bench.machines["h1"].state.lock().unwrap().calls.clone();
            let asked: Vec<&str> = calls.iter().map(|call| call.module.as_str()).collect();
            match module.at {
                At::Guest => assert_eq!(asked, [name]),
                At::Controller => assert!(asked.is_empty(), "{name}: {asked:?}"),
                At::Both => {}
            }
        }
    }
}

#[test]
fn check_mode_leaves_out_what_the_table_says() {
    for module in MODULES.iter().filter(|module| module.at == At::Guest) {
        let mut bench = bench(&format!("{}: {{}}", module.name));
        bench.options.check = true;
        let said = said(&mut bench);
        assert_eq!(said.contains("does not support check mode"), !module.checks, "{}: {said}", module.name);
        assert_eq!(bench.calls("h1"), usize::from(module.checks), "{}", module.name);
    }
}

#[test]
fn a_text_is_one_argument_where_the_table_says() {
    for name in MODULES.iter().filter(|module| module.at == At::Guest).flat_map(Module::names) {
        let mut bench = bench(&format!("{name}: one a=b two"));
        said(&mut bench);
        let text = bench.machines["h1"].state.lock().unwrap().calls[0].args["_raw_params"].clone();
        let whole = labctl_wire::modules::find(name).unwrap().takes_text;
        assert_eq!(text, if whole { "one a=b two" } else { "one  two" }, "{name}");
    }
}

#[test]
fn names_in_no_table_are_refused_with_their_neighbours() {
    let said = said(&mut bench("systemdd: {}"));
    assert!(said.contains("the module 'systemdd' is not supported") && said.contains("systemd"), "{said}");
}
