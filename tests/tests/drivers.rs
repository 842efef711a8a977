//! A second driver: everything that does not need saved memory works with it, and what does is refused by name. So a supervisor needs no
//! QEMU.

#[path = "drivers/fake.rs"]
mod fake;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fake::Fake;
use labctl_image::{Boot, BootImage};
use labctl_lab::client;
use labctl_lab::control::{Call, Up};
use labctl_lab::event::NodeState;
use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_lab::template::Plan;
use labctl_lab::{Failure, node_folder, persist};
use labctl_machine::accel::Accel;
use labctl_machine::machine::Machine;
use labctl_machine::registry;
use labctl_spec::image::DiskFormat;
use labctl_spec::lab::Lab;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const LAB: &str = "name: fakes\nnodes: [{name: a}, {name: b}]\n";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A supervisor of the lab in this process. Dropping the runtime kills it, and nothing else.
fn supervisor(home: &Home, lab: &Lab) -> (Runtime, client::Supervisor) {
    let runtime = runtime();
    let (tell, told) = oneshot::channel();
    let (root, name) = (home.clone(), lab.name.clone());
    runtime.spawn(async move {
        let ran = labctl_supervisor::run(root, &name, |word| tell.send(word.to_owned()).unwrap()).await;
        ran.unwrap();
    });
    let client = runtime.block_on(async {
        assert_eq!(told.await.unwrap(), client::READY);
        client::Supervisor::running(&home.lab(&lab.name)).await.expect("a supervisor")
    });
    (runtime, client)
}

fn states(runtime: &Runtime, client: &client::Supervisor) -> Vec<NodeState> {
    runtime.block_on(client.status()).unwrap().nodes.into_iter().map(|node| node.state).collect()
}

/// The states of all nodes as a command sees them without a supervisor, and what is said about the first one.
fn unattended(home: &Home, lab: &Lab) -> (Vec<String>, String) {
    let status = runtime().block_on(labctl_core::lifecycle::status(home, lab)).unwrap();
    assert_eq!(status.supervisor, None);
    let states: Vec<NodeState> = status.nodes.into_iter().map(|node| node.state).collect();
    (states.iter().map(|state| state.word().to_owned()).collect(), states[0].why().unwrap_or_default().to_owned())
}

#[test]
fn a_driver_without_memory_runs_a_lab_and_what_needs_memory_is_refused() {
    let Ok(_) = std::process::Command::new("qemu-img").arg("--version").output() else {
        labctl_skip::skip!("qemu-img", "qemu-img is not installed: it makes the disks");
        return;
    };
    let machines = runtime();
    let fake: &'static Fake = Box::leak(Box::new(Fake::new(machines.handle().clone())));
    registry::register(fake);
    let folder = tempfile::Builder::new().prefix("labctl-test-").tempdir().unwrap();
    let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
    let lab = labctl_spec::parse_lab(LAB, Path::new("/fakes.yml")).unwrap();
    let record = Record::prepare(&home, lab.clone()).unwrap();
    let lab_home = home.lab(&lab.name);
    lab_home.make().unwrap();
    record.save(&lab_home).unwrap();
    let disk = folder.path().join("image.raw");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let image = BootImage { id: "1".into(), disk, format: DiskFormat::Raw, virtual_size: 1 << 20, boot: Boot::Firmware };
    let images = lab.nodes.iter().map(|node| (node.image.clone(), image.clone())).collect::<BTreeMap<_, _>>();
    let nodes: Vec<_> = lab.nodes.iter().map(|node| node.name.clone()).collect();
    let up = |driver: &str| {
        let (record, nodes, images) = (record.clone(), nodes.clone(), images.clone());
        Call::Up(Box::new(Up { record, nodes, images, driver: driver.into(), accel: Accel::Tcg, templates: Plan::default() }))
    };
    let run = |runtime: &Runtime, client: &client::Supervisor, call: Call| -> Result<(), Failure> {
        runtime.block_on(client.run(&call, |event| println!("{event:?}")))
    };

    let (runtime, client) = supervisor(&home, &lab);
    let said = run(&runtime, &client, up("nobody")).unwrap_err().message;
    assert!(said.contains("there is no driver `nobody`; known: qemu, fake"), "{said}");
    run(&runtime, &client, up("fake")).unwrap();
    assert_eq!(fake.asked(), ["launch labctl:fakes/a", "launch labctl:fakes/b"]);
    assert_eq!(states(&runtime, &client), [NodeState::Running, NodeState::Running]);
    let machine: Machine = persist::read_json(&node_folder::machine(&lab_home.node(&nodes[0]))).unwrap().unwrap();
    assert_eq!((machine.driver.as_str(), registry::runs(&machine)), ("fake", true));
    run(&runtime, &client, up("fake")).unwrap();
    assert_eq!(fake.asked(), Vec::<String>::new(), "they run already");

    let said = run(&runtime, &client, Call::Save { name: "one".into(), verify: false }).unwrap_err().message;
    assert_eq!(said, "driver `fake` cannot save or load memory, which a snapshot needs");
    assert_eq!(states(&runtime, &client), [NodeState::Running, NodeState::Running]);

    // The next supervisor finds them.
    drop(client);
    // Waits until it is gone: it holds the supervisor's lock.
    runtime.shutdown_timeout(Duration::from_secs(60));
    let (runtime, client) = supervisor(&home, &lab);
    assert_eq!(fake.asked(), ["adopt labctl:fakes/a", "adopt labctl:fakes/b"]);
    run(&runtime, &client, up("fake")).unwrap();
    assert_eq!(fake.asked(), Vec::<String>::new());
    assert_eq!(states(&runtime, &client), [NodeState::Running, NodeState::Running]);

    // Without one, machines are looked at.
    drop(client);
    runtime.shutdown_timeout(Duration::from_secs(60));
    fake.fill("labctl:fakes/a", true);
    let (left, said) = unattended(&home, &lab);
    assert_eq!(left, ["disk full", "running"]);
    assert!(said.contains("the host's disk is full"), "{said}");
    fake.fill("labctl:fakes/a", false);
    assert_eq!(unattended(&home, &lab).0, ["running", "running"]);
    fake.asked();

    // A machine that does not answer holds up nobody, and is adopted when it answers after all.
    fake.hang(Some("labctl:fakes/a"));
    let (runtime, client) = supervisor(&home, &lab);
    runtime.block_on(client.agent(&nodes[1])).unwrap();
    let now = states(&runtime, &client);
    assert_eq!(now.iter().map(NodeState::word).collect::<Vec<_>>(), ["unreachable", "running"], "{now:?}");
    assert_eq!(now[0].why(), Some("its machine has not answered yet"));
    let waits = {
        let (client, node) = (client.clone(), nodes[0].clone());
        runtime.spawn(async move { client.agent(&node).await.map(drop) })
    };
    fake.hang(None);
    runtime.block_on(waits).unwrap().unwrap();
    assert_eq!(states(&runtime, &client), [NodeState::Running, NodeState::Running]);
    assert_eq!(fake.asked(), ["adopt labctl:fakes/a", "adopt labctl:fakes/b"]);

    // A machine that could not be adopted is tried again before it would be ended.
    let deaf = |client: client::Supervisor, runtime: Runtime| {
        fake.be_deaf(true);
        drop(client);
        runtime.shutdown_timeout(Duration::from_secs(60));
        let (runtime, client) = supervisor(&home, &lab);
        assert_eq!(states(&runtime, &client).iter().map(NodeState::word).collect::<Vec<_>>(), ["unreachable", "unreachable"]);
        assert_eq!(fake.asked(), ["adopt labctl:fakes/a", "adopt labctl:fakes/b"]);
        (runtime, client)
    };
    let (runtime, client) = deaf(client, runtime);
    fake.be_deaf(false);
    run(&runtime, &client, up("fake")).unwrap();
    assert_eq!(fake.asked(), ["adopt labctl:fakes/a", "adopt labctl:fakes/b"]);
    assert_eq!(states(&runtime, &client), [NodeState::Running, NodeState::Running]);
    let (runtime, client) = deaf(client, runtime);
    run(&runtime, &client, up("fake")).unwrap();
    let again = ["adopt", "end", "launch"].map(|what| ["a", "b"].map(|node| format!("{what} labctl:fakes/{node}")));
    assert_eq!(fake.asked(), again.concat());
    assert_eq!(states(&runtime, &client), [NodeState::Running, NodeState::Running]);
    fake.be_deaf(false);

    run(&runtime, &client, Call::Halt { nodes: nodes[..1].to_vec(), force: false }).unwrap();
    assert_eq!(states(&runtime, &client), [NodeState::Off, NodeState::Running]);
    run(&runtime, &client, Call::Halt { nodes: Vec::new(), force: true }).unwrap();
    assert_eq!(states(&runtime, &client), [NodeState::Off, NodeState::Off]);
    assert!(!registry::runs(&machine));
}
