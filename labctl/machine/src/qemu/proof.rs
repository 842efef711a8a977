//! Accelerators are tested, not assumed: on some hosts /dev/kvm opens, `KVM_CREATE_VM` succeeds and 64-bit guests still
//! hang.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::program;
use crate::accel::{Accel, Finding};
use crate::{MachineError, cache};

/// How long a tiny guest may take to respond. With a working accelerator it takes a fraction of a second.
const PROOF_DEADLINE: Duration = Duration::from_secs(10);

/// The accelerator to use with this version of QEMU: from `cache` if nothing has changed since, otherwise by probing.
/// `scratch` is a folder for the probe's files.
pub(super) async fn find(cache: &Path, qemu: &str, scratch: &Path) -> Result<Finding, MachineError> {
    let circumstances = circumstances(qemu);
    if let Some(known) = cache::read::<Finding>(cache)
        && known.circumstances == circumstances
    {
        return Ok(known);
    }
    let (accel, why) = match prove(scratch).await {
        Ok(accel) => (accel, String::new()),
        Err(why) => (Accel::Tcg, why),
    };
    let finding = Finding { accel, why, circumstances };
    cache::write(cache, &finding)?;
    Ok(finding)
}

/// Everything that a finding depends on.
fn circumstances(qemu: &str) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    format!("{qemu}; {}; boot {}; kvm device {device}", kernel.trim(), boot.trim())
}

/// The accelerator that was shown to work, or why there is none.
async fn prove(scratch: &Path) -> Result<Accel, String> {
    if cfg!(target_os = "macos") {
        return prove_with(Accel::Hvf, scratch).await.map(|()| Accel::Hvf);
    }
    if cfg!(target_arch = "x86_64") {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has = |flag: &str| cpu.lines().filter(|line| line.starts_with("flags")).any(|line| line.split(' ').any(|word| word == flag));
        if !has("vmx") && !has("svm") {
            return Err("the processor does not support virtualization (no vmx or svm flag in /proc/cpuinfo)".into());
        }
    }
    if let Err(why) = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Err(format!("/dev/kvm: {why}"));
    }
    prove_with(Accel::Kvm, scratch).await.map(|()| Accel::Kvm)
}

/// Boots 512 bytes that enter 64-bit mode and power the machine off, with a deadline.
async fn prove_with(accel: Accel, scratch: &Path) -> Result<(), String> {
    let image = scratch.join("accel-probe.img");
    fs::write(&image, probe_sector()).map_err(|why| format!("{}: {why}", image.display()))?;
    let mut child = Command::new(program())
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "16M"])
        .args([
            "-accel",
            accel.as_str(),
            "-cpu",
            if accel == Accel::Tcg { "max" } else { "host" },
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x01",
            "-drive",
        ])
        .arg(drive(&image))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| why.to_string())?;
    match timeout(PROOF_DEADLINE, child.wait()).await {
        // isa-debug-exit makes QEMU exit with (value << 1) | 1; the probe writes 0x31.
        Ok(Ok(status)) if status.code() == Some(0x63) => Ok(()),
        Ok(Ok(status)) => Err(format!("QEMU exited with {status} while running a probe guest under {}", accel.as_str())),
        Ok(Err(why)) => Err(why.to_string()),
        Err(_) => Err(format!("a probe guest under {} hung for {} s", accel.as_str(), PROOF_DEADLINE.as_secs())),
    }
}

fn drive(image: &Path) -> String {
    let path: PathBuf = image.into();
    format!("file={},format=raw,if=ide", path.to_string_lossy().replace(',', ",,"))
}

/// A boot sector (16-bit code at 0x7c00) that builds page tables for the first 2 MiB at 0x1000, enters 64-bit mode (Intel SDM
/// vol. 3A, 9.8.5) and writes 0x31 to port 0xf4.
fn probe_sector() -> Vec<u8> {
    #[rustfmt::skip]
    let code: &[u8] = &[
        0xfa,                               // cli
        0x31, 0xc0,                         // xor ax, ax
        0x8e, 0xd8,                         // mov ds, ax
        0x8e, 0xc0,                         // mov es, ax
        0xbf, 0x00, 0x10,                   // mov di, 0x1000
        0xb9, 0x00, 0x18,                   // mov cx, 0x1800      (three pages of words)
        0xfc, 0xf3, 0xab,                   // cld; rep stosw
        0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, // mov word [0x1000], 0x2003  PML4[0] -> 0x2000
        0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, // mov word [0x2000], 0x3003  PDPT[0] -> 0x3000
        0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, // mov word [0x3000], 0x0083  PD[0]: 2 MiB page at 0
        0x0f, 0x20, 0xe0,                   // mov eax, cr4
        0x0c, 0x20,                         // or al, 0x20         PAE
        0x0f, 0x22, 0xe0,                   // mov cr4, eax
        0x66, 0xb8, 0x00, 0x10, 0x00, 0x00, // mov eax, 0x1000
        0x0f, 0x22, 0xd8,                   // mov cr3, eax
        0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000080 EFER
        0x0f, 0x32,                         // rdmsr
        0x80, 0xcc, 0x01,                   // or ah, 1            LME
        0x0f, 0x30,                         // wrmsr
        0x0f, 0x20, 0xc0,                   // mov eax, cr0
        0x66, 0x0d, 0x01, 0x00, 0x00, 0x80, // or eax, 0x80000001  PG | PE
        0x0f, 0x01, 0x16, 0x70, 0x7c,       // lgdt [0x7c70]
        0x0f, 0x22, 0xc0,                   // mov cr0, eax
        0xea, 0x56, 0x7c, 0x08, 0x00,       // jmp 0x08:0x7c56
        // 64-bit, offset 0x56
        0xb0, 0x31,                         // mov al, 0x31
        0xe6, 0xf4,                         // out 0xf4, al
        0xf4,                               // hlt
        0xeb, 0xfd,                         // jmp hlt
    ];
    let mut sector = vec![0; 512];
    sector[..code.len()].copy_from_slice(code);
    // Global descriptor table at 0x60: null, 64-bit code. Its pointer at 0x70: limit 15, base 0x7c60.
    sector[0x68..0x70].copy_from_slice(&[0xff, 0xff, 0, 0, 0, 0x9a, 0xaf, 0]);
    sector[0x70..0x76].copy_from_slice(&[15, 0, 0x60, 0x7c, 0, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    // QEMU requires whole cylinders of some geometry; one megabyte is enough.
    sector.resize(1 << 20, 0);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_boot_sector_with_its_table_behind_the_code() {
        let sector = probe_sector();
        assert_eq!(sector[510..512], [0x55, 0xaa]);
        assert_eq!(sector[0x56..0x58], [0xb0, 0x31], "the far jump's target");
        assert_eq!(sector[0x60..0x68], [0; 8], "the null descriptor");
    }

    /// The probe must be able to succeed: emulation enters 64-bit mode on every host.
    #[tokio::test]
    async fn the_probe_succeeds_under_emulation() {
        if std::process::Command::new(program()).arg("--version").output().is_err() {
            labctl_skip::skip!("qemu", "{} is not installed", program());
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        prove_with(Accel::Tcg, scratch.path()).await.unwrap();
    }
}
