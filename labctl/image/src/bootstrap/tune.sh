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

# --- SSH: host keys of the kinds that Debian makes, which labctl puts in place before the first boot --------------
mkdir -p "$root/etc/ssh/sshd_config.d"
cat >"$root/etc/ssh/sshd_config.d/10-labctl.conf" <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_rsa_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
EOF
# By its socket: a server that nobody calls costs no memory, and one that is called reads the key that its node has now.
chroot "$root" systemctl disable ssh.service >/dev/null 2>&1
chroot "$root" systemctl enable ssh.socket >/dev/null 2>&1

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
# In a guest without KVM every process started while booting costs tens of milliseconds of CPU. Masked is what serves
# other hardware, daily chores, or preparations that are already made when the image is built. `systemctl unmask`
# brings any of it back. labctl's initrd mounts the root file system read-write with fstab's options, so that
# remounting it is left out too.
units=$root/etc/systemd/system
for unit in \
    apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer systemd-tmpfiles-clean.timer \
    systemd-timesyncd.service systemd-networkd-wait-online.service systemd-firstboot.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service ldconfig.service \
    systemd-update-done.service systemd-machine-id-commit.service systemd-sysusers.service \
    systemd-pcrphase.service systemd-pcrphase-initrd.service systemd-pcrphase-sysinit.service \
    systemd-binfmt.service systemd-pstore.service systemd-repart.service systemd-random-seed.service \
    systemd-fsck-root.service systemd-remount-fs.service systemd-network-generator.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-udev-load-credentials.service \
    systemd-initctl.socket systemd-journald-audit.socket \
    systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service kmod-static-nodes.service \
    proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-kernel-config.mount dev-hugepages.mount \
    cryptsetup.target integritysetup.target veritysetup.target remote-cryptsetup.target remote-veritysetup.target \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    modprobe@dm_mod.service modprobe@loop.service \
    getty-static.service networking.service ifupdown-pre.service
do
    ln -sf /dev/null "$units/$unit"
done
mkdir -p "$root/etc/systemd/system-generators"
for generator in cryptsetup gpt-auto integritysetup veritysetup hibernate-resume system-update getty run tpm2 bless-boot; do
    ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
# What the masked getty generator would find out on every boot.
mkdir -p "$units/getty.target.wants"
ln -sf /lib/systemd/system/serial-getty@.service "$units/getty.target.wants/serial-getty@ttyS0.service"

drop_in() {
    mkdir -p "$units/$1.d"
    cat >"$units/$1.d/labctl.conf"
}
# Only devices that matter to a guest are asked to announce themselves again; drivers of others load when they appear.
drop_in systemd-udev-trigger.service <<'EOF'
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net --subsystem-match=pci --subsystem-match=virtio --subsystem-match=virtio-ports --subsystem-match=input --subsystem-match=rtc --subsystem-match=misc --subsystem-match=mem
ExecStart=-udevadm trigger --action=add --name-match=/dev/ttyS0
EOF
# Device nodes of drivers that load on first use (/dev/fuse, /dev/net/tun): listed now instead of on every boot.
drop_in systemd-tmpfiles-setup.service <<'EOF'
[Service]
ExecStart=
ExecStart=systemd-tmpfiles --create --remove --boot
EOF
mkdir -p "$root/etc/tmpfiles.d"
cat "$root"/usr/lib/modules/*/modules.devname | sort -u | awk '
    /^#/ || NF < 3 { next }
    {
        n = split($2, part, "/"); folder = "/dev"
        for (i = 1; i < n; i++) { folder = folder "/" part[i]; print "d " folder " 0755 - - -" }
        print substr($3, 1, 1) "! /dev/" $2 " 0600 - - - " substr($3, 2)
    }' | sort -u >"$root/etc/tmpfiles.d/labctl-static-nodes.conf"
# The session manager does nothing here but listen to the power button, which has time until the guest works.
drop_in systemd-logind.service <<'EOF'
[Unit]
After=multi-user.target
EOF
printf 'button\nevdev\n' >"$root/etc/modules-load.d/labctl.conf"

# No message of the day: sshd would run a handful of programs for it at every login.
rm -f "$root"/etc/update-motd.d/*
: >"$root/etc/motd"
sed -i '/pam_motd/s/^/#/' "$root/etc/pam.d/sshd" "$root/etc/pam.d/login"

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
