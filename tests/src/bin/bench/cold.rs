//! Cold `labctl up` of five nodes, compared with five bare QEMUs of the same image started in parallel, in the same run.
//!
//! The floor starts exactly the same machines (same command line, overlays, initrds) without supervisor, switch, records or events and
//! waits until every agent answers. The two take turns, so that both run under the same host conditions.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use labctl_core::project;
use labctl_guest::Link;
use labctl_lab::home::Home;
use labctl_lab::initrd;
use labctl_machine::disk::make_overlay;
use labctl_machine::driver::{Driver, Orphan};
use labctl_machine::driver_name::DriverName;
use labctl_machine::machine::{Boot, Files, Machine, Ram};
use labctl_machine::qemu::{QEMU, Qemu};
use labctl_spec::lab::Lab;
use labctl_tests::Sandbox;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::measure::{ROUNDS, line, median, memory, middle, ratio};

const LAB: &str = "name: bench\nnodes:\n  - name: n\n    count: 5\n    memory: 512M\n";

/// The baseline of the other benchmarks.
pub struct Cold {
    /// Median of `labctl up --cold`, from the shell to every agent answering.
    pub up: Duration,
    /// Memory of five nodes right after, in MiB.
    pub memory: u64,
}

/// Measures and prints.
pub fn run(runtime: &Runtime) -> Cold {
    let (mut floors, mut ups, mut memories) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let sandbox = Sandbox::new();
        let file = sandbox.write("lab.yml", LAB);
        // Image and accelerator are ready before anything is timed.
        sandbox.good(&["image", "build"]);
        sandbox.good(&["doctor"]);
        let home = Home::at(&sandbox.home(), &sandbox.folder().join("labctl")).expect("a home");
        let lab = project::load(&file).expect("the lab");
        floors.push(runtime.block_on(bare(&home, &lab, &sandbox.folder().join("bare"))));
        let start = Instant::now();
        sandbox.good(&["up", "--cold", "--no-provision"]);
        ups.push(start.elapsed());
        memories.push(memory(&sandbox));
    }
    let (floor, up, memory) = (median(&mut floors), median(&mut ups), middle(&mut memories));
    println!("\ncold boot of five nodes of 512 MiB, to every agent answering; medians of {ROUNDS}");
    line("floor: five bare QEMUs", floor);
    line("labctl up --cold", up);
    ratio("ratio", up, floor, "goal: at most 1.15");
    println!("  {:<44} {memory:>8} MiB", "memory (proportional) of machines and supervisor");
    Cold { up, memory }
}

/// Starts the lab's machines without labctl and waits for their agents; returns the time from nothing to the last answer.
async fn bare(home: &Home, lab: &Lab, folder: &Path) -> Duration {
    let images = labctl_core::images::prepare(home, lab, &|_| {}).await.expect("the image");
    let notes = home.driver_notes();
    let version = QEMU.version(&notes).await.expect("QEMU's version");
    let found = QEMU.accel(&notes, &version).await.expect("an accelerator");
    let record = labctl_lab::record::Record::prepare(home, lab.clone()).expect("a record");
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
            let append = labctl_lab::guest_kernel::command_line(accel);
            let machine = Machine {
                driver: DriverName::default(),
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
            let qemu = Qemu::launch(&machine, Orphan::LivesOn).await.expect("a machine");
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
