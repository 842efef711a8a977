//! Playbooks with expected results. Each case of `cases.txt` contains files and, under `=== expected`, the events as lines; they were
//! compared with the output of ansible-core 2.19 for the same files.
#![allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run")]

mod fake;

#[test]
fn every_case_gives_what_is_written() {
    let text = include_str!("cases.txt");
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in text.split("##### ").skip(1) {
        let (name, files) = case.split_once('\n').unwrap();
        let (files, expected) = files.split_once("=== expected\n").unwrap();
        let mut bench = fake::Bench::new(files);
        let mut lines = match bench.try_run() {
            Ok(ran) => {
                let recap = ran.recap.hosts.keys().map(|host| format!("RECAP {host} {}", ran.counts(host)));
                ran.lines.iter().cloned().chain(recap).collect::<Vec<_>>().join("\n")
            }
            Err(error) => format!("ERROR {error}"),
        };
        lines = lines.replace(&bench.folder.path().display().to_string(), "$DIR");
        if lines.trim_end() != expected.trim_end() {
            wrong.push(format!("##### {name}\n--- expected\n{expected}--- got\n{lines}\n"));
        }
        count += 1;
    }
    assert!(count >= 14, "only {count} cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
