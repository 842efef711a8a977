//! Guests that are dead, or have died: this is reported within seconds, and no lab gets stuck because of it.

use std::time::{Duration, Instant};

use labctl_lab::client;
use labctl_lab::control::{Answer, Stamped};
use labctl_lab::event::{Event, RebootCause, Trouble};
use labctl_lab::home::Home;
use labctl_tests::{Sandbox, can_boot, kill_supervisor, until};
use serde_json::Value;

const LAB: &str = "name: dead\nnodes: [{name: a, memory: 256M}]\n";

/// Makes any kernel panic (Documentation/admin-guide/sysrq.rst).
const PANIC: &str = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger";

/// How long an emulated guest may take to boot on a busy host.
const BOOT: Duration = Duration::from_secs(240);

/// The lab's events that the supervisor remembers, oldest first.
fn happened(sandbox: &Sandbox) -> Vec<Event> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = Home::at(&sandbox.home(), &sandbox.home().join("run")).unwrap().lab(&"dead".parse().unwrap());
    runtime.block_on(async {
        let mut watch = client::Supervisor::running(&home).await.expect("a supervisor").watch().await.unwrap();
        let mut events = Vec::new();
        // Remembered events arrive at once; after them come new events, perhaps none.
        while let Ok(answer) = tokio::time::timeout(Duration::from_secs(3), watch.answer()).await {
            if let Answer::Watched(Stamped { event, .. }) = answer.unwrap() {
                events.push(event);
            }
        }
        events
    })
}

fn panics(sandbox: &Sandbox) -> Vec<String> {
    let panic = |event| match event {
        Event::Kernel { trouble: Trouble::Panic, line, .. } => Some(line),
        _ => None,
    };
    happened(sandbox).into_iter().filter_map(panic).collect()
}

fn reboots(sandbox: &Sandbox) -> Vec<RebootCause> {
    let cause = |event| match event {
        Event::Rebooted { cause, .. } => Some(cause),
        _ => None,
    };
    happened(sandbox).into_iter().filter_map(cause).collect()
}

fn node(sandbox: &Sandbox) -> Value {
    sandbox.status()["nodes"][0].clone()
}

/// Waits until the node has come back from that many reboots.
fn back(sandbox: &Sandbox, reboots: u64) -> Value {
    until(&format!("reboot {reboots}"), BOOT, || {
        let node = node(sandbox);
        node["reboots"] == reboots && node["state"] == "running"
    });
    node(sandbox)
}

/// Runs a command that must fail, and returns its standard error. How long that takes depends on how much processor time the guest gets
/// from the host.
fn fails(sandbox: &Sandbox, args: &[&str]) -> String {
    let start = Instant::now();
    let (code, said) = sandbox.bad(args);
    let took = start.elapsed();
    println!("labctl {} failed after {:.1} s: {}", args.join(" "), took.as_secs_f64(), said.trim());
    assert!([6, 7].contains(&code), "{code}: {said}");
    said
}

#[test]
fn a_kernel_that_panics_is_told_and_so_is_every_reboot() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    let first = back(&sandbox, 0);
    until("the boot's id", BOOT, || node(&sandbox)["boot_id"].is_string());
    let boot_id = node(&sandbox)["boot_id"].clone();
    assert_eq!((&first["panics"], &first["last_panic"]), (&0.into(), &Value::Null));
    assert_eq!(first["since_unix_ms"], first["started_unix_ms"]);
    let table = sandbox.good(&["status"]);
    assert!(table.contains("UPTIME") && !table.contains("panic"), "{table}");

    // A new supervisor knows the same.
    kill_supervisor(&sandbox);
    let unattended = node(&sandbox);
    assert_eq!((&unattended["since_unix_ms"], &unattended["boot_id"]), (&first["since_unix_ms"], &boot_id));
    sandbox.good(&["exec", "a", "--", "true"]);
    let adopted = back(&sandbox, 0);
    assert_eq!((&adopted["since_unix_ms"], &adopted["boot_id"]), (&first["since_unix_ms"], &boot_id));

    // A request to a guest that panics fails; the guest boots again, and that is reported.
    fails(&sandbox, &["exec", "a", "--", "sh", "-c", PANIC]);
    // The next one waits until it has rebooted, even if it comes while the kernel still reports its panic.
    sandbox.good(&["exec", "a", "--", "true"]);
    let second = back(&sandbox, 1);
    assert_eq!(second["panics"], 1);
    assert_eq!(second["last_panic"]["line"], "Kernel panic - not syncing: sysrq triggered crash");
    assert_eq!(second["started_unix_ms"], first["started_unix_ms"]);
    assert_ne!(second["boot_id"], boot_id);
    assert!(second["since_unix_ms"].as_u64() > first["since_unix_ms"].as_u64(), "{second}");
    assert_eq!(panics(&sandbox), ["Kernel panic - not syncing: sysrq triggered crash"]);
    assert_eq!(reboots(&sandbox), [RebootCause::Panic]);
    let table = sandbox.good(&["status"]);
    assert!(table.contains("a: its kernel panicked") && table.contains("sysrq triggered crash"), "{table}");

    // A requested reboot, and one that was not.
    sandbox.run(&["exec", "a", "--", "systemctl", "reboot"]);
    back(&sandbox, 2);
    sandbox.run(&["exec", "a", "--", "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger"]);
    back(&sandbox, 3);
    assert_eq!(reboots(&sandbox), [RebootCause::Panic, RebootCause::Asked, RebootCause::Itself]);

    // While no supervisor is watching.
    sandbox.good(&["exec", "a", "--", "systemd-run", "-q", "sh", "-c", &format!("sleep 3; {PANIC}")]);
    kill_supervisor(&sandbox);
    let console = sandbox.home().join("labs/dead/nodes/a/console.log");
    until("a panic that nobody hears", BOOT, || {
        std::fs::read_to_string(&console).unwrap_or_default().matches("Kernel panic - not syncing").count() == 2
    });
    sandbox.good(&["exec", "a", "--", "true"]);
    let fourth = back(&sandbox, 4);
    assert_eq!(fourth["panics"], 2);
    assert_eq!(reboots(&sandbox), [RebootCause::Panic]);
    assert_eq!(panics(&sandbox).len(), 1, "this supervisor's");

    // A guest that does not reboot after a panic.
    fails(&sandbox, &["exec", "a", "--", "sh", "-c", &format!("echo 0 > /proc/sys/kernel/panic; {PANIC}")]);
    until("the panic", BOOT, || node(&sandbox)["state"] == "panicked");
    let said = fails(&sandbox, &["exec", "a", "--", "true"]);
    assert!(said.contains("a: its kernel has panicked: Kernel panic - not syncing: sysrq triggered crash"), "{said}");
    // A supervisor that did not see the panic says so too, and does not wait for a boot. The last one is made to forget what it has heard.
    kill_supervisor(&sandbox);
    let life = sandbox.home().join("labs/dead/nodes/a/life.json");
    let mut known: Value = serde_json::from_slice(&std::fs::read(&life).unwrap()).unwrap();
    let trigger = b"sysrq: Trigger a crash";
    known["console_heard"] = std::fs::read(&console).unwrap().windows(trigger.len()).rposition(|bytes| bytes == trigger).unwrap().into();
    std::fs::write(&life, known.to_string()).unwrap();
    let said = fails(&sandbox, &["exec", "a", "--", "true"]);
    assert!(said.contains("a: its kernel has panicked"), "{said}");
    assert_eq!(node(&sandbox)["state"], "panicked");
    let said = fails(&sandbox, &["up"]);
    assert!(said.contains("sysrq triggered crash") && said.contains("labctl reload --force a"), "{said}");
    sandbox.good(&["reload", "--force", "a"]);
    let anew = back(&sandbox, 0);
    assert_eq!((&anew["panics"], &anew["last_panic"]), (&0.into(), &Value::Null));
    assert!(anew["started_unix_ms"].as_u64() > first["started_unix_ms"].as_u64());
    sandbox.good(&["exec", "a", "--", "true"]);
}

/// Has a program run in the node a second from now, when nothing else is asked of it, and waits until the console shows that word. The
/// program must not contain it in one piece: systemd prints its command line.
fn later(sandbox: &Sandbox, program: &str, word: &str) {
    sandbox.good(&["exec", "a", "--", "systemd-run", "-q", "sh", "-c", &format!("sleep 1; {program}")]);
    let console = sandbox.home().join("labs/dead/nodes/a/console.log");
    until(word, BOOT, || std::fs::read_to_string(&console).unwrap_or_default().contains(word));
}

#[test]
fn a_guest_whose_memory_is_dead_is_given_up_in_time() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    sandbox.good(&["exec", "a", "--", "sh", "-c", "echo good > /root/word; sync"]);
    sandbox.good(&["snapshot", "save", "good"]);
    // A guest that idles, and whose agent no longer answers.
    sandbox.good(&["exec", "a", "--", "sh", "-c", "echo idles > /root/word; sync"]);
    later(&sandbox, "kill -STOP $(systemctl show --property MainPID --value labctl-agent); echo '<1>it-'stops > /dev/kmsg", "it-stops");
    sandbox.good(&["snapshot", "save", "idles"]);
    let said = fails(&sandbox, &["exec", "a", "--", "true"]);
    assert!(said.contains("a: its agent has not answered for") && said.contains("idle"), "{said}");
    assert!(said.contains("labctl reload --force a"), "{said}");
    assert_eq!(node(&sandbox)["state"], "silent");
    fails(&sandbox, &["exec", "a", "--", "true"]);
    fails(&sandbox, &["up"]);
    let table = sandbox.good(&["status"]);
    assert!(table.contains("a is silent: its agent has not answered"), "{table}");

    // A guest that burns all of its processor time.
    sandbox.good(&["snapshot", "restore", "good"]);
    sandbox.good(&["exec", "a", "--", "sh", "-c", "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; echo loops > /root/word; sync"]);
    later(&sandbox, "exec chrt --fifo 99 sh -c 'echo \"<1>it-\"loops > /dev/kmsg; while :; do :; done'", "it-loops");
    sandbox.good(&["snapshot", "save", "loops"]);
    let said = fails(&sandbox, &["exec", "a", "--", "true"]);
    assert!(said.contains("stuck in a loop"), "{said}");

    // A guest that wants its processor is waited for longer if others want it too.
    for (name, how) in [("idles", "idle"), ("loops", "loop")] {
        // The error states what is wrong and what to do, then and afterwards, and nothing runs.
        let said = fails(&sandbox, &["snapshot", "restore", name]);
        for part in [&format!("snapshot `{name}`"), "a: its agent has not answered for ", how] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said.contains(&format!("labctl snapshot restore {name} --cold")) && said.contains("(good, "), "{said}");
        assert_eq!(sandbox.machines(), Vec::<i32>::new());
        for again in [&["up"][..], &["up", "--no-provision", "a"], &["reload"], &["exec", "a", "--", "true"], &["ssh", "a", "--", "true"]] {
            let said = fails(&sandbox, again);
            assert!(said.contains(&format!("labctl snapshot restore {name} --cold")), "{said}");
        }
        kill_supervisor(&sandbox);
        let table = sandbox.good(&["status"]);
        assert!(table.contains("the last restore failed:") && table.contains(how), "{table}");
        fails(&sandbox, &["up"]);

        // Every suggested remedy works.
        sandbox.good(&["snapshot", "restore", "good"]);
        assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/root/word"]), "good\n");
        fails(&sandbox, &["snapshot", "restore", name]);
        sandbox.good(&["snapshot", "restore", name, "--cold"]);
        assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/root/word"]), format!("{name}\n"));
        assert_eq!(sandbox.status()["failed_restore"], Value::Null);
        sandbox.good(&["up"]);
    }

    // Suspended while dead, it boots once its memory is discarded.
    later(&sandbox, "kill -STOP $(systemctl show --property MainPID --value labctl-agent); echo '<1>it-'stops-again > /dev/kmsg", "again");
    sandbox.good(&["suspend"]);
    fails(&sandbox, &["resume"]);
    let said = fails(&sandbox, &["up"]);
    assert!(said.contains("labctl halt"), "{said}");
    sandbox.good(&["halt"]);
    sandbox.good(&["up"]);
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/root/word"]), "loops\n");

    fails(&sandbox, &["snapshot", "restore", "idles"]);
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.disk_layers(), 0);
}

#[test]
fn a_panic_fails_the_scenario_that_runs() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.write(
        "calm.yml",
        "name: calm\nsteady_state:\n  - name: answers\n    exec: {node: a, command: [\"true\"]}\nmethod:\n  - wait: 30s\nrecover_within: 240s\n",
    );
    sandbox.good(&["up"]);
    let mut run = sandbox.start(&["scenario", "run", "calm.yml"]);
    let log = sandbox.folder().join("started.log");
    until("the method begins", BOOT, || std::fs::read_to_string(&log).unwrap_or_default().contains("wait 30s"));
    sandbox.run(&["exec", "a", "--", "sh", "-c", PANIC]);
    let status = run.wait().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    println!("{said}");
    assert_eq!(status.code(), Some(9));
    assert!(said.contains("verdict  failed: a: its kernel has panicked: Kernel panic - not syncing: sysrq triggered crash"), "{said}");
}
