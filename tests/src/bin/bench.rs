//! `make bench`: cold `labctl up` of five nodes against five bare QEMUs of the same image, started in parallel, in the same run.
//!
//! The floor starts the very same machines (same command line, overlays, initrds) without supervisor, switch, records or
//! events and waits until every agent answers. Medians of `ROUNDS` rounds, taken in turns so that both meet the same host.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use labctl_core::home::Home;
use labctl_core::{initrd, project};
use labctl_guest::Link;
use labctl_machine::accel;
use labctl_machine::disk::make_overlay;
use labctl_machine::qemu::{Boot, Files, Machine, Qemu, Ram};
use labctl_spec::lab::Lab;
use labctl_tests::Sandbox;
use tokio::task::JoinSet;

const ROUNDS: usize = 3;
const LAB: &str = "name: bench\nnodes:\n  - name: n\n    count: 5\n    memory: 512M\n";

fn main() {
    if !labctl_tests::can_boot() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut floors, mut ups, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let sandbox = Sandbox::new();
        let file = sandbox.write("lab.yml", LAB);
        // Image and accelerator are there before anything is timed.
        sandbox.good(&["image", "build"]);
        sandbox.good(&["doctor"]);
        let home = Home::at(&sandbox.home(), &sandbox.folder().join("labctl")).expect("a home");
        let lab = project::load(&file).expect("the lab");
        let floor = runtime.block_on(bare(&home, &lab, &sandbox.folder().join("bare")));
        let start = Instant::now();
        sandbox.good(&["up", "--cold", "--no-provision"]);
        let up = start.elapsed();
        peaks.push(memory(&sandbox));
        println!("round {}: bare QEMUs {:.2} s, labctl up {:.2} s, {} MiB", round + 1, floor.as_secs_f64(), up.as_secs_f64(), peaks[round]);
        floors.push(floor);
        ups.push(up);
    }
    let (floor, up) = (median(&mut floors), median(&mut ups));
    peaks.sort_unstable();
    println!("\ncold boot of five nodes of 512 MiB, to every agent answering; medians of {ROUNDS}");
    println!("  floor: five bare QEMUs   {:>7.2} s", floor.as_secs_f64());
    println!("  labctl up                {:>7.2} s", up.as_secs_f64());
    println!("  ratio                    {:>7.2}   (goal: at most 1.15)", up.as_secs_f64() / floor.as_secs_f64());
    println!("  memory (proportional)    {:>7} MiB, machines and supervisor together", peaks[ROUNDS / 2]);
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Starts the lab's machines without labctl and waits for their agents; gives the time from nothing to the last answer.
async fn bare(home: &Home, lab: &Lab, folder: &Path) -> Duration {
    let images = labctl_core::images::prepare(home, lab, &|_| {}).await.expect("the image");
    let found = accel::find(&home.accel(), home.scratch()).await.expect("an accelerator");
    let record = labctl_core::record::Record::prepare(home, lab.clone()).expect("a record");
    let start = Instant::now();
    let mut boots = JoinSet::new();
    for node in &lab.nodes {
        let image = images[&node.image].clone();
        let (folder, identity) = (folder.join(node.name.as_str()), record.identity(node).expect("an identity"));
        let (node, accel) = (node.clone(), found.accel);
        boots.spawn(async move {
            fs::create_dir_all(&folder).expect("a folder");
            let labctl_image::Boot::Direct { kernel, modules } = &image.boot else { panic!("the bench boots kernels") };
            let (disk, archive) = (folder.join("disk.qcow2"), folder.join("initrd"));
            make_overlay(&disk, &image.disk, "raw", node.disk).await.expect("an overlay");
            initrd::write(&archive, modules, &identity).expect("an initrd");
            let append = labctl_core::supervisor::command_line(accel);
            let machine = Machine {
                label: format!("bench/{}", node.name),
                uuid: format!("00000000-0000-4000-8000-{:012}", node.position),
                accel,
                cpus: node.cpus,
                memory: node.memory,
                ram: Ram::Anonymous,
                mac: node.mac,
                disk,
                seed: None,
                boot: Boot::Direct { kernel: kernel.clone(), initrd: archive, append },
                files: Files::new(&folder, node.position, &folder),
            };
            let qemu = Qemu::launch(&machine).await.expect("a machine");
            Link::connect(&machine.files.agent).await.expect("a channel").up().await.expect("an agent");
            qemu
        });
    }
    let machines = boots.join_all().await;
    let elapsed = start.elapsed();
    for machine in machines {
        machine.end().await;
    }
    elapsed
}

/// Proportional set size of all processes of the sandbox, in MiB (/proc/PID/smaps_rollup).
fn memory(sandbox: &Sandbox) -> u64 {
    let mut pids = sandbox.machines();
    pids.extend(sandbox.status()["supervisor"].as_i64().and_then(|pid| i32::try_from(pid).ok()));
    let kib = |pid: i32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
    };
    pids.into_iter().map(kib).sum::<u64>() >> 10
}
