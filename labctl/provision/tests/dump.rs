//! Prints the events of a playbook folder, for manual comparison with other implementations: set `LABCTL_CASE` to the folder.
#![allow(clippy::disallowed_methods, reason = "what a test reads is not an input of a run")]

mod fake;

#[test]
#[ignore = "prints for a person; needs LABCTL_CASE"]
fn dump() {
    let root = std::env::var("LABCTL_CASE").unwrap();
    let mut folders: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        let mut bench = fake::Bench::new("");
        copy(&folder, bench.folder.path());
        println!("##### {}", folder.file_name().unwrap().to_string_lossy());
        match bench.try_run() {
            Ok(ran) => {
                for line in &ran.lines {
                    println!("{line}");
                }
                for host in ran.recap.hosts.keys() {
                    println!("RECAP {host} {}", ran.counts(host));
                }
            }
            Err(error) => println!("ERROR {error}"),
        }
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
