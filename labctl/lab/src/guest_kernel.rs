//! The command line of a kernel that QEMU boots directly.

use labctl_machine::accel::Accel;

/// The kernel's command line. Guests are disposable and their processes keep no secrets from each other: mitigations cost a fifth of an
/// emulated boot and protect nothing there. An emulator translates code once for each address at which it sees it, so programs and
/// libraries are mapped at the same address in every process. At boot, kernels test whether the timer ticks and panic if it does not. On a
/// busy host an emulated timer is late, so that test is skipped, as kernels do by themselves under KVM.
pub fn command_line(accel: Accel) -> String {
    let console = if cfg!(target_arch = "aarch64") { "ttyAMA0" } else { "ttyS0" };
    let emulated = if accel == Accel::Tcg { " mitigations=off norandmaps no_timer_check" } else { "" };
    format!("root=/dev/vda rw console={console} net.ifnames=0 quiet loglevel=4 panic=-1 random.trust_cpu=on{emulated}")
}
