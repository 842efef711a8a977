//! The capabilities of a file in the kernel's format (linux/capability.h, `struct vfs_ns_cap_data`).

use std::fmt::{self, Display};

use crate::modules::call::outcome::Fault;

/// By number, from linux/capability.h.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `VFS_CAP_REVISION_2` and `_3`; `VFS_CAP_FLAGS_EFFECTIVE`.
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const EFFECTIVE: u32 = 1;

/// Number of a capability such as `cap_net_raw`.
pub(super) fn number(name: &str) -> Option<u32> {
    let short = name.strip_prefix("cap_")?;
    NAMES.iter().position(|known| *known == short).and_then(|at| u32::try_from(at).ok())
}

/// Effective, inheritable, permitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    effective: bool,
    inheritable: bool,
    permitted: bool,
}

impl Flags {
    /// Parses letters; none if any is not e, i or p.
    pub(super) fn parse(letters: &str) -> Option<Self> {
        let has = |letter| letters.contains(letter);
        let known = letters.chars().all(|letter| "eip".contains(letter));
        known.then(|| Self { effective: has('e'), inheritable: has('i'), permitted: has('p') })
    }

    /// These flags without the others.
    pub(super) fn without(self, others: Self) -> Self {
        Self {
            effective: self.effective && !others.effective,
            inheritable: self.inheritable && !others.inheritable,
            permitted: self.permitted && !others.permitted,
        }
    }
}

/// All capabilities of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CapabilitySet {
    permitted: u64,
    inheritable: u64,
    /// For all of them or none: the kernel stores one bit per file.
    effective: bool,
    /// Root of the user namespace they apply to, if not the initial one.
    root: Option<u32>,
}

impl CapabilitySet {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at * 4..at * 4 + 4)?.try_into().ok()?));
        let magic = word(0)?;
        let root = match magic & !EFFECTIVE {
            REVISION_2 => None,
            REVISION_3 => Some(word(5)?),
            _ => return None,
        };
        let wide = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Some(Self { permitted: wide(word(1)?, word(3)?), inheritable: wide(word(2)?, word(4)?), effective: magic & EFFECTIVE != 0, root })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let magic = if self.root.is_some() { REVISION_3 } else { REVISION_2 } | u32::from(self.effective);
        let (permitted, inheritable) = (self.permitted, self.inheritable);
        let low = |wide: u64| (wide & u64::from(u32::MAX)) as u32;
        let mut words = vec![magic, low(permitted), low(inheritable), low(permitted >> 32), low(inheritable >> 32)];
        words.extend(self.root);
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.permitted | self.inheritable == 0
    }

    pub(super) fn flags(&self, number: u32) -> Flags {
        let bit = 1 << number;
        let (permitted, inheritable) = (self.permitted & bit != 0, self.inheritable & bit != 0);
        Flags { effective: self.effective && (permitted || inheritable), inheritable, permitted }
    }

    /// Gives one capability these flags. Fails if it would have to be effective while others are not, or vice versa.
    pub(super) fn set(&mut self, number: u32, flags: Flags) -> Result<(), Fault> {
        let bit = 1 << number;
        self.permitted = if flags.permitted { self.permitted | bit } else { self.permitted & !bit };
        self.inheritable = if flags.inheritable { self.inheritable | bit } else { self.inheritable & !bit };
        let others = (self.permitted | self.inheritable) & !bit != 0;
        let is_there = flags.permitted || flags.inheritable;
        if is_there && others && self.effective != flags.effective {
            return Err(
                "either all or none of a file's capabilities can be effective (capabilities(7)): remove the others, or give the same flag e".into()
            );
        }
        if is_there {
            self.effective = flags.effective;
        } else if !others {
            self.effective = false;
        }
        Ok(())
    }
}

impl Display for CapabilitySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (at, name) in NAMES.iter().enumerate() {
            let flags = self.flags(at as u32);
            let letters = [(flags.effective, 'e'), (flags.inheritable, 'i'), (flags.permitted, 'p')];
            let letters: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
            if !letters.is_empty() {
                write!(formatter, "{space}cap_{name}={letters}")?;
                space = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of setcap(8) 2.66 for `cap_net_raw+ep` and for `cap_bpf,cap_chown=ip`.
    const RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const TWO: [u8; 20] = [0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 0x80, 0, 0, 0, 0x80, 0, 0, 0];

    #[test]
    fn recorded_attributes_there_and_back() {
        for (bytes, shown) in [(RAW, "cap_net_raw=ep"), (TWO, "cap_chown=ip cap_bpf=ip")] {
            let set = CapabilitySet::parse(&bytes).unwrap();
            assert_eq!((set.to_string().as_str(), set.bytes()), (shown, bytes.to_vec()));
        }
        assert_eq!(CapabilitySet::parse(&RAW[..19]), None);
        assert_eq!(CapabilitySet::parse(&[9; 20]), None);
    }

    #[test]
    fn one_is_set_among_others() {
        let mut set = CapabilitySet::parse(&RAW).unwrap();
        assert!(set.set(number("cap_chown").unwrap(), Flags::parse("p").unwrap()).is_err());
        let mut set = CapabilitySet::parse(&RAW).unwrap();
        set.set(number("cap_chown").unwrap(), Flags::parse("pe").unwrap()).unwrap();
        assert_eq!(set.to_string(), "cap_chown=ep cap_net_raw=ep");
        set.set(number("cap_net_raw").unwrap(), Flags::default()).unwrap();
        set.set(number("cap_chown").unwrap(), Flags::default()).unwrap();
        assert!(set.is_empty() && set == CapabilitySet::default());
        assert_eq!((number("cap_nope"), Flags::parse("x")), (None, None));
    }
}
