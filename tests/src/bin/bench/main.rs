//! `make bench`: what labctl costs, compared with the floor of the same run. `make bench BENCH="cold forks"` runs only some of them.

mod cold;
mod demo;
mod forks;
mod measure;
mod provision;
mod rewind;
mod sync;

/// What can be measured.
const NAMES: [&str; 6] = ["cold", "forks", "rewind", "sync", "provision", "demo"];

fn main() {
    // What was asked for and cannot be measured is a failure, unlike in a test.
    assert!(labctl_tests::can_boot(), "nothing can be measured without QEMU");
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = chosen.iter().find(|name| !NAMES.contains(&name.as_str())) {
        panic!("there is no benchmark `{unknown}`; there are {}", NAMES.join(", "));
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // The forks are compared with the cold boots.
    let cold = (wanted("cold") || wanted("forks")).then(|| cold::run(&runtime));
    if let Some(cold) = cold.filter(|_| wanted("forks")) {
        forks::run(&runtime, &cold);
    }
    if wanted("rewind") {
        rewind::run();
    }
    if wanted("sync") {
        sync::run();
    }
    if wanted("provision") {
        provision::run(&runtime);
    }
    if wanted("provision") || wanted("demo") {
        demo::run();
    }
}
