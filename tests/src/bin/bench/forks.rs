//! `labctl up` by forking an existing template, compared with bare QEMUs that load the same template, and with cold boots.

use std::path::Path;
use std::time::{Duration, Instant};

use labctl_core::{images, project};
use labctl_lab::home::Home;
use labctl_lab::template::{Shape, Template, Templates};
use labctl_machine::driver::{Driver, Orphan, Saving};
use labctl_machine::driver_name::DriverName;
use labctl_machine::machine::{Files, Machine, Ram};
use labctl_machine::qemu::{QEMU, Qemu};
use labctl_tests::Sandbox;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cold::Cold;
use crate::measure::{ROUNDS, line, median, memory, middle, ratio};

fn lab(nodes: usize, memory: u64) -> String {
    format!("name: forks\nnodes:\n  - name: n\n    count: {nodes}\n    memory: {memory}M\n")
}

/// One round: from the shell to every agent answering with its identity.
struct Round {
    up: Duration,
    /// From the same start to the first answer of the last node to a ping of the first.
    ping: Duration,
    memory: u64,
}

fn round(nodes: usize, memory_mib: u64) -> Round {
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", &lab(nodes, memory_mib));
    sandbox.good(&["doctor"]);
    sandbox.good(&["image", "template", "build"]);
    let start = Instant::now();
    sandbox.good(&["up", "--no-provision"]);
    let up = start.elapsed();
    let last = format!("n{nodes}");
    sandbox.good(&["exec", "n1", "--", "sh", "-c", &format!("until ping -c1 -W1 {last} >/dev/null; do :; done")]);
    let ping = start.elapsed();
    let memory = memory(&sandbox);
    sandbox.good(&["destroy", "--force"]);
    assert!(sandbox.machines().is_empty(), "a machine outlived its lab");
    Round { up, ping, memory }
}

/// Measures and prints.
pub fn run(runtime: &Runtime, cold: &Cold) {
    let (mut floors, mut ups, mut pings, mut memories) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(runtime.block_on(floor(5)));
        let round = round(5, 512);
        ups.push(round.up);
        pings.push(round.ping.saturating_sub(round.up));
        memories.push(round.memory);
    }
    let (floor, up, ping, memory) = (median(&mut floors), median(&mut ups), median(&mut pings), middle(&mut memories));
    println!("\nfork of five nodes of 512 MiB, to every agent answering with its identity; medians of {ROUNDS}");
    line("floor: five bare QEMUs that load it, all running", floor);
    line("labctl up", up);
    ratio("ratio to the floor", up, floor, "goal: at most 4, and 0.8 s");
    ratio("cold boot of the same run, times slower", cold.up, up, "goal: 70");
    line("first ping between forks, after that", ping);
    let share = |value: u64, of: u64| value as f64 / of.max(1) as f64;
    println!("  {:<44} {memory:>8} MiB", "memory (proportional) right after");
    println!("  {:<44} {:>8.2}     (goal: at most 0.12)", "part of what five cold-booted nodes take", share(memory, cold.memory));

    let mut twenty: Vec<Round> = (0..3).map(|_| round(20, 512)).collect();
    twenty.sort_by_key(|round| round.up);
    println!("\n20 forks of 512 MiB; median of 3");
    line("labctl up", twenty[1].up);
    ratio("times as long as 5", twenty[1].up, up, "goal: at most 4, and 4 s");
    println!("  {:<44} {:>8} MiB", "memory of each further node", twenty[1].memory.saturating_sub(memory) / 15);

    let fifty = round(50, 256);
    println!("\n50 forks of 256 MiB, up and destroyed without an error; once");
    line("labctl up", fifty.up);
    println!("  {:<44} {:>8} MiB", "memory of all", fifty.memory);
}

/// Bare QEMUs that map the template's memory and load its state; returns the time until all run.
async fn floor(nodes: u32) -> Duration {
    let sandbox = Sandbox::new();
    let file = sandbox.write("lab.yml", &lab(5, 512));
    sandbox.good(&["image", "template", "build"]);
    let home = Home::at(&sandbox.home(), &sandbox.folder().join("labctl")).expect("a home");
    let (shape, template) = find(&home, &file).await;
    let start = Instant::now();
    let mut forks = JoinSet::new();
    for position in 0..nodes {
        let (shape, template) = (shape.clone(), template.clone());
        let folder = sandbox.folder().join(format!("bare{position}"));
        forks.spawn(async move { fork(&shape, &template, &folder, position).await });
    }
    let forks = forks.join_all().await;
    let elapsed = start.elapsed();
    for fork in forks {
        fork.end().await;
    }
    elapsed
}

async fn fork(shape: &Shape, template: &Template, folder: &Path, position: u32) -> Qemu {
    std::fs::create_dir_all(folder).expect("a folder");
    let disk = folder.join("disk.qcow2");
    std::fs::copy(template.overlay(), &disk).expect("an overlay");
    // QEMU reads an initrd even if nothing will boot from it.
    std::fs::write(folder.join("initrd"), b"none").expect("a file");
    let files = Files::new(folder, position, folder);
    let machine = Machine { ram: Ram::Private(template.ram()), ..shape.machine(&files, template.ram(), disk) };
    let state = std::fs::File::open(template.state()).expect("the state");
    let qemu = Qemu::launch_empty(&machine, Orphan::LivesOn).await.expect("a machine");
    qemu.load(state, Saving::WithoutSharedMemory).await.expect("the template's state");
    qemu.resume().await.expect("a running machine");
    qemu
}

async fn find(home: &Home, file: &Path) -> (Shape, Template) {
    let lab = project::load(file).expect("the lab");
    let images = images::prepare(home, &lab, &|_| {}).await.expect("the image");
    let notes = home.driver_notes();
    let version = QEMU.version(&notes).await.expect("QEMU's version");
    let accel = QEMU.accel(&notes, &version).await.expect("an accelerator").accel;
    let node = &lab.nodes[0];
    let shape = Shape::of(node, &images[&node.image], accel, &DriverName::default(), &version).expect("a shape");
    let template = Templates::of(home).find(&shape.key()).expect("the template");
    (shape, template)
}
