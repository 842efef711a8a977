//! What a guest's kernel prints about itself on the serial console. Every image's kernel does this, whatever its modules, and it needs no
//! device that saved machines would have to have.

use labctl_lab::event::Trouble;
use labctl_lab::life::Complaint;

/// Longest line that is kept whole. The kernel's own lines are at most 1,024 bytes long (printk.c, `PRINTKRB_RECORD_MAX`).
const LONGEST: usize = 4096;

/// What the console reveals about a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Something is wrong.
    Complaint(Complaint),
    /// The guest reboots on request.
    Restarting,
    /// It has panicked and stays that way.
    Halted,
}

/// The first words of a panic; the reason follows.
const PANIC: &str = "Kernel panic - not syncing";

/// The first words of an oops, on x86 and ARM; several of these lines form one report.
const OOPSES: [&str; 8] = [
    "BUG: unable to handle ",
    "BUG: kernel NULL pointer dereference",
    "Unable to handle kernel ",
    "kernel BUG at ",
    "Internal error: ",
    "Oops: ",
    "general protection fault, ",
    "general protection fault: ",
];

/// The last line of a panic, printed only if no reboot follows (kernel/panic.c).
const HALTED: &str = "---[ end Kernel panic";

/// How a kernel reports a stall.
const STALLS: [&str; 5] = ["watchdog: BUG: soft lockup", "BUG: soft lockup", "rcu: INFO: ", "INFO: rcu_", "INFO: task "];

/// The last line of an oops report.
const REPORTED: &str = "---[ end trace";

/// Finds kernel reports in the console output, however that is split into chunks.
#[derive(Debug, Default)]
pub struct Listener {
    line: Vec<u8>,
    /// Inside an oops report: its further lines are no news.
    in_report: bool,
}

impl Listener {
    /// Bytes of a line that is not complete yet.
    pub fn pending(&self) -> u64 {
        self.line.len() as u64
    }

    /// Takes the next bytes; returns what was reported in the lines that are now complete.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    said.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ if self.line.len() < LONGEST => self.line.push(*byte),
                // The kernel's message is at the start of the line.
                _ => {}
            }
        }
        said
    }

    fn line(&mut self, line: &str) -> Option<Said> {
        let text = of_the_kernel(line);
        if text.starts_with(REPORTED) {
            self.in_report = false;
            return None;
        }
        if text == "reboot: Restarting system" {
            self.in_report = false;
            return Some(Said::Restarting);
        }
        if text.starts_with(HALTED) {
            return Some(Said::Halted);
        }
        let trouble = trouble(text)?;
        if trouble == Trouble::Oops && std::mem::replace(&mut self.in_report, true) {
            return None;
        }
        self.in_report &= trouble != Trouble::Panic;
        Some(Said::Complaint(Complaint { trouble, line: text.to_owned() }))
    }
}

/// The line without what precedes the kernel's message: its timestamp, and any prompt that was already on the line.
fn of_the_kernel(line: &str) -> &str {
    let is_time = |inside: &str| {
        inside.trim_start().split_once('.').is_some_and(|(seconds, rest)| {
            let all = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            all(seconds) && rest.len() == 6 && all(rest)
        })
    };
    let mut rest = line;
    while let Some((_, after)) = rest.split_once('[') {
        let Some((inside, words)) = after.split_once(']') else { break };
        if is_time(inside) {
            // The kernel may name the task as well (printk.c, CONFIG_PRINTK_CALLER).
            let caller = words.strip_prefix('[').and_then(|words| words.split_once(']')).map(|(_, words)| words);
            return caller.unwrap_or(words).trim();
        }
        rest = after;
    }
    line.trim()
}

fn trouble(text: &str) -> Option<Trouble> {
    let begins = |with: &[&str]| with.iter().any(|begin| text.starts_with(begin));
    if text.starts_with(PANIC) {
        return Some(Trouble::Panic);
    }
    if begins(&STALLS) {
        let task = text.starts_with("INFO: task ");
        return (!task || text.contains(" blocked for more than ")).then_some(Trouble::Stall);
    }
    // The first line of every report ends with the number of oopses since boot, whatever the trap: `divide error: 0000 [#1] PREEMPT SMP`.
    let trap = text.contains(": 0000 [#");
    (begins(&OOPSES) || trap).then_some(Trouble::Oops)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `echo c > /proc/sysrq-trigger` in a Debian guest (Linux 6.1), behind a login prompt.
    const SYSRQ: &str = "\r\nDebian GNU/Linux 12 vm ttyS0\r\n\r\nvm login: [   15.437112] sysrq: Trigger a crash\r\n\
        [   15.437612] Kernel panic - not syncing: sysrq triggered crash\r\n\
        [   15.438021] CPU: 0 PID: 287 Comm: sh Not tainted 6.1.0-37-cloud-amd64 #1  Debian 6.1.140-1\r\n\
        [   15.438533] Call Trace:\r\n[   15.439031]  <TASK>\r\n[   15.439520]  dump_stack_lvl+0x44/0x5c\r\n\
        [   15.446671] Kernel Offset: 0x2c00000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)\r\n\
        [   15.447119] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n";

    /// A null pointer dereference in a module on x86 (Linux 6.1), which ends in a panic through panic_on_oops.
    const NULL: &str = "[  102.004512] BUG: kernel NULL pointer dereference, address: 0000000000000000\r\n\
        [  102.004999] #PF: supervisor write access in kernel mode\r\n[  102.005400] #PF: error_code(0x0002) - not-present page\r\n\
        [  102.005800] PGD 0 P4D 0 \r\n[  102.006112] Oops: 0002 [#1] PREEMPT SMP NOPTI\r\n\
        [  102.006501] CPU: 1 PID: 411 Comm: insmod Tainted: G           OE      6.1.0-37-amd64 #1  Debian 6.1.140-1\r\n\
        [  102.012345] ---[ end trace 0000000000000000 ]---\r\n\
        [  102.020000] Kernel panic - not syncing: Fatal exception\r\n";

    /// Printed by a machine whose memory was saved while it changed.
    const FAULT: &str = "[   31.250000] BUG: unable to handle page fault for address: ffffeb1c40012348\r\n\
        [   31.250100] #PF: supervisor read access in kernel mode\r\n[   31.250300] Oops: 0000 [#1] PREEMPT SMP NOPTI\r\n\
        [   31.250900] ---[ end trace 0000000000000000 ]---\r\n[   31.300000] general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#2] PREEMPT SMP NOPTI\r\n\
        [   31.300900] ---[ end trace 0000000000000000 ]---\r\n";

    const ARM: &str = "[    7.100000] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000\r\n\
        [    7.100100] Mem abort info:\r\n[    7.100200] Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP\r\n[    7.100300] ---[ end trace 0000000000000000 ]---\r\n\
        [    7.200000][  T211] kernel BUG at fs/ext4/inode.c:2721!\r\n[    7.200100][  T211] Internal error: Oops - BUG: 00000000f2000800 [#2] SMP\r\n";

    const STALLED: &str = "[  300.100000] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kworker/1:2:102]\r\n\
        [  363.000000] rcu: INFO: rcu_preempt self-detected stall on CPU\r\n\
        [  363.200000] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D } 21 jiffies s: 201 root: 0x1/.\r\n\
        [  484.000000] INFO: task jbd2/vda-8:141 blocked for more than 120 seconds.\r\n";

    fn heard(text: &str, piece: usize) -> Vec<Said> {
        let mut listener = Listener::default();
        text.as_bytes().chunks(piece).flat_map(|bytes| listener.hear(bytes)).collect()
    }

    fn complaints(text: &str, piece: usize) -> Vec<(Trouble, String)> {
        let complaint = |said| match said {
            Said::Complaint(complaint) => Some((complaint.trouble, complaint.line)),
            Said::Restarting | Said::Halted => None,
        };
        heard(text, piece).into_iter().filter_map(complaint).collect()
    }

    #[test]
    fn real_reports_are_one_complaint_each_however_they_are_cut() {
        for piece in [1, 2, 7, 100, 4096] {
            assert_eq!(complaints(SYSRQ, piece), [(Trouble::Panic, "Kernel panic - not syncing: sysrq triggered crash".to_owned())]);
            assert_eq!(
                complaints(NULL, piece),
                [
                    (Trouble::Oops, "BUG: kernel NULL pointer dereference, address: 0000000000000000".to_owned()),
                    (Trouble::Panic, "Kernel panic - not syncing: Fatal exception".to_owned())
                ]
            );
            let faults = complaints(FAULT, piece);
            assert_eq!(faults.iter().map(|(trouble, _)| *trouble).collect::<Vec<_>>(), [Trouble::Oops, Trouble::Oops], "{faults:?}");
            assert!(faults[1].1.starts_with("general protection fault, probably"), "{faults:?}");
            let arm = complaints(ARM, piece);
            assert_eq!(arm.iter().map(|(trouble, _)| *trouble).collect::<Vec<_>>(), [Trouble::Oops, Trouble::Oops], "{arm:?}");
            assert_eq!(arm[1].1, "kernel BUG at fs/ext4/inode.c:2721!");
            let stalls = complaints(STALLED, piece);
            assert_eq!(stalls.iter().map(|(trouble, _)| *trouble).collect::<Vec<_>>(), [Trouble::Stall; 4], "{stalls:?}");
        }
    }

    #[test]
    fn a_reboot_that_was_asked_for_is_told_from_a_power_off() {
        assert_eq!(heard("[  OK  ] Reached target reboot.target\r\n[   33.000001] reboot: Restarting system\r\n", 5), [Said::Restarting]);
        assert_eq!(heard("[   33.000001] reboot: Power down\r\n", 5), []);
    }

    #[test]
    fn a_panic_without_a_reboot_is_told_from_one_with() {
        assert_eq!(heard(SYSRQ, 9).last(), Some(&Said::Halted));
        assert!(!heard(NULL, 9).contains(&Said::Halted));
    }

    #[test]
    fn what_only_looks_like_it_is_nothing() {
        for line in [
            "a program says: Kernel panic - not syncing: not at all\n",
            "root@vm:~# grep 'Oops: ' /var/log/kern.log\n",
            "[    1.000000] traps: nginx[201] general protection fault ip:55d0 sp:7ffd error:0 in nginx[55d0+1000]\n",
            "[    1.000000] INFO: task accounting is on\n",
            "[    1.000000] Panic timeouts are set\n",
            "[  OK  ] Started kernel panic - not syncing.\n",
            "[    0.000000] Kernel command line: root=/dev/vda panic=-1\n",
            "Kernel panic - not syncing: without an end of the line",
        ] {
            assert_eq!(heard(line, 3), [], "{line}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut listener = Listener::default();
        for _ in 0..100 {
            assert_eq!(listener.hear(&[b'x'; 1000]), []);
        }
        assert!(listener.line.len() <= LONGEST);
        assert_eq!(listener.hear(b"\n[    1.000000] Kernel panic - not syncing: after all\n").len(), 1);
    }
}
