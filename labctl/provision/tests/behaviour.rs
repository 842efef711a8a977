//! What events alone don't show: round trips, contents, check mode, options, faults.
#![allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run")]

mod fake;

use fake::Bench;
use labctl_provision::Event;

#[test]
fn an_unchanged_task_costs_one_round_trip() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  roles: [web]\n\
         === roles/web/tasks/main.yml\n- template: {src: a.j2, dest: /a}\n- copy: {src: big.txt, dest: /big}\n- copy: {content: 'x {{ v }}', dest: /c}\n- artifact: {name: prog, dest: /usr/bin/prog, mode: '0755'}\n\
         === roles/web/templates/a.j2\nhello {{ inventory_hostname }}\n\
         === roles/web/files/big.txt\nbig\n\
         === roles/web/defaults/main.yml\nv: 1\n\
         === store/prog\nbinary\n",
    );
    let first = bench.run();
    assert_eq!(first.counts("h1"), "ok=4 changed=4");
    assert_eq!(bench.file("h1", "/a").unwrap(), "hello h1\n");
    assert_eq!(bench.file("h1", "/big").unwrap(), "big\n");
    assert_eq!(bench.file("h1", "/c").unwrap(), "x 1");
    assert_eq!(bench.file("h1", "/usr/bin/prog").unwrap(), "binary\n");
    // Files go by digest first: ask, send, ask again.
    assert_eq!(bench.calls("h1"), 6);
    let again = bench.run();
    assert_eq!(again.counts("h1"), "ok=4");
    assert_eq!(bench.calls("h1"), 10);
    assert_eq!(bench.machines["h1"].state.lock().unwrap().puts.len(), 2);
}

#[test]
fn check_mode_changes_nothing_and_predicts() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {content: x, dest: /a}\n  - debug: {msg: '{{ ansible_check_mode }}'}\n  - copy: {content: y, dest: /b}\n    check_mode: false\n",
    );
    bench.options.check = true;
    bench.options.diff = true;
    let ran = bench.run();
    assert_eq!(ran.counts("h1"), "ok=3 changed=2");
    assert_eq!(ran.messages(), "true");
    assert_eq!(bench.file("h1", "/a"), None);
    assert_eq!(bench.file("h1", "/b").unwrap(), "y");
    let events = bench.events.lock().unwrap();
    let diff = events.iter().find_map(|event| match event {
        Event::HostResult { result, .. } => result.get("diff").cloned(),
        _ => None,
    });
    assert_eq!(diff.unwrap()["after"], "x");
}

#[test]
fn facts_are_read_once_per_run_and_known_under_both_names() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  tasks:\n  - debug: {msg: '{{ ansible_os_family }} {{ ansible_facts.hostname }} {{ ansible_default_ipv4.address }} {{ hostvars.h1.ansible_hostname }}'}\n- hosts: all\n  tasks:\n  - debug: {msg: '{{ ansible_facts[\"distribution\"] }}'}\n",
    );
    let ran = bench.run();
    assert_eq!(ran.messages(), "Debian h1 10.0.0.1 h1|Debian");
    assert_eq!(ran.counts("h1"), "ok=4");
    assert_eq!(bench.machines["h1"].state.lock().unwrap().facts_read, 1);
}

#[test]
fn options_choose_tasks() {
    let files = "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - {name: one, debug: {msg: '1'}, tags: a}\n  - {name: two, debug: {msg: '2 {{ x | default(0) }} {{ j | default(0) }}'}, tags: [b, c]}\n  - {name: three, debug: {msg: '3'}, tags: [never, n]}\n  - {name: four, debug: {msg: '4'}, tags: always}\n";
    let run = |change: &dyn Fn(&mut labctl_provision::Options)| {
        let mut bench = Bench::new(files);
        change(&mut bench.options);
        bench.run().messages()
    };
    assert_eq!(run(&|_| {}), "1|2 0 0|4");
    assert_eq!(run(&|options| options.tags = vec!["a".into()]), "1|4");
    assert_eq!(run(&|options| options.tags = vec!["n".into()]), "3|4");
    assert_eq!(run(&|options| options.skip_tags = vec!["b".into(), "always".into()]), "1");
    assert_eq!(run(&|options| options.start_at_task = Some("two".into())), "2 0 0|4");
    assert_eq!(run(&|options| options.extra_vars = vec!["x=5".into(), "{\"j\": [1]}".into()]), "1|2 5 [1]|4");
    let mut bench = Bench::new(files);
    assert_eq!(bench.list(), ["one [a]", "two [b,c]", "four [always]"]);
    bench.options.limit = Some("nope".into());
    assert!(bench.try_run().unwrap_err_text().contains("nope"));
}

trait ErrText {
    fn unwrap_err_text(self) -> String;
}

impl ErrText for Result<fake::Ran, labctl_provision::PlaybookError> {
    fn unwrap_err_text(self) -> String {
        match self {
            Ok(_) => panic!("the run must not start"),
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn faults_name_file_and_line() {
    for (text, wanted) in [
        ("- hosts: all\n  tasks:\n  - name: x\n    copy: {}\n    file: {}\n", "site.yml:5:5: conflicting action statements: copy, file"),
        ("- hosts: all\n  tsaks: []\n", "site.yml:2:3: 'tsaks' is not a valid attribute for a Play"),
        ("- tasks: []\n", "site.yml:1:3: the field 'hosts' is required"),
        ("- hosts: all\n  roles: [nope]\n", "site.yml:2:11: the role 'nope' was not found"),
        ("- hosts: all\n  tasks:\n  - name: only\n", "site.yml:3:5: no module/action detected in task."),
        ("- hosts: all\n  tasks:\n  - import_tasks: nope.yml\n", "Could not find or access 'nope.yml'"),
        ("hosts: all\n", "a playbook must be a list of plays"),
    ] {
        let mut bench = Bench::new(&format!("=== site.yml\n{text}"));
        let error = bench.try_run().unwrap_err_text();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  tsaks: []\n  roles: [r, nope]\n  tasks:\n  - debug: {}\n    whne: x\n  - block:\n    - name: none\n    rescue:\n    - ping:\n    - copy: {}\n      file: {}\n- tasks: []\n- import_playbook: gone.yml\n- import_playbook: other.yml\n=== other.yml\n- hosts: all\n  roles: [r]\n  handlers: {}\n=== roles/r/tasks/main.yml\n- import_tasks: gone.yml\n- debug:\n  loop: []\n  with_items: []\n=== roles/r/defaults/main.yml\n- list\n",
    );
    let told = bench.try_run().unwrap_err_text();
    let expected = [
        "site.yml:2:3: 'tsaks' is not a valid attribute for a Play (did you mean `tasks`?)",
        "main.yml:1:1: a variables file must be a mapping",
        "main.yml:1:3: Could not find or access 'gone.yml'",
        "main.yml:4:3: duplicate loop in task",
        "site.yml:3:14: the role 'nope' was not found",
        "site.yml:6:5: conflicting action statements: debug, whne (did you mean `when`?)",
        "site.yml:8:7: no module/action detected in task.",
        "site.yml:12:7: conflicting action statements: copy, file",
        "site.yml:13:3: the field 'hosts' is required",
        "site.yml:14:20: there is no playbook",
        "other.yml:3:13: expected a list of tasks",
    ];
    for part in expected {
        assert!(told.contains(part), "`{part}` is missing in\n{told}");
    }
    assert_eq!(told.lines().count(), expected.len(), "each once:\n{told}");
}

#[test]
fn unsupported_modules_fail_only_if_they_run() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - name: skipped\n    win_thing: {}\n    when: false\n  - name: runs\n    lineinfle: {path: /x}\n",
    );
    let ran = bench.run();
    assert_eq!(ran.counts("h1"), "failed=1 skipped=1");
    let text = ran.lines.join("\n");
    assert!(text.contains("'lineinfle' is not supported") && text.contains("site.yml:7") && text.contains("lineinfile"), "{text}");
}

#[test]
fn hosts_that_cannot_be_reached_leave_the_play() {
    let mut bench =
        Bench::new("=== hosts\nh1\nh2\n=== site.yml\n- hosts: all\n  tasks:\n  - ping:\n  - debug: {msg: '{{ inventory_hostname }}'}\n");
    bench.machine("h2").state.lock().unwrap().unreachable = true;
    let ran = bench.run();
    assert_eq!(ran.counts("h1"), "ok=3");
    assert_eq!(ran.counts("h2"), "unreachable=1");
    assert!(!ran.recap.succeeded());
}

#[test]
fn no_log_hides_results_everywhere() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  vars: {secret: hunter2}\n  tasks:\n  - command: echo {{ secret }}\n    no_log: true\n    loop: [1, \"{{ secret }}\"]\n  - command: echo {{ secret }}\n    no_log: \"{{ true }}\"\n    register: r\n  - command: 'false {{ secret }}'\n    no_log: true\n    ignore_errors: true\n  - debug: {msg: \"{{ r.stdout | length }}\"}\n",
    );
    let ran = bench.run();
    let events = serde_json::to_string(&*bench.events.lock().unwrap()).unwrap();
    assert!(!events.contains("hunter2"), "{events}");
    assert_eq!(ran.messages(), "7");
}

#[test]
fn retries_wait_between_tries() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - command: flaky 3\n    register: r\n    until: r.rc == 0\n    retries: 5\n    delay: 7\n  - debug: {msg: '{{ r.attempts }} {{ r.stdout }}'}\n",
    );
    assert_eq!(bench.run().messages(), "3 try 3");
    assert_eq!(bench.naps.lock().unwrap().iter().map(std::time::Duration::as_secs).collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn environment_and_become_reach_the_module() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  environment: {A: play, B: play}\n  tasks:\n  - command: env A\n    environment: {A: '{{ 1 + 1 }}'}\n    register: a\n  - command: env B\n    register: b\n  - command: whoami\n    become: true\n    become_user: consul\n    register: c\n  - command: whoami\n    register: d\n  - debug: {msg: '{{ a.stdout }} {{ b.stdout }} {{ c.stdout }} {{ d.stdout }}'}\n",
    );
    assert_eq!(bench.run().messages(), "2 play consul root");
}

#[test]
fn results_of_modules_are_never_templates() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  vars: {secret: s}\n  tasks:\n  - command: echo {{ '{{' }} secret {{ '}}' }}\n    register: r\n  - debug: {msg: '{{ r.stdout }}'}\n  - set_fact: {f: '{{ r.stdout }}'}\n  - debug: {msg: 'x {{ f }}'}\n",
    );
    assert_eq!(bench.run().messages(), "{{ secret }}|x {{ secret }}");
}

#[test]
fn files_come_back_and_stay_below_their_folder() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {content: data, dest: /etc/x}\n  - fetch: {src: /etc/x, dest: out}\n  - fetch: {src: /etc/x, dest: out}\n  - fetch: {src: /nope, dest: out, fail_on_missing: false}\n",
    );
    assert_eq!(bench.run().counts("h1"), "ok=4 changed=2");
    assert_eq!(std::fs::read_to_string(bench.folder.path().join("out/h1/etc/x")).unwrap(), "data");
}

#[test]
fn folders_are_copied_whole() {
    let mut bench = Bench::new(
        "=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {src: tree, dest: /d}\n  - copy: {src: tree/, dest: /e}\n=== files/tree/a\nA\n=== files/tree/sub/b\nB\n",
    );
    assert_eq!(bench.run().counts("h1"), "ok=2 changed=2");
    assert_eq!(bench.file("h1", "/d/tree/sub/b").unwrap(), "B\n");
    assert_eq!(bench.file("h1", "/e/a").unwrap(), "A\n");
    assert_eq!(bench.run().counts("h1"), "ok=2");
}

#[test]
fn missing_localhost_is_a_clear_failure() {
    let mut bench =
        Bench::new("=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - command: hostname\n    delegate_to: localhost\n");
    bench.local = false;
    let text = bench.run().lines.join("\n");
    assert!(text.contains("tasks can't run on the controller here"), "{text}");
}

#[test]
fn cancelling_stops_between_tasks() {
    let mut bench = Bench::new("=== site.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - debug: {msg: a}\n");
    bench.cancel.cancel();
    let ran = bench.run();
    assert!(ran.recap.cancelled && !ran.recap.succeeded());
    assert_eq!(ran.messages(), "");
}

#[test]
fn free_strategy_lets_hosts_run_ahead() {
    let mut bench = Bench::new(
        "=== hosts\nh1\nh2\n=== site.yml\n- hosts: all\n  strategy: free\n  gather_facts: false\n  tasks:\n  - command: 'false'\n    when: inventory_hostname == 'h1'\n  - debug: {msg: '{{ inventory_hostname }}'}\n    changed_when: true\n    notify: h\n  handlers:\n  - {name: h, debug: {msg: handled}}\n",
    );
    let ran = bench.run();
    assert_eq!(ran.counts("h1"), "failed=1");
    assert_eq!(ran.counts("h2"), "ok=2 changed=1 skipped=1");
}

#[test]
fn a_play_inside_another_file_keeps_its_lines() {
    let mut bench = Bench::new(
        "=== site.yml\nname: demo\nprovision:\n- other.yml\n- hosts: all\n  gather_facts: false\n  tasks:\n  - debug: {msg: in place}\n  - debug: {msg: '{{ nope }}'}\n",
    );
    bench.inside = Some(1);
    let ran = bench.run();
    assert_eq!(ran.counts("h1"), "ok=1 failed=1");
    let text = ran.lines.join("\n");
    assert!(text.contains("in place") && text.contains("site.yml:8"), "{text}");
}
