//! QEMU's command line: one pure function per device. Options as in qemu-options.hx of QEMU 7.2 and newer.

use std::ffi::OsString;
use std::path::Path;

use crate::accel::Accel;
use crate::machine::{Boot, Machine, Ram};

/// Name of the program for this host's architecture.
pub fn program() -> &'static str {
    if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" }
}

/// Denies QEMU the system calls that it never needs and that a guest which took it over would: other programs, other users, other
/// priorities, obsolete calls. Not part of [`argv`]: saved memory does not depend on it, and not every build has it.
pub(super) const SANDBOX: [&str; 2] = ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];

/// Arguments (without the program) that start `machine`.
pub fn argv(machine: &Machine) -> Vec<OsString> {
    let mut args = Vec::new();
    args.extend(identity(machine));
    args.extend(board(machine));
    args.extend(memory(machine));
    args.extend(boot(&machine.boot));
    args.extend(disk("root", &machine.disk, "qcow2", false));
    if let Some(seed) = &machine.seed {
        args.extend(disk("seed", seed, "raw", true));
    }
    args.extend(nic(machine));
    args.extend(agent_port(&machine.files.agent));
    args.extend(console(machine));
    args.extend(entropy());
    args.extend(control(&machine.files.control));
    args
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

/// A path as a value in QEMU's option syntax, in which commas are doubled.
fn value(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn identity(machine: &Machine) -> Vec<OsString> {
    words(["-name", &format!("guest={}", machine.label.replace(',', ",,")), "-uuid", &machine.uuid])
}

fn board(machine: &Machine) -> Vec<OsString> {
    let (accel, cpu) = match machine.accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Hvf => ("hvf", "host"),
        // One host thread per virtual CPU; 128 MiB of translated code per machine is enough for a server's daemons.
        Accel::Tcg => ("tcg,thread=multi,tb-size=128", "max"),
    };
    let board = if cfg!(target_arch = "aarch64") { "virt" } else { "q35" };
    let mut options = board.to_owned();
    if !cfg!(target_arch = "aarch64") {
        options += ",usb=off,vmport=off,smbus=off,sata=off,pit=on";
    }
    if machine.ram != Ram::Anonymous {
        options += ",memory-backend=ram";
    }
    let smp = machine.cpus.to_string();
    words(["-nodefaults", "-no-user-config", "-display", "none", "-machine", &options, "-accel", accel, "-cpu", cpu, "-smp", &smp])
}

fn memory(machine: &Machine) -> Vec<OsString> {
    let size = format!("{}M", machine.memory.as_mib());
    let mut args = words(["-m", &size]);
    let (file, share) = match &machine.ram {
        Ram::Anonymous => return args,
        Ram::Shared(file) => (file, "on"),
        Ram::Private(file) => (file, "off"),
    };
    args.extend(words(["-object", &format!("memory-backend-file,id=ram,size={size},mem-path={},share={share}", value(file))]));
    args
}

fn boot(boot: &Boot) -> Vec<OsString> {
    match boot {
        Boot::Direct { kernel, initrd, append } => {
            vec!["-kernel".into(), kernel.into(), "-initrd".into(), initrd.into(), "-append".into(), append.into()]
        }
        Boot::Firmware => Vec::new(),
    }
}

/// A virtio disk. `cache=unsafe`: overlays are disposable, so losing them in a host crash is acceptable.
fn disk(id: &str, path: &Path, format: &str, read_only: bool) -> Vec<OsString> {
    let access = if read_only { "readonly=on" } else { "discard=unmap,detect-zeroes=unmap" };
    let drive = format!("if=none,id={id},file={},format={format},cache=unsafe,{access}", value(path));
    words(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={id}")])
}

/// A NIC whose frames go over a unix socket, each prefixed with its length, so that the switch can die and come back.
fn nic(machine: &Machine) -> Vec<OsString> {
    let net = format!("stream,id=net,server=on,addr.type=unix,addr.path={}", value(&machine.files.net));
    // No option ROM: nothing boots from the network.
    let device = format!("virtio-net-pci,netdev=net,mac={},romfile=", machine.mac);
    words(["-netdev", &net, "-device", &device])
}

fn agent_port(socket: &Path) -> Vec<OsString> {
    words([
        "-device",
        "virtio-serial-pci",
        "-chardev",
        &format!("socket,id=agent,path={},server=on,wait=off", value(socket)),
        "-device",
        "virtserialport,chardev=agent,name=labctl.agent",
    ])
}

fn console(machine: &Machine) -> Vec<OsString> {
    let files = &machine.files;
    let chardev =
        format!("socket,id=console,path={},server=on,wait=off,logfile={},logappend=on", value(&files.console), value(&files.console_log));
    words(["-chardev", &chardev, "-serial", "chardev:console"])
}

fn entropy() -> Vec<OsString> {
    words(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"])
}

fn control(socket: &Path) -> Vec<OsString> {
    words(["-chardev", &format!("socket,id=qmp,path={},server=on,wait=off", value(socket)), "-mon", "chardev=qmp,mode=control"])
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::path::PathBuf;

    use labctl_spec::ident::MacAddr;
    use labctl_spec::size::Size;

    use super::*;
    use crate::driver_name::DriverName;
    use crate::machine::Files;

    fn machine() -> Machine {
        Machine {
            driver: DriverName::default(),
            label: "labctl:demo/a".into(),
            uuid: "00000000-0000-4000-8000-000000000001".into(),
            accel: Accel::Tcg,
            cpus: 2,
            memory: Size::mib(512),
            ram: Ram::Anonymous,
            mac: MacAddr([0x52, 0x54, 0, 0, 0, 1]),
            disk: "/d/a,b.qcow2".into(),
            seed: None,
            boot: Boot::Direct { kernel: "/k".into(), initrd: "/i".into(), append: "root=/dev/vda".into() },
            files: Files::new(Path::new("/s"), 3, Path::new("/n")),
        }
    }

    /// The whole command line, one option a line.
    fn lines(machine: &Machine) -> String {
        let words: Vec<String> = argv(machine).into_iter().map(|word| word.into_string().unwrap()).collect();
        words.join(" ").replace(" -", "\n-")
    }

    #[test]
    fn the_whole_command_line_of_every_kind_of_machine() {
        insta::assert_snapshot!("boots_a_kernel", lines(&machine()));
        insta::assert_snapshot!("becomes_a_template", lines(&Machine { ram: Ram::Shared("/t/ram".into()), ..machine() }));
        insta::assert_snapshot!("is_a_fork", lines(&Machine { ram: Ram::Private("/t/ram".into()), ..machine() }));
        let vendors = Machine { accel: Accel::Kvm, boot: Boot::Firmware, seed: Some(PathBuf::from("/seed.img")), ..machine() };
        insta::assert_snapshot!("boots_a_vendors_image_under_kvm", lines(&vendors));
    }
}
