# Runs when all packages are installed; $1 is the new root folder.
set -eu
root=$1

# --- who the machine is: nobody; labctl gives each node its identity before it boots ------------------------------
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_* "$root/var/lib/systemd/random-seed"
echo localhost >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
chroot "$root" passwd -l root >/dev/null
mkdir -p "$root/root/.ssh"
chmod 700 "$root/root/.ssh"
mkdir -p "$root/etc/default"
echo 'LANG=C.UTF-8' >"$root/etc/default/locale"
echo '/dev/vda / ext4 rw,noatime,discard 0 0' >"$root/etc/fstab"

# --- SSH: one host key, which labctl puts in place before the first boot ------------------------------------------
mkdir -p "$root/etc/ssh/sshd_config.d"
cat >"$root/etc/ssh/sshd_config.d/10-labctl.conf" <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
EOF
chroot "$root" systemctl enable ssh.service >/dev/null 2>&1

# --- the serial console is the only screen; whoever can reach it owns the guest anyway ----------------------------
mkdir -p "$root/etc/systemd/system/serial-getty@.service.d"
cat >"$root/etc/systemd/system/serial-getty@.service.d/autologin.conf" <<'EOF'
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 - $TERM
EOF
rm -f "$root/etc/systemd/system/getty.target.wants/getty@tty1.service"
mkdir -p "$root/etc/systemd/logind.conf.d" "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d"
printf '[Login]\nNAutoVTs=0\nReserveVT=0\n' >"$root/etc/systemd/logind.conf.d/labctl.conf"

# --- the journal stays over a reboot, small, and is not copied to a syslog ----------------------------------------
mkdir -p "$root/var/log/journal"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\nForwardToSyslog=no\n' \
    >"$root/etc/systemd/journald.conf.d/labctl.conf"
printf '[Manager]\nDefaultTimeoutStopSec=15s\n' >"$root/etc/systemd/system.conf.d/labctl.conf"

# --- start only what a lab guest needs ----------------------------------------------------------------------------
for unit in \
    apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer \
    systemd-timesyncd.service systemd-networkd-wait-online.service systemd-firstboot.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service ldconfig.service \
    systemd-update-done.service systemd-machine-id-commit.service \
    systemd-pcrphase.service systemd-pcrphase-initrd.service systemd-pcrphase-sysinit.service \
    systemd-binfmt.service systemd-pstore.service systemd-repart.service \
    systemd-fsck-root.service systemd-network-generator.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path \
    proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-kernel-config.mount \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    getty-static.service networking.service ifupdown-pre.service
do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# --- package installation in the guest: no dialogs to look for, no initrd to make ---------------------------------
rm -f "$root/etc/apt/apt.conf.d/70debconf"
echo 'debconf debconf/frontend select Noninteractive' | chroot "$root" debconf-set-selections
chroot "$root" dpkg-divert --local --rename --add --quiet /usr/sbin/update-tirfs
ln -sf /usr/bin/true "$root/usr/sbin/update-tirfs"
rm -f "$root"/boot/initrd.img-* "$root"/boot/System.map-* "$root/initrd.img" "$root/initrd.img.old"

# --- leave nothing of the build ------------------------------------------------------------------------------------
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt \
    "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/cache/ldconfig/aux-cache
mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
