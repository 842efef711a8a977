//! Builds a template: boots a machine, lets it settle, saves it.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use labctl_guest::{Agent, Link};
use labctl_image::Boot;
use labctl_lab::environment::template_limit;
use labctl_lab::event::{Each, Event};
use labctl_lab::home::Home;
use labctl_lab::identity::{entropy, now_ns};
use labctl_lab::template::{Shape, Template, Templates};
use labctl_lab::{Failure, Kind, initrd, persist};
use labctl_machine::disk::{make_overlay, make_overlay_on_future};
use labctl_machine::driver::{Memory, Orphan, Running, Saving};
use labctl_machine::machine::{Files, Machine};
use labctl_machine::{MachineError, registry};
use labctl_wire::{HostKey, Identity};
use tokio::time::timeout;

use crate::stop::stopped;
use crate::unfinished;

/// How long a guest may take until all its services have started.
const BOOT_DEADLINE: Duration = Duration::from_secs(300);

/// Makes the template of that shape, unless another process just did.
pub async fn make(home: &Home, shape: &Shape, each: Each<'_>) -> Result<Template, Failure> {
    let templates = Templates::of(home);
    let key = shape.key();
    let _turn = templates.turn(&key).await?;
    if let Some(made) = templates.find(&key) {
        return Ok(made);
    }
    unfinished::sweep(home);
    let what = format!("template {} ({} CPU, {})", shape.name, shape.cpus, shape.memory);
    let step = |step: &str| each(Event::Work { what: what.clone(), step: step.to_owned(), progress: None });
    let building = templates.building(&key);
    let sockets = home.scratch().join(format!("t-{}", &key[..8]));
    clear(shape, &building, &sockets).await?;
    let place = templates.place(&key);
    let made = boot_and_save(shape, &building, &sockets, &place, &step).await;
    let _ = fs::remove_dir_all(&sockets);
    if let Err(why) = made {
        return Err(Failure { message: format!("{what}: {}", why.message), ..why });
    }
    step("writing");
    put(home, &building, &place, each)?;
    each(Event::Note { text: format!("{what}: ready; further nodes are forked from it") });
    Ok(place)
}

/// Moves a sealed folder to its place in the store, and removes old templates if the store is over its limit.
pub fn put(home: &Home, building: &Path, place: &Template, each: Each<'_>) -> Result<(), Failure> {
    fs::rename(building, &place.folder).map_err(Failure::io(place.folder.display()))?;
    place.touch(home);
    for removed in Templates::of(home).shrink(template_limit()?) {
        let name = removed.key.chars().take(12).collect::<String>();
        each(Event::Note {
            text: format!("template {name} removed: templates exceed $LABCTL_TEMPLATES, and it was the least recently used"),
        });
    }
    Ok(())
}

/// Creates new folders for the template and for the builder's sockets. Removes what a killed build has left, including its machine if the
/// kernel did not stop it.
pub async fn clear(shape: &Shape, building: &Path, sockets: &Path) -> Result<(), Failure> {
    end_leftover(shape, building, sockets).await;
    let _ = (fs::remove_dir_all(building), fs::remove_dir_all(sockets));
    for folder in [building, sockets] {
        fs::create_dir_all(folder).map_err(Failure::io(folder.display()))?;
    }
    Ok(())
}

/// Stops the machine of a killed build, if the kernel did not.
async fn end_leftover(shape: &Shape, building: &Path, sockets: &Path) {
    let machine = shape.machine(&Files::new(sockets, 0, building), building.join("ram"), building.join("disk.qcow2"));
    let Ok(driver) = registry::of(&machine) else { return };
    if let Ok(Some(left)) = driver.adopt(&machine).await {
        left.end().await;
    }
}

async fn boot_and_save(
    shape: &Shape,
    building: &Path,
    sockets: &Path,
    place: &Template,
    step: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Failure> {
    let disk = building.join("disk.qcow2");
    make_overlay(&disk, &shape.image.disk, shape.image.format.qemu_name(), shape.disk).await?;
    let machine = shape.machine(&Files::new(sockets, 0, building), building.join("ram"), disk);
    let Boot::Direct { modules, .. } = &shape.image.boot else {
        return Err(Failure::new(Kind::Internal, "a template needs an image that boots directly"));
    };
    initrd::write(&building.join("initrd"), modules, &nobody())?;
    step("booting");
    let running = registry::of(&machine)?.launch(&machine, Orphan::Dies).await?;
    let saved = tokio::select! {
        saved = settle_and_save(&*running, &machine, building, step) => saved,
        why = stopped(&*running) => Err(why),
    };
    running.end().await;
    let see = || format!("see {} and {}", machine.files.console_log.display(), machine.files.log.display());
    saved.map_err(|why| Failure { hint: why.hint.clone().or_else(|| Some(see())), ..why })?;
    seal(building, shape, place).await
}

/// Completes a folder with saved memory, state and disk, so that it can become the template at `place`.
pub async fn seal(building: &Path, shape: &Shape, place: &Template) -> Result<(), Failure> {
    make_overlay_on_future(&building.join("overlay.qcow2"), &place.folder.join("disk.qcow2"), shape.disk).await?;
    for done in ["initrd", "running.lock"] {
        let _ = fs::remove_file(building.join(done));
    }
    for kept in ["ram", "state", "disk.qcow2", "overlay.qcow2"] {
        let path = building.join(kept);
        File::open(&path).and_then(|file| file.sync_all()).map_err(Failure::io(path.display()))?;
    }
    persist::write_json(&building.join("template.json"), shape)
}

async fn settle_and_save(
    running: &dyn Running,
    machine: &Machine,
    building: &Path,
    step: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Failure> {
    let link = Link::connect(&machine.files.agent).await.map_err(Failure::io(machine.files.agent.display()))?;
    link.up_within(BOOT_DEADLINE).await?;
    let agent = Agent::new(link);
    step("waiting for its services");
    let late = |_| Failure::new(Kind::Machine, format!("the guest's services did not finish starting within {BOOT_DEADLINE:?}"));
    timeout(BOOT_DEADLINE, agent.await_booted()).await.map_err(late)??;
    step("saving");
    save(running, machine, &agent, building).await
}

/// Removes the guest's identity and saves memory and devices into the folder.
pub async fn save(running: &dyn Running, machine: &Machine, agent: &Agent, building: &Path) -> Result<(), Failure> {
    let memory = memory(running, machine)?;
    // Run once through what a fork does when it wakes. What is then in memory, forks need not load or translate again.
    agent.take_identity(Identity { entropy: entropy(), clock_ns: now_ns(), ..nobody() }).await?;
    agent.become_template().await?;
    running.pause().await?;
    let state = building.join("state");
    let file = File::create(&state).map_err(Failure::io(state.display()))?;
    // The agent's channel stays open until the machine exits, so that forks find it open and need not open it.
    Ok(memory.save(file.into(), Saving::WithoutSharedMemory).await?.finish().await?)
}

fn memory<'a>(running: &'a dyn Running, machine: &Machine) -> Result<&'a dyn Memory, MachineError> {
    running.memory().ok_or_else(|| MachineError::Unable { driver: machine.driver.clone(), what: "a template".to_owned() })
}

/// The placeholder identity of a template. Forks get their own before it can be seen. Its files exist and are shorter than real ones, so
/// that forks write into existing blocks and truncate nothing.
pub fn nobody() -> Identity {
    Identity {
        hostname: "t".into(),
        machine_id: "7e3f1a7e".repeat(4),
        gateway: Some(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        ssh_host_key: "no key yet\n".into(),
        ssh_host_key_public: "no key yet".into(),
        more_host_keys: ["ssh-rsa", "ecdsa-sha2-nistp256"]
            .map(|kind| HostKey { private: "no key yet\n".into(), public: format!("{kind} no-key-yet") })
            .into(),
        authorized_keys: vec!["# nobody yet".into()],
        clock_ns: now_ns(),
        ..Identity::default()
    }
}
